package container

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// everyByte is what a shell, a variable and a file may hold.
func everyByte() string {
	b := make([]byte, 0, 255)
	for c := 1; c < 256; c++ {
		b = append(b, byte(c))
	}
	return string(b)
}

// hardValues are secrets that shells like to get wrong.
func hardValues() map[string]string {
	return map[string]string{
		"EVERY_BYTE": everyByte(),
		"QUOTES":     `'"\'"'"\\`,
		"COMMANDS":   "$(echo pwned)`echo pwned`${HOME};exit 3\n&& exit 4",
		"NEWLINES":   "\n\na\n\n\n",
		"FORMAT":     `%s%d\n\061\0611\x41%`,
		"DIGITS":     "\x011\x0222\x07777",
		"HALF":       "\xe2\x82", // of a character
		"SPACES":     "  a\tb  ",
		"EMPTY":      "",
		"_lower1":    "x",
	}
}

// Each shell that may be /bin/sh hands over each value as it is.
func TestHandover(t *testing.T) {
	t.Parallel()
	for _, argv := range [][]string{{"dash"}, {"busybox", "ash"}, {"bash"}, {"bash", "--posix"}} {
		program, err := exec.LookPath(argv[0])
		if err != nil {
			t.Logf("no %s here", argv[0])
			continue
		}
		for _, locale := range []string{"C", "C.UTF-8"} {
			t.Run(strings.Join(append(argv, locale), " "), func(t *testing.T) {
				dir := t.TempDir()
				line := bytes.ReplaceAll(handover(hardValues()), []byte(secretsDir), []byte(dir))
				if bytes.ContainsAny(line, "\n\r\x00") {
					t.Fatalf("got more than a line: %q", line)
				}
				const script = `IFS= read -r line; (eval "$line" || exit 9; umask; exec cat /proc/self/environ)`
				shell := exec.CommandContext(t.Context(), program, append(argv[1:], "-c", script)...)
				shell.Stdin = bytes.NewReader(append(line, '\n'))
				shell.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=" + locale}
				out, err := shell.Output()
				if err != nil {
					t.Fatal(err)
				}
				mask, environ, _ := strings.Cut(string(out), "\n")
				if strings.Contains(mask, "377") {
					t.Errorf("the step gets umask %s", mask)
				}
				mustHave(t, strings.Split(environ, "\x00"), dir)
			})
		}
	}
}

// mustHave looks for the hard values among variables and in files.
func mustHave(t *testing.T, environ []string, dir string) {
	t.Helper()
	got := map[string]string{}
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		got[name] = value
	}
	for name, want := range hardValues() {
		if got[name] != want {
			t.Errorf("variable %s: got %q, want %q", name, got[name], want)
		}
		file := filepath.Join(dir, name)
		content, err := os.ReadFile(file)
		if err != nil || string(content) != want {
			t.Errorf("file %s: got %q, %v, want %q", name, content, err, want)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o400 {
			t.Errorf("file %s: got mode %v, %v", name, info.Mode(), err)
		}
	}
	for _, name := range []string{"line", "__umask", "__secrets"} {
		if v, ok := got[name]; ok {
			t.Errorf("the step gets %s=%q", name, v)
		}
	}
}

func TestSecretsRefused(t *testing.T) {
	t.Parallel()
	many := map[string]string{}
	for i := range maxSecretFiles + 1 {
		many[fmt.Sprint("S", i)] = ""
	}
	for name, secrets := range map[string]map[string]string{
		"path":        {"../X": "value"},
		"command":     {"A=$(x)": "value"},
		"digit":       {"1": "value"},
		"empty":       {"": "value"},
		"newline":     {"A\n": "value"},
		"zero byte":   {"A": "value\x00"},
		"read-only":   {"UID": "value"},
		"too much":    {"A": strings.Repeat("v", maxSecrets), "B": "alue"},
		"too many":    many,
		"umlaut":      {"Ä": "value"},
		"with spaces": {"A B": "value"},
	} {
		for _, shell := range []string{"/bin/sh", "/bin/bash"} {
			_, _, err := Step{Name: "unit", Secrets: secrets, Shell: []string{shell, "-c"}}.defaults().config(place{})
			if !errors.Is(err, ErrStep) || strings.Contains(err.Error(), "alue") && name != "zero byte" {
				t.Errorf("%s: got %v", name, err)
			}
		}
		if _, _, err := (Service{Name: "db", Secrets: secrets}).config(place{}); !errors.Is(err, ErrStep) {
			t.Errorf("%s: got %v from a service", name, err)
		}
	}
}

// report prints the digests of a secret as variable and as file, and the file's mode.
func report(name string) string {
	return fmt.Sprintf(`printf %%s "$%[1]s" | sha256sum | cut -c1-64; sha256sum </run/secrets/%[1]s | cut -c1-64; stat -c '%%a %%u' /run/secrets/%[1]s`, name)
}

func reported(value, mode string) string {
	sum := sha256.Sum256([]byte(value))
	return fmt.Sprintf("%x\n%x\n%s\n", sum, sum, mode)
}

func TestStepSecrets(t *testing.T) {
	t.Parallel()
	e := connect(t)
	s := open(t, e, Outside)
	large := strings.Repeat(everyByte(), maxSecrets/255)
	for name, test := range map[string]struct {
		step Step
		out  string
	}{
		"every byte": {
			Step{Run: []string{report("A"), report("B")}, Secrets: map[string]string{"A": everyByte(), "B": "\n$(x)'\n\n"}},
			reported(everyByte(), "400 0") + reported("\n$(x)'\n\n", "400 0"),
		},
		"much":           {Step{Run: []string{report("A")}, Secrets: map[string]string{"A": large}}, reported(large, "400 0")},
		"another user":   {Step{Run: []string{report("A")}, Secrets: map[string]string{"A": "x\n"}, User: "1000"}, reported("x\n", "400 1000")},
		"strict":         {Step{Run: []string{report("A")}, Secrets: map[string]string{"A": "x"}, Strict: true}, reported("x", "400 1000")},
		"over the rest":  {Step{Run: []string{"echo $A"}, Secrets: map[string]string{"A": "secret"}, Env: map[string]string{"A": "env"}}, "secret\n"},
		"below tmpfs":    {Step{Run: []string{report("A")}, Secrets: map[string]string{"A": "x"}, Mounts: []Mount{{Target: "/run", Tmpfs: 1 << 20}}}, reported("x", "400 0")},
		"mount":          {Step{Run: []string{"grep /run/secrets /proc/mounts | tr ', ' '\\n' | grep -E 'noexec|size'"}, Secrets: map[string]string{"A": ""}}, "noexec\nsize=1024k\n"},
		"none, no mount": {Step{Run: []string{"ls -d /run/secrets 2>/dev/null || echo none"}}, "none\n"},
		"ungated":        {Step{Run: []string{"echo $A; ls -d /run/secrets 2>/dev/null || echo none"}, Shell: []string{"/bin/ash", "-c"}, Secrets: map[string]string{"A": "x"}}, "x\nnone\n"},
		"gate's names":   {Step{Run: []string{"env | grep -c __ || true"}, Secrets: map[string]string{"A": "x"}, Env: map[string]string{"__millrace": "a", "__secrets": "b", "__umask": "c"}}, "0\n"},
	} {
		t.Run(name, func(t *testing.T) {
			out, exit := run(t, s, test.step)
			if out != test.out || exit.Code != 0 {
				t.Errorf("got %q and %+v, want %q", out, exit, test.out)
			}
		})
	}
}

// No secret is seen by who looks at a container from outside.
func TestSecretsAreNotSeen(t *testing.T) {
	t.Parallel()
	e := connect(t)
	s := open(t, e, Outside)
	const canary = "canary-in-a-coal-mine"
	step := s.Step(t.Context(), shell(Step{
		Run:     []string{"cat /proc/[0-9]*/cmdline | tr '\\0' ' '; echo; sleep 100"},
		Secrets: map[string]string{"TOKEN": canary}, Mounts: []Mount{{Target: "/scratch", Tmpfs: 1 << 20}},
	}))
	var out bytes.Buffer
	var seen []byte
	_, err := step.Run(t.Context(), writerFunc(func(b []byte) (int, error) {
		out.Write(b)
		if !bytes.HasSuffix(b, []byte("\n")) {
			return len(b), nil
		}
		_, inspected, err := e.api.ContainerInspectWithRaw(t.Context(), step.c.id, true)
		top, err2 := e.api.ContainerTop(t.Context(), step.c.id, []string{"axo", "pid,args"})
		listed, err3 := json.Marshal(top)
		seen = append(append(seen, inspected...), listed...)
		return len(b), errors.Join(err, err2, err3, errEnough)
	}))
	if !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	if !bytes.Contains(seen, []byte("sleep 100")) || !strings.Contains(out.String(), "sleep 100") {
		t.Fatalf("saw nothing: %s", seen)
	}
	for _, form := range []string{canary, "canary", string(appendEscaped(nil, canary)), `\0143\0141`} {
		if bytes.Contains(seen, []byte(form)) || strings.Contains(out.String(), form) {
			t.Errorf("%s is seen in:\n%s\n%s", form, out.String(), seen)
		}
	}
}

var errEnough = errors.New("seen enough")

// A shell that cannot take secrets says so, and runs nothing.
func TestSecretsWithoutRoom(t *testing.T) {
	t.Parallel()
	e := connect(t)
	s := open(t, e, Outside)
	step := shell(Step{Run: []string{"echo ran"}, Secrets: map[string]string{"TOKEN": "canary"}})
	p := s.Step(t.Context(), step)
	<-p.ready
	p.spec.Secrets = map[string]string{"nowhere/TOKEN": "canary"} // a file that cannot be made
	var out bytes.Buffer
	exit, err := p.Run(t.Context(), &out)
	if err != nil || exit.Code != 126 || strings.Contains(out.String(), "ran") || strings.Contains(out.String(), "canary") || !strings.Contains(out.String(), "/run/secrets") {
		t.Errorf("got %q, %+v, %v", out.String(), exit, err)
	}
}

// Those of a service are in its environment.
func TestServiceSecrets(t *testing.T) {
	t.Parallel()
	c, host, err := (Service{Name: "db", Image: "x", Env: map[string]string{"A": "1", "B": "2"}, Secrets: map[string]string{"A": "3"}}).config(place{instance: "i"})
	if err != nil || strings.Join(c.Env, " ") != "A=3 B=2" || len(host.Tmpfs) > 0 {
		t.Errorf("got %v, %v, %v", c.Env, host.Tmpfs, err)
	}
}
