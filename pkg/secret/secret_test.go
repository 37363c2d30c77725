package secret

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

var shop = Scope{App: "shop", Environment: "production"}

func TestValue(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name             string
		files, variables map[string]string
		want             string
	}{
		{"for all", map[string]string{"TOKEN": "for-all"}, nil, "for-all"},
		{"of the app", map[string]string{"TOKEN": "for-all", "shop/TOKEN": "of-app"}, nil, "of-app"},
		{"of the environment", map[string]string{"shop/TOKEN": "of-app", "shop/production/TOKEN": "of-env"}, nil, "of-env"},
		{"variable for all", nil, map[string]string{"MILLRACE_SECRET_TOKEN": "for-all"}, "for-all"},
		{"variable of the app", nil, map[string]string{"MILLRACE_SECRET_TOKEN": "for-all", "MILLRACE_SECRET_SHOP__TOKEN": "of-app"}, "of-app"},
		{"variable of the environment", nil, map[string]string{"MILLRACE_SECRET_SHOP__PRODUCTION__TOKEN": "of-env"}, "of-env"},
		{"file before variable", map[string]string{"TOKEN": "file"}, map[string]string{"MILLRACE_SECRET_TOKEN": "variable"}, "file"},
		{"app before file", map[string]string{"TOKEN": "file"}, map[string]string{"MILLRACE_SECRET_SHOP__TOKEN": "of-app"}, "of-app"},
		{"newline", map[string]string{"TOKEN": "line\n"}, nil, "line"},
		{"newline of Windows", map[string]string{"TOKEN": "line\r\n"}, nil, "line"},
		{"only one newline", map[string]string{"TOKEN": "a\nbcd\n\n"}, nil, "a\nbcd\n"},
		{"longest", map[string]string{"TOKEN": strings.Repeat("x", MaxLength) + "\r\n"}, nil, strings.Repeat("x", MaxLength)},
	}
	for _, tt := range tests {
		got, err := open(t, tt.files, tt.variables).Value(shop, "TOKEN")
		if err != nil || got != tt.want {
			t.Errorf("%s: got %.20q, %v; want %.20q", tt.name, got, err, tt.want)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, value string
		of          Scope
		secret      string
		want        string
	}{
		{"short", "abc\n", shop, "TOKEN", "fewer than 4 bytes"},
		{"empty", "", shop, "TOKEN", "fewer than 4 bytes"},
		{"long", strings.Repeat("canary", MaxLength), shop, "TOKEN", "more than 65536 bytes"},
		{"zero byte", "canary\x00", shop, "TOKEN", "zero byte"},
		{"path", "canary", shop, "../TOKEN", "begins with a letter"},
		{"lower case", "canary", shop, "token", "begins with a letter"},
		{"path of app", "canary", Scope{App: ".."}, "TOKEN", `app ".." is not`},
		{"no app", "canary", Scope{}, "TOKEN", `app "" is not`},
		{"path of environment", "canary", Scope{App: "shop", Environment: "../x"}, "TOKEN", "environment"},
	}
	for _, tt := range tests {
		_, err := open(t, map[string]string{"TOKEN": tt.value}, nil).Value(tt.of, tt.secret)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: got %.200v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestMissing(t *testing.T) {
	t.Parallel()
	s := open(t, map[string]string{"other/TOKEN": "canary"}, map[string]string{"MILLRACE_SECRET_OTHER__TOKEN": "canary"})
	_, err := s.Value(Scope{App: "my-shop"}, "TOKEN")
	if !errors.Is(err, ErrMissing) {
		t.Fatal(err)
	}
	for _, want := range []string{"/my-shop/TOKEN, variable MILLRACE_SECRET_MY_SHOP__TOKEN, ", "/TOKEN, variable MILLRACE_SECRET_TOKEN", "secret TOKEN of app my-shop is not set: looked for file "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %q", err, want)
		}
	}
	if _, err := mustOpen(t, Config{}).Value(shop, "TOKEN"); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "neither files nor variables") {
		t.Errorf("without sources: %v", err)
	}
}

// No app reaches what is another's, by whatever names it asks.
func TestForeign(t *testing.T) {
	t.Parallel()
	s := open(t, nil, map[string]string{"MILLRACE_SECRET_SHOP__TOKEN": "canary", "MILLRACE_SECRET_SHOP__PROD__TOKEN": "canary", "MILLRACE_SECRET_A__B__C": "canary"})
	for _, ask := range []struct {
		of   Scope
		name string
	}{
		{Scope{App: "evil"}, "SHOP__TOKEN"},
		{Scope{App: "evil"}, "SHOP__PROD__TOKEN"},
		{Scope{App: "shop"}, "PROD__TOKEN"},
		{Scope{App: "a"}, "B__C"},
		{Scope{App: "a--b"}, "C"},
		{Scope{App: "a", Environment: "b--c"}, "C"},
		{Scope{App: "a-b"}, "C"},
	} {
		if _, err := s.Value(ask.of, ask.name); !errors.Is(err, ErrMissing) {
			t.Errorf("%s reads %s: %v", ask.of, ask.name, err)
		}
	}
}

func TestNoFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "TOKEN"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := mustOpen(t, Config{Dir: dir}).Value(shop, "TOKEN"); err == nil || errors.Is(err, ErrMissing) {
		t.Errorf("a directory: %v", err)
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	s := open(t, map[string]string{"TOKEN": "canary", "shop/DB": "canary2"}, nil)
	v, err := s.Values(shop, map[string]string{"TOKEN": "TOKEN", "PGPASSWORD": "DB"})
	if err != nil || v["PGPASSWORD"] != "canary2" || len(v.List()) != 2 {
		t.Fatalf("got %d, %v", len(v), err)
	}
	data, err := json.Marshal(map[string]any{"secrets": v})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("step", "secrets", v)
	for _, text := range []string{fmt.Sprint(v), fmt.Sprintf("%v %+v %#v %s %q %x", v, v, v, v, v, v), string(data), log.String()} {
		if strings.Contains(text, "canary") || strings.Contains(text, "63616e617279") || !strings.Contains(text, "PGPASSWORD") {
			t.Errorf("prints %s", text)
		}
	}
	if _, err := s.Values(shop, map[string]string{"A": "NONE", "B": "TOKEN", "C": "NEITHER"}); err == nil || !strings.Contains(err.Error(), "NONE") || !strings.Contains(err.Error(), "NEITHER") {
		t.Errorf("got %v, want both", err)
	}
}

func TestDigest(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	one, again, other := mustOpen(t, Config{Data: dir}), mustOpen(t, Config{Data: dir}), mustOpen(t, Config{})
	values := Values{"A": "1234", "B": "5678"}
	want := one.Digest(values)
	if len(want) != 64 || again.Digest(Values{"B": "5678", "A": "1234"}) != want {
		t.Errorf("%q is not kept", want)
	}
	if one.Digest(nil) != "" {
		t.Error("no values have a digest")
	}
	for name, v := range map[string]Values{"value": {"A": "1234", "B": "5679"}, "name": {"A": "1234", "C": "5678"}, "fewer": {"A": "1234"}, "border": {"A": "1234B5678"}} {
		if one.Digest(v) == want {
			t.Errorf("another %s, same digest", name)
		}
	}
	if other.Digest(values) == want {
		t.Error("another installation has the same key")
	}
	info, err := os.Stat(filepath.Join(dir, keyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key: %v, %v", info.Mode(), err)
	}
}

func TestBadKey(t *testing.T) {
	t.Parallel()
	for want, mode := range map[string]os.FileMode{"has not 32 bytes": 0o600, "open to others": 0o644} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, keyFile), []byte("short"), mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Config{Data: dir}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// Services of one installation begin together and agree on one key.
func TestKeyRace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	digests := make([]string, 8)
	var all sync.WaitGroup
	for i := range digests {
		all.Go(func() { digests[i] = mustOpen(t, Config{Data: dir}).Digest(Values{"A": "1234"}) })
	}
	all.Wait()
	for _, d := range digests {
		if d != digests[0] {
			t.Fatalf("digests differ: %q", digests)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
		t.Errorf("left behind: %q", left)
	}
}

func open(t *testing.T, files, variables map[string]string) *Store {
	t.Helper()
	dir := t.TempDir()
	for name, value := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return mustOpen(t, Config{Dir: dir, Lookup: func(name string) (string, bool) { v, ok := variables[name]; return v, ok }})
}

func mustOpen(t *testing.T, c Config) *Store {
	t.Helper()
	s, err := Open(c)
	if err != nil {
		t.Error(err)
		return &Store{}
	}
	return s
}
