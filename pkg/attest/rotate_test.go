package attest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const keep = 90 * 24 * time.Hour

func rotated(t *testing.T, dir string, now time.Time, keep time.Duration) Key {
	t.Helper()
	key, err := Rotate(dir, "tester", now, keep)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func load(t *testing.T, dir string) Ring {
	t.Helper()
	r, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func private(t *testing.T, dir string) *Signer {
	t.Helper()
	s, _, err := readSigner(filepath.Join(dir, "tester.key"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// until is a copy of the key with an end.
func until(k Key, end time.Time) Key {
	k.Until = end
	return k
}

func TestRotate(t *testing.T) {
	dir, made := keys(t)
	old := private(t, dir)
	before := contents(t, dir)
	now := noon.Add(48*time.Hour + time.Millisecond)
	key := rotated(t, dir, now, keep)
	now = now.Truncate(time.Second)
	r := load(t, dir)
	if diff := cmp.Diff(Ring{until(made[0], now.Add(keep)), made[1], key}, r); diff != "" {
		t.Fatal(diff)
	}
	if key.ID == made[0].ID || !key.From.Equal(now) || private(t, dir).Key() != key.ID {
		t.Errorf("new key: %+v; signing: %s", key, private(t, dir).Key())
	}
	for _, tt := range []struct {
		name    string
		signer  *Signer
		at      time.Time
		trusted bool
	}{
		{"old, before", old, now.Add(-time.Hour), true},
		{"old, after", old, now.Add(time.Hour), true},
		{"old, last moment", old, now.Add(keep - 1), true},
		{"old, end", old, now.Add(keep), false},
		{"new, before", private(t, dir), now.Add(-Early - 1), false},
		{"new, at once", private(t, dir), now, true},
		{"new, later", private(t, dir), now.Add(10 * keep), true},
	} {
		if _, _, err := r.Verify(sign(t, tt.signer, statement(t)), "tester", tt.at); (err == nil) != tt.trusted {
			t.Errorf("%s: %v, want trusted %v", tt.name, err, tt.trusted)
		}
	}
	after := contents(t, dir)
	if len(after) != 3 || !strings.HasPrefix(after["tester.key"], "-rw------- ") || !strings.HasPrefix(after[TrustedFile], "-rw-r--r-- ") {
		t.Errorf("files: %v", after)
	}
	for name, text := range after {
		if strings.Contains(text, before["tester.key"]) {
			t.Errorf("%s still has the old private key", name)
		}
	}
	if after["builder.key"] != before["builder.key"] {
		t.Error("the key of another service changed")
	}
}

// TestRotateTwice: a key that was to be trusted for a while is not so for longer.
func TestRotateTwice(t *testing.T) {
	dir, made := keys(t)
	second := rotated(t, dir, noon.Add(time.Hour), keep)
	third := rotated(t, dir, noon.Add(2*time.Hour), keep)
	want := Ring{until(made[0], noon.Add(time.Hour+keep)), made[1], until(second, noon.Add(2*time.Hour+keep)), third}
	if diff := cmp.Diff(want, load(t, dir)); diff != "" {
		t.Error(diff)
	}
	fourth := rotated(t, dir, noon.Add(3*time.Hour), time.Minute)
	end := noon.Add(3*time.Hour + time.Minute)
	want = Ring{until(made[0], end), made[1], until(second, end), until(third, end), fourth}
	if diff := cmp.Diff(want, load(t, dir)); diff != "" {
		t.Errorf("with a shorter time: %s", diff)
	}
}

// TestRotateLeaked: without a time to keep it, the old key counts for nothing, even
// where it says that it signed long ago. What ended before stays as it was.
func TestRotateLeaked(t *testing.T) {
	dir, made := keys(t)
	second := rotated(t, dir, noon, time.Minute)
	third := rotated(t, dir, noon.Add(time.Hour), 0)
	want := Ring{until(made[0], noon.Add(time.Minute)), made[1], third}
	if diff := cmp.Diff(want, load(t, dir)); diff != "" {
		t.Errorf("after %s leaked: %s", second.Short(), diff)
	}
}

// TestRotateCutOff cuts a rotation off between each two of its writes. What lies there
// then works, and the next call ends as if nothing had been.
func TestRotateCutOff(t *testing.T) {
	now := noon.Add(time.Hour)
	for name, begin := range map[string]func(t *testing.T, dir string) Key{
		"while the key is written": func(t *testing.T, dir string) Key {
			_, text, err := generate("tester", now)
			if err != nil {
				t.Fatal(err)
			}
			if err := create(filepath.Join(dir, nextFile("tester")), text[:len(text)/2]); err != nil {
				t.Fatal(err)
			}
			return Key{}
		},
		"before it is trusted": func(t *testing.T, dir string) Key {
			if _, err := next(dir, "tester", load(t, dir), now); err != nil {
				t.Fatal(err)
			}
			return Key{}
		},
		"before it signs": func(t *testing.T, dir string) Key {
			key, err := next(dir, "tester", load(t, dir), now)
			if err != nil {
				t.Fatal(err)
			}
			if err := trust(dir, load(t, dir), key, now, keep); err != nil {
				t.Fatal(err)
			}
			return key
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, made := keys(t)
			prepared := begin(t, dir)
			h, err := Open(Config{Dir: dir, Service: "tester"})
			if err != nil {
				t.Fatalf("cut off: %v", err)
			}
			if key := verified(t, h, now.Add(time.Minute)); key.ID != made[0].ID {
				t.Errorf("cut off, and %s signs", key.Short())
			}
			later := now.Add(time.Hour)
			key := rotated(t, dir, later, keep)
			end := later.Add(keep)
			if prepared.ID != "" {
				end = now.Add(keep) // as it was said first
				if key != prepared {
					t.Errorf("a second new key %s beside %s", key.Short(), prepared.Short())
				}
			}
			if diff := cmp.Diff(Ring{until(made[0], end), made[1], key}, load(t, dir)); diff != "" {
				t.Error(diff)
			}
			if got := verified(t, h, later); got != key || len(contents(t, dir)) != 3 {
				t.Errorf("%s signs, want %s; files: %v", got.Short(), key.Short(), contents(t, dir))
			}
		})
	}
}

// TestRotateOrder: when the last write fails, all before it is done.
func TestRotateOrder(t *testing.T) {
	dir, made := keys(t)
	name := filepath.Join(dir, "tester.key")
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(name, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Rotate(dir, "tester", noon, keep); err == nil {
		t.Fatal("a directory was replaced by a key")
	}
	r := load(t, dir)
	if len(r) != 3 || r[0] != until(made[0], noon.Add(keep)) {
		t.Errorf("ring: %+v", r)
	}
	if err := os.RemoveAll(name); err != nil {
		t.Fatal(err)
	}
	if key := rotated(t, dir, noon, keep); key != r[2] || private(t, dir).Key() != r[2].ID {
		t.Errorf("tried again: %+v, want %+v", key, r[2])
	}
}

func TestRotateRefuses(t *testing.T) {
	dir, _ := keys(t)
	before := contents(t, dir)
	for _, tt := range []struct {
		dir, service string
		keep         time.Duration
		want         string
	}{
		{dir, "cook", keep, `rotate the key of "cook" in ` + dir + ": the service has no key in trusted.json"},
		{dir, "../tester", keep, "the service has no key"},
		{dir, "tester", -1, "-1ns is no time to keep"},
		{empty(t), "tester", keep, "millrace keys init makes it"},
		{filepath.Join(dir, "none"), "tester", keep, "no such file"},
		{filepath.Join(dir, "tester.key"), "tester", keep, "is not a directory"},
	} {
		if _, err := Rotate(tt.dir, tt.service, noon, tt.keep); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Rotate %s of %s: %v, want %q", tt.service, tt.dir, err, tt.want)
		}
	}
	if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
		t.Error(diff)
	}
}
