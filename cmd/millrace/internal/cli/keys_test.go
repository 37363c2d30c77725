package cli

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/millrace-cd/millrace/cmd/millrace/internal/render"
	"github.com/millrace-cd/millrace/pkg/attest"
)

// runKeys runs millrace with this command alone.
func runKeys(t *testing.T, args ...string) (code int, out, told string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	a := &app{screen: render.NewScreen(nil, &stdout, &stderr, nil)}
	root := &cobra.Command{
		Use: "millrace", SilenceUsage: true, SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.settings(cmd) },
	}
	root.AddCommand(a.keys())
	root.SetArgs(append([]string{"keys"}, args...))
	root.SetOut(&stdout)
	root.SetErr(&stderr)
	code = a.report(root.ExecuteContext(t.Context()))
	return code, stdout.String(), stderr.String()
}

// wantKeys runs the command and wants it to end with a code and to print what matches.
func wantKeys(t *testing.T, code int, out, told string, args ...string) {
	t.Helper()
	gotCode, gotOut, gotTold := runKeys(t, args...)
	if gotCode != code || !regexp.MustCompile(out).MatchString(gotOut) || !regexp.MustCompile(told).MatchString(gotTold) {
		t.Errorf("millrace keys %s ended with %d, want %d\nout: %s\nwant: %s\nerr: %s\nwant: %s", strings.Join(args, " "), gotCode, code, gotOut, out, gotTold, told)
	}
}

// keyFiles are the files of the directory.
func keyFiles(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[f.Name()] = string(data)
	}
	return all
}

// lines are what ls -o json tells.
func lines(t *testing.T, dir string) (all []keyLine) {
	t.Helper()
	code, out, told := runKeys(t, "ls", "-o", "json", "--dir", dir)
	if code != OK {
		t.Fatalf("ls: %d: %s", code, told)
	}
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestKeysInit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	wantKeys(t, OK, `^$`, `(?s)^keys are in .*keys\n  tester\.key     to the tester, and .*builder\.key    to the builder.*releaser\.key   to the releaser.*trusted\.json   to all services`,
		"init", "--dir", dir)
	files := keyFiles(t, dir)
	if len(files) != 4 || !strings.Contains(files["releaser.key"], "BEGIN PRIVATE KEY") || !strings.Contains(files[attest.TrustedFile], `"releaser"`) {
		t.Errorf("files: %v", files)
	}
	for _, s := range []string{"tester", "builder", "releaser"} {
		if _, err := attest.Open(attest.Config{Dir: dir, Service: s}); err != nil {
			t.Errorf("a service opens them: %v", err)
		}
	}
	wantKeys(t, Usage, `^$`, `^error: make keys in .* is there already.*\nhint: millrace keys rotate SERVICE`, "init", "--dir", dir)
	if diff := cmp.Diff(files, keyFiles(t, dir)); diff != "" {
		t.Errorf("a second init changed them: %s", diff)
	}
}

func TestKeysDir(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("MILLRACE_KEYS_DIR", "")
	wantKeys(t, OK, ``, `keys are in .*millrace-keys`, "init")
	if len(keyFiles(t, "millrace-keys")) != 4 {
		t.Error("nothing is in millrace-keys")
	}
	t.Setenv("MILLRACE_KEYS_DIR", "ours")
	wantKeys(t, OK, ``, `keys are in .*ours`, "init")
	wantKeys(t, OK, ``, `keys are in .*mine`, "init", "--dir", "mine")
	if a, b := lines(t, "ours"), lines(t, "mine"); a[0].ID == b[0].ID {
		t.Error("two directories have the same key")
	}
}

func TestKeysList(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	past := time.Now().AddDate(-1, 0, 0)
	if _, err := attest.Init(dir, past, "tester", "builder"); err != nil {
		t.Fatal(err)
	}
	for _, keep := range []time.Duration{time.Hour, 2 * 366 * 24 * time.Hour} {
		if _, err := attest.Rotate(dir, "tester", past, keep); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(filepath.Join(dir, "builder.key"), filepath.Join(dir, "cook.key")); err != nil {
		t.Fatal(err)
	}
	ring, err := attest.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	row := func(k attest.Key, state, private string) string {
		return k.Service + ` +` + k.ID[:12] + ` +` + moment(k.From) + ` +` + moment(k.Until) + ` +` + state + ` +` + private + "\n"
	}
	unknown := attest.Key{Service: "cook", ID: ring[1].ID}
	wantKeys(t, OK, `^SERVICE +KEY +FROM +UNTIL +STATE +PRIVATE KEY HERE\n`+row(ring[1], "signing", "no")+row(unknown, "unknown", "yes")+
		row(ring[0], "expired", "no")+row(ring[2], "old", "no")+row(ring[3], "signing", "yes")+`$`, `^$`, "ls", "--dir", dir)
	wantKeys(t, OK, `^`+ring[1].ID+`\n`, `^$`, "ls", "-o", "name", "--dir", dir)

	got := lines(t, dir)[2]
	want := keyLine{"tester", ring[0].ID, ring[0].From, ring[0].Until, "expired", false, ring[0].PEM}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, out, _ := runKeys(t, "ls", "-o", "json", "--dir", dir); strings.Contains(out, "PRIVATE KEY") || strings.Contains(out, "0001-01-01") {
		t.Errorf("ls shows what it should not: %s", out)
	}
}

func TestKeysRotate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	wantKeys(t, OK, ``, ``, "init", "--dir", dir)
	first := keyFiles(t, dir)
	wantKeys(t, OK, `^$`, `(?s)^builder signs with key .* from now on\n  trusted\.json changed: first to all.*builder\.key changed: then`, "rotate", "builder", "--dir", dir)
	all := lines(t, dir)
	if len(all) != 4 || all[0].State != "old" || all[0].Private || all[1].State != "signing" || !all[1].Private {
		t.Fatalf("after it: %+v", all)
	}
	if left := time.Until(all[0].Until); left < 2159*time.Hour || left > 2160*time.Hour {
		t.Errorf("the old key stays trusted for %s", left)
	}
	second := keyFiles(t, dir)
	if second["builder.key"] == first["builder.key"] || second["tester.key"] != first["tester.key"] {
		t.Error("not the key of the builder, or not that alone, changed")
	}
	wantKeys(t, OK, ``, `tester signs`, "rotate", "tester", "--keep", "0", "--dir", dir)
	if now := lines(t, dir); len(now) != 4 || now[3].Service != "tester" || now[3].ID == all[3].ID {
		t.Errorf("with --keep 0: %+v", now)
	}
}

func TestKeysUsage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	wantKeys(t, OK, `(?s)init +Make a key.*ls +List.*rotate +Replace`, `^$`)
	wantKeys(t, Usage, `^$`, `^error: "burn" is nothing that millrace keys can do`, "burn")
	wantKeys(t, Usage, `^$`, `^error: millrace keys init takes no arguments`, "init", "tester")
	wantKeys(t, Usage, `^$`, `^error: millrace keys rotate takes one service`, "rotate")
	wantKeys(t, Usage, `^$`, `^error: --output is "yaml"`, "ls", "-o", "yaml")
	wantKeys(t, Usage, `^$`, `^error: --keep is -1h0m0s\nhint: it is how long`, "rotate", "tester", "--keep", "-1h", "--dir", dir)
	wantKeys(t, NotFound, `^$`, `^error: trusted keys: .*no such file.*\nhint: make keys with millrace keys init`, "ls", "--dir", dir)
	wantKeys(t, NotFound, `^$`, `hint: make keys with millrace keys init`, "rotate", "tester", "--dir", dir)
	wantKeys(t, OK, ``, ``, "init", "--dir", dir)
	wantKeys(t, NotFound, `^$`, `^error: there is no key of a service cook .*\nhint: there are: builder, releaser, tester`, "rotate", "cook", "--dir", dir)
	if err := os.Chmod(filepath.Join(dir, "tester.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, System, `^$`, `^error: private key .* is open to others \(mode 0644\): chmod 600 `, "ls", "--dir", dir)
}

// Each service gets its own key and no other one, and the new one after a rotation.
func TestKeysExport(t *testing.T) {
	dir, out := filepath.Join(t.TempDir(), "keys"), t.TempDir()
	wantKeys(t, OK, `^$`, `(?s)keys are in.*tester is for the tester.*deployer is for the deployer`, "init", "--dir", dir, "--export", out)
	wantKeys(t, OK, `^$`, `there are keys in .* already`, "init", "--dir", dir, "--if-missing")
	before := keyFiles(t, filepath.Join(out, "tester"))
	for service, want := range map[string][]string{
		"tester": {"tester.key", "trusted.json"}, "builder": {"builder.key", "trusted.json"}, "releaser": {"releaser.key", "trusted.json"}, "deployer": {"trusted.json"},
	} {
		files := keyFiles(t, filepath.Join(out, service))
		if diff := cmp.Diff(want, slices.Sorted(maps.Keys(files))); diff != "" {
			t.Errorf("%s: %s", service, diff)
		}
	}
	if info, err := os.Stat(filepath.Join(out, "tester", "tester.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	wantKeys(t, OK, `^$`, `tester signs with key`, "rotate", "tester", "--dir", dir)
	wantKeys(t, OK, `^$`, `tester is for the tester`, "export", out, "--dir", dir)
	after := keyFiles(t, filepath.Join(out, "tester"))
	if after["tester.key"] == before["tester.key"] || after["trusted.json"] != keyFiles(t, dir)["trusted.json"] {
		t.Error("after a rotation and an export the old files are there")
	}
	wantKeys(t, NotFound, `^$`, `millrace keys init`, "export", out, "--dir", filepath.Join(dir, "nowhere"))
	wantKeys(t, Usage, `^$`, `one directory`, "export")
}
