package container

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A cache is kept from step to step, whoever its user is, and belongs to its instance.
func TestCache(t *testing.T) {
	t.Parallel()
	e := connect(t)
	s := open(t, e, Outside)
	name := e.CacheName("shop", "/root/.cache\nkey")
	t.Cleanup(func() {
		s.Close(context.Background())
		if err := errors.Join(s.Wait(context.Background()), e.RemoveVolume(context.Background(), name)); err != nil {
			t.Error(err)
		}
	})
	cache := []Mount{{Target: "/etc", Volume: name}} // what the image has there does not get in
	step := func(user, script string) Step {
		return Step{User: user, Mounts: cache, Shell: []string{"/bin/sh", "-c"}, Run: []string{script}}
	}
	for _, test := range []struct {
		step Step
		out  string
	}{
		{step("1000", "ls /etc | grep passwd; echo 1 >/etc/one; stat -c '%a %u' /etc"), "777 0\n"},
		{step("0", "cat /etc/one; echo 2 >/etc/two"), "1\n"},
		{step("1001", "cat /etc/two; rm /etc/one; ls /etc | grep one || echo gone"), "2\ngone\n"},
	} {
		if out, exit := run(t, s, test.step); out != test.out || exit.Code != 0 {
			t.Errorf("got %q, %+v, want %q", out, exit, test.out)
		}
	}
	read := step("0", "cat /etc/two; rm /etc/two 2>/dev/null || echo kept; echo 3 >/etc/two || mount -o remount,rw /etc || echo unwritable")
	read.Mounts = []Mount{{Target: "/etc", Volume: name, ReadOnly: true}}
	if out, _ := run(t, s, read); !strings.HasPrefix(out, "2\nkept\n") || !strings.HasSuffix(out, "unwritable\n") {
		t.Errorf("got %q from a step that may only read", out)
	}
	found, err := e.Volumes(t.Context(), "shop")
	if err != nil || len(found) != 1 || found[0].Name != name || found[0].App != "shop" || found[0].Size != -1 || time.Since(found[0].Created) > time.Hour {
		t.Errorf("got %+v, %v", found, err)
	}
	if other, err := e.Volumes(t.Context(), "other"); err != nil || len(other) > 0 {
		t.Errorf("got %+v, %v of another app", other, err)
	}
	if other := (&Engine{cfg: Config{Instance: "other"}}).CacheName("shop", "/root/.cache\nkey"); other == name || !volumePattern.MatchString(other) {
		t.Errorf("got %s for another instance", other)
	}
}

// Caches in use stay; the others go when they are old or too many.
func TestSweepVolumes(t *testing.T) {
	t.Parallel()
	e := connect(t)
	s := open(t, e, Outside)
	busy, idle := e.CacheName("shop", "busy"), e.CacheName("shop", "idle")
	removed := make(chan struct{})
	run(t, s, Step{Run: []string{"head -c 200000 /dev/zero >/c/x"}, Mounts: []Mount{{Target: "/c", Volume: idle}}, Removed: func() { close(removed) }})
	<-removed
	waits := s.Step(t.Context(), shell(Step{Name: "waits", Mounts: []Mount{{Target: "/c", Volume: busy}}}))
	<-waits.ready
	if waits.err != nil {
		t.Fatal(waits.err)
	}
	if err := e.RemoveVolume(t.Context(), busy); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v, want %v", err, ErrInUse)
	}
	found, err := e.VolumesUsage(t.Context(), "shop")
	if err != nil || len(found) != 2 {
		t.Fatalf("got %+v, %v", found, err)
	}
	for _, v := range found {
		if v.Name == busy && v.Users != 1 || v.Name == idle && v.Size < 200000 {
			t.Errorf("got %+v", v)
		}
	}
	old := map[string]time.Time{busy: time.Now().Add(-2 * time.Hour), idle: time.Now().Add(-2 * time.Hour)}
	for _, want := range []string{idle, busy} {
		removed, err := e.SweepVolumes(t.Context(), old, Keep{Age: time.Hour})
		if err != nil || len(removed) != 1 || removed[0].Name != want {
			t.Errorf("removed %+v, %v, want %s", removed, err, want)
		}
		s.Close(t.Context())
		if err := s.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSurplus(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ago := func(h int) time.Time { return now.Add(-time.Duration(h) * time.Hour) }
	all := []Volume{
		{Name: "a", Size: 10, Created: ago(90)},
		{Name: "b", Size: 20, Created: ago(90)},
		{Name: "c", Size: 30, Created: ago(3)},
		{Name: "d", Size: 40, Created: ago(90), Users: 1},
		{Name: "e", Size: -1, Created: ago(50)},
	}
	used := map[string]time.Time{"a": ago(1), "b": ago(2)}
	for name, test := range map[string]struct {
		keep Keep
		want string
	}{
		"no bound":         {Keep{}, ""},
		"age":              {Keep{Age: 10 * time.Hour}, "e"},
		"age of all":       {Keep{Age: time.Minute}, "a b c e"},
		"size":             {Keep{Bytes: 35}, "c"},
		"size, all fit":    {Keep{Bytes: 100}, ""},
		"one is too large": {Keep{Bytes: 15}, "b c"},
		"both":             {Keep{Age: 10 * time.Hour, Bytes: 35}, "c e"},
	} {
		var got []string
		for _, v := range test.keep.surplus(all, used, now) {
			got = append(got, v.Name)
		}
		if diff := cmp.Diff(test.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
