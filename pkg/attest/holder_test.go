package attest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// verified signs and verifies with what the holder has, and tells which key it was.
func verified(t *testing.T, h *Holder, at time.Time) Key {
	t.Helper()
	s, err := h.Signer()
	if err != nil {
		t.Fatal(err)
	}
	data := sign(t, s, statement(t))
	r, err := h.Ring()
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := r.Verify(data, "tester", at)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestHolderFollows: a rotated key counts without a restart.
func TestHolderFollows(t *testing.T) {
	dir, made := keys(t)
	h, err := Open(Config{Dir: dir, Service: "tester"})
	if err != nil {
		t.Fatal(err)
	}
	if key := verified(t, h, noon); key != made[0] {
		t.Errorf("%+v, want %+v", key, made[0])
	}
	first, _ := h.Signer()
	if again, _ := h.Signer(); again != first {
		t.Error("the same file was read twice")
	}
	key := rotated(t, dir, noon.Add(time.Hour), keep)
	if got := verified(t, h, noon.Add(time.Hour)); got != key {
		t.Errorf("%+v, want %+v", got, key)
	}
}

// TestHolderNotices: what was right once is not taken for right for ever.
func TestHolderNotices(t *testing.T) {
	dir, _ := keys(t)
	h, err := Open(Config{Dir: dir, Service: "tester"})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "tester.key")
	if err := os.Chmod(name, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Signer(); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("opened to others: %v", err)
	}
	if err := os.Chmod(name, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Signer(); err != nil {
		t.Errorf("closed again: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, TrustedFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Ring(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without its file there is a ring: %v", err)
	}
	if _, err := h.Signer(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a ring it signs: %v", err)
	}
}

// TestHolderLate is a host to which the new key comes before the new ring.
func TestHolderLate(t *testing.T) {
	dir, _ := keys(t)
	h, err := Open(Config{Dir: dir, Service: "tester"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "new"), file(t, "test.key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "tester.key")); err != nil {
		t.Fatal(err)
	}
	_, err = h.Signer()
	wantRefused(t, err, ErrKey, "is not in trusted.json")
	data, err := ring(t).marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := replaceRing(dir, data); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Signer(); err != nil {
		t.Errorf("the ring has come: %v", err)
	}
}

func TestOpenTexts(t *testing.T) {
	text, err := ring(t).marshal()
	if err != nil {
		t.Fatal(err)
	}
	dir, _ := keys(t)
	for name, c := range map[string]Config{
		"both":          {Service: "tester", Key: string(file(t, "test.key")), Trusted: string(text)},
		"before files":  {Dir: dir, Service: "tester", Key: string(file(t, "test.key")), Trusted: string(text)},
		"only verifies": {Trusted: string(text)},
	} {
		h, err := Open(c)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if c.Service != "" && verified(t, h, noon) != ring(t)[0] {
			t.Errorf("%s: another key", name)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	text, err := ring(t).marshal()
	if err != nil {
		t.Fatal(err)
	}
	dir, _ := keys(t)
	key := string(file(t, "test.key"))
	for name, tt := range map[string]struct {
		Config
		want string
	}{
		"nothing":                {Config{}, "there is no directory of keys"},
		"no ring":                {Config{Service: "tester", Key: key}, "there is no directory of keys"},
		"no key":                 {Config{Service: "tester", Trusted: string(text)}, "there is no directory of keys"},
		"empty directory":        {Config{Dir: t.TempDir()}, "millrace keys init makes it"},
		"no key of the service":  {Config{Dir: dir, Service: "cook"}, "cook.key: no such file or directory: millrace keys init makes it"},
		"bad key":                {Config{Service: "tester", Key: "x", Trusted: string(text)}, "private key: it is no PEM block"},
		"bad ring":               {Config{Service: "tester", Key: key, Trusted: "{}"}, "trusted keys: there are 0"},
		"key of another service": {Config{Service: "builder", Key: key, Trusted: string(text)}, "of builder is not in trusted.json"},
		"unknown key":            {Config{Dir: dir, Service: "tester", Key: key}, "of tester is not in trusted.json"},
	} {
		if _, err := Open(tt.Config); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	h, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Signer(); err == nil || !strings.Contains(err.Error(), "does not sign") {
		t.Errorf("one that only verifies signs: %v", err)
	}
}

// TestHolderWhileRotating: whatever moment a statement is signed in, who reads the ring
// after that trusts it.
func TestHolderWhileRotating(t *testing.T) {
	dir, _ := keys(t)
	h, err := Open(Config{Dir: dir, Service: "tester"})
	if err != nil {
		t.Fatal(err)
	}
	st := statement(t)
	done := make(chan struct{})
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				s, err := h.Signer()
				if err != nil {
					t.Error(err)
					return
				}
				data, err := s.Sign(st)
				if err != nil {
					t.Error(err)
					return
				}
				r, err := Load(dir)
				if err != nil {
					t.Error(err)
					return
				}
				if _, _, err := r.Verify(data, "tester", noon); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 20 {
		rotated(t, dir, noon, time.Hour)
	}
	close(done)
	all.Wait()
}
