package container

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// However a stream is cut, the output is what came before the mark.
func TestMarkProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		mark := newMark()
		// Output that is full of what looks like the mark.
		pieces := rapid.SliceOf(rapid.SampledFrom([]string{
			"", "x", "\n", "\x1e", "\x1emillrace ", string(mark[:len(mark)-1]), string(mark) + " x\n", string(mark) + " 12345\n", string(mark) + " 1mm\n", string(mark) + " m\n", string(mark) + " \n", "\x1e\x1e",
		})).Draw(t, "output")
		output := strings.Join(pieces, "")
		code := rapid.IntRange(0, 255).Draw(t, "code")
		oom := rapid.SampledFrom([]string{"", "m"}).Draw(t, "oom")
		stream := fmt.Appendf([]byte(output), "%s %d%s\n", mark, code, oom)
		var out bytes.Buffer
		u := &untilMark{out: &out, mark: mark}
		err := error(nil)
		for len(stream) > 0 && err == nil {
			n := rapid.IntRange(1, len(stream)).Draw(t, "cut")
			_, err = u.Write(stream[:n])
			stream = stream[n:]
		}
		if !errors.Is(err, errEnd) || u.end != (verdict{code, oom == "m"}) || out.String() != output {
			t.Fatalf("got %q, %+v, %v; want %q and %d", out.String(), u.end, err, output, code)
		}
	})
}

func TestMarkThatNeverComes(t *testing.T) {
	t.Parallel()
	mark := newMark()
	for _, text := range []string{"", "abc", "abc\x1e", "abc" + string(mark[:20]), "abc" + string(mark) + " 1"} {
		var out bytes.Buffer
		u := &untilMark{out: &out, mark: mark}
		for i := range len(text) {
			if _, err := u.Write([]byte{text[i]}); err != nil {
				t.Fatal(err)
			}
		}
		if err := u.flush(); err != nil || out.String() != text {
			t.Errorf("got %q, %v, want %q", out.String(), err, text)
		}
	}
}

func TestPauseProgram(t *testing.T) {
	t.Parallel()
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		program, err := pauseProgram(arch)
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(program))
		if err != nil {
			t.Fatalf("%s: %v", arch, err)
		}
		if f.Machine != machine || f.Type != elf.ET_EXEC || len(f.Progs) != 1 || len(program) > 160 {
			t.Errorf("%s: got %+v in %d bytes", arch, f.FileHeader, len(program))
		}
		if p := f.Progs[0]; f.Entry != p.Vaddr+120 || p.Flags != elf.PF_R|elf.PF_X || p.Filesz != uint64(len(program)) {
			t.Errorf("%s: got %+v, entry %x", arch, p.ProgHeader, f.Entry)
		}
	}
	if _, err := pauseProgram("vax"); err == nil {
		t.Error("got a program for a vax")
	}
}

// Nothing that a caller can say yields power over the host.
func TestSandboxProperty(t *testing.T) {
	t.Parallel()
	// Mostly what could be accepted: what is refused anyway shows nothing.
	mostly := func(fair []string, nasty ...string) *rapid.Generator[string] {
		return rapid.Custom(func(t *rapid.T) string {
			if rapid.SampledFrom([]int{1, 2, 3, 4, 5, 6, 7, 8, 9, 0}).Draw(t, "nasty") == 0 {
				return rapid.OneOf(rapid.String(), rapid.SampledFrom(nasty)).Draw(t, "text")
			}
			return rapid.SampledFrom(fair).Draw(t, "text")
		})
	}
	paths := mostly([]string{"/x", "/etc", "/etc/ssl/company", "/var/run/docker.sock", "/data"}, "/", "/run/millrace/ca", "/run/secrets", "/a:/b", "/a,b", "/x/../y", "", "/proc/sys")
	volumes := mostly([]string{"millrace-x", "millrace-y"}, "/etc", "postgres", "millrace-/etc", "millrace-x:/etc")
	names := mostly([]string{"TOKEN", "A", "HOME"}, "A=B", "")
	values := mostly([]string{"", "x", "/etc:/etc"}, "\x00")
	mounts := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Mount {
		m := Mount{Target: paths.Draw(t, "target"), ReadOnly: rapid.Bool().Draw(t, "ro")}
		switch rapid.SampledFrom([]int{0, 0, 0, 0, 1, 1, 1, 2, 2, 3}).Draw(t, "kind") {
		case 0:
			m.Overlay = &Overlay{paths.Draw(t, "lower"), paths.Draw(t, "upper"), paths.Draw(t, "work"), rapid.Bool().Draw(t, "xattr")}
		case 1:
			m.Volume = volumes.Draw(t, "volume")
		case 2:
			m.Tmpfs = rapid.Int64().Draw(t, "tmpfs")
		}
		return m
	}), 0, 2)
	texts := rapid.SliceOfN(rapid.String(), 0, 3)
	limits := rapid.Custom(func(t *rapid.T) Limits {
		return Limits{rapid.Float64().Draw(t, "cpu"), rapid.Int64().Draw(t, "memory"), rapid.Int64().Draw(t, "pids")}
	})
	accepted := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		env := rapid.MapOfN(names, values, 0, 2).Draw(t, "env")
		secrets := rapid.MapOfN(names, values, 0, 2).Draw(t, "secrets")
		text := rapid.String()
		step := Step{
			Name: text.Draw(t, "name"), Image: text.Draw(t, "image"), Run: texts.Draw(t, "run"), Shell: texts.Draw(t, "shell"), Env: env, Secrets: secrets, User: text.Draw(t, "user"),
			Workdir: paths.Draw(t, "workdir"), Mounts: mounts.Draw(t, "mounts"), Limits: limits.Draw(t, "limits"), Strict: rapid.Bool().Draw(t, "strict"),
		}
		service := Service{
			Name: text.Draw(t, "name"), Image: text.Draw(t, "image"), Entrypoint: texts.Draw(t, "entrypoint"), Command: texts.Draw(t, "command"),
			Env: env, Secrets: secrets, User: text.Draw(t, "user"), Mounts: mounts.Draw(t, "mounts"), Limits: limits.Draw(t, "limits"),
		}
		app := App{
			Name: text.Draw(t, "name"), Image: text.Draw(t, "image"), Env: env, Mounts: mounts.Draw(t, "mounts"), Limits: limits.Draw(t, "limits"),
			Network: rapid.OneOf(text, rapid.SampledFrom([]string{"host", "none", "bridge", "container:x", "shop"})).Draw(t, "network"),
			Publish: rapid.SliceOfN(rapid.SampledFrom([]string{"80:80", "1-3:1-3", "127.0.0.1:8080:8080", "x"}), 0, 2).Draw(t, "publish"),
		}
		m := machine{cpus: 2, nofile: 8192}
		p := place{owner: Owner{App: "shop"}, instance: "i", session: "s", machine: m}
		p.operator.CADir = rapid.SampledFrom([]string{"", "/etc/ssl/company"}).Draw(t, "certificates")
		if err := p.operator.check(); err != nil {
			t.Fatal(err)
		}
		c, host, err := step.defaults().config(p)
		count(accepted, host)
		mustBeHarmless(t, c, host, err, step.Strict, p.operator)
		c, host, err = service.config(p)
		count(accepted, host)
		mustBeHarmless(t, c, host, err, false, p.operator)
		c, host, err = app.config("i", m)
		mustBeHarmless(t, c, host, err, false, Operator{})
	})
	if min(accepted["overlay"], accepted["volume"], accepted["certificates"]) < 5 {
		t.Errorf("nearly all was refused: %v", accepted)
	}
}

// count adds up what h has, so that the property is known to have been looked at.
func count(accepted map[string]int, h *container.HostConfig) {
	if h == nil {
		return
	}
	for _, m := range h.Mounts {
		switch {
		case m.Source != "":
			accepted["volume"]++
		case m.Target == caDir:
			accepted["certificates"]++
		default:
			accepted["overlay"]++
		}
	}
}

// overlayOnly is three directories, and nothing that only they could say.
var overlayOnly = regexp.MustCompile(`^lowerdir=/[^,:]+,upperdir=/[^,:]+,workdir=/[^,:]+,(redirect_dir=nofollow,metacopy=off|userxattr),index=off(,ro)?$`)

func mustBeHarmless(t *rapid.T, c *container.Config, h *container.HostConfig, err error, strict bool, o Operator) {
	if err != nil {
		return // refused
	}
	takeOutCertificates(t, h, o)
	// All that a harmless configuration may differ in is taken out; what is left has
	// to be nothing.
	for _, m := range h.Mounts {
		if m.Type != mount.TypeVolume || m.BindOptions != nil || strings.HasPrefix(m.Source, "/") || m.Source != "" && !strings.HasPrefix(m.Source, "millrace-") {
			t.Fatalf("mount %+v", m)
		}
		if d := m.VolumeOptions.DriverConfig; d != nil && (m.Source != "" || d.Options["type"] != "overlay" || d.Options["device"] != "overlay" || !overlayOnly.MatchString(d.Options["o"])) {
			t.Fatalf("driver %+v", d)
		}
	}
	if strict && len(h.CapAdd) > 0 || !strict && !slices.Equal(h.CapAdd, practical()) {
		t.Fatalf("capabilities %v", h.CapAdd)
	}
	if n := string(h.NetworkMode); n == "host" || strings.Contains(n, ":") {
		t.Fatalf("network %s", n)
	}
	if h.PidsLimit == nil || *h.PidsLimit <= 0 || h.NanoCPUs < 0 || h.NanoCPUs > 2e9 || h.Memory != h.MemorySwap || h.OomScoreAdj < 0 {
		t.Fatalf("resources %+v", h.Resources)
	}
	rest := *h
	rest.Mounts, rest.CapAdd, rest.NetworkMode, rest.Tmpfs, rest.PortBindings, rest.RestartPolicy = nil, nil, "", nil, nil, container.RestartPolicy{}
	rest.LogConfig, rest.OomScoreAdj, rest.ReadonlyRootfs, rest.Init = container.LogConfig{}, 0, false, nil
	rest.PidsLimit, rest.NanoCPUs, rest.Memory, rest.MemorySwap, rest.Ulimits = nil, 0, 0, 0, nil
	want := container.HostConfig{
		CapDrop: []string{"ALL"}, SecurityOpt: []string{"no-new-privileges:true"},
		IpcMode: "private", CgroupnsMode: "private", ShmSize: 256 << 20,
	}
	if diff := cmp.Diff(want, rest); diff != "" {
		t.Fatalf("host configuration has more than it may:\n%s", diff)
	}
	if c.Labels[labelInstance] != "i" || c.Labels[labelApp] == "" && c.Labels[labelKind] != kindApp {
		t.Fatalf("labels %v", c.Labels)
	}
}

// takeOutCertificates takes out of h the one directory of the host that the operator,
// and nobody else, may name.
func takeOutCertificates(t *rapid.T, h *container.HostConfig, o Operator) {
	if o.CADir == "" {
		return
	}
	want := mount.Mount{
		Type: mount.TypeVolume, Target: "/run/millrace/ca", VolumeOptions: &mount.VolumeOptions{
			NoCopy: true, Labels: map[string]string{},
			DriverConfig: &mount.Driver{Name: "local", Options: map[string]string{"type": "none", "o": "bind,ro", "device": o.CADir}},
		},
	}
	if len(h.Mounts) == 0 {
		t.Fatal("no certificates")
	}
	first := h.Mounts[0]
	if first.VolumeOptions.Labels[labelSession] != "s" {
		t.Fatalf("nobody would remove the volume of %v", first.VolumeOptions.Labels)
	}
	first.VolumeOptions.Labels = map[string]string{}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Fatalf("certificates:\n%s", diff)
	}
	h.Mounts = h.Mounts[1:]
}

func TestMountsRefused(t *testing.T) {
	t.Parallel()
	good := Overlay{Lower: "/data/lower", Upper: "/data/upper", Work: "/data/work"}
	with := func(lower string) *Overlay { o := good; o.Lower = lower; return &o }
	for name, m := range map[string]Mount{
		"comma":          {Target: "/x", Overlay: with("/a,userxattr")},
		"colon":          {Target: "/x", Overlay: with("/a:/etc")},
		"relative":       {Target: "/x", Overlay: with("a")},
		"not clean":      {Target: "/x", Overlay: with("/a/../b")},
		"root":           {Target: "/x", Overlay: with("/")},
		"path as volume": {Target: "/x", Volume: "/etc"},
		"foreign volume": {Target: "/x", Volume: "postgres"},
		"two kinds":      {Target: "/x", Volume: "millrace-x", Tmpfs: 1},
		"none":           {Target: "/x"},
		"system":         {Target: "/proc/x", Tmpfs: 1},
		"root target":    {Target: "/", Tmpfs: 1},
		"option":         {Target: "/x:exec", Tmpfs: 1},
	} {
		if err := m.addTo(&container.HostConfig{}, nil, nil); err == nil {
			t.Errorf("%s: %+v was accepted", name, m)
		}
	}
	if err := (Mount{Target: "/x", Overlay: &good}).addTo(&container.HostConfig{}, nil, nil); err != nil {
		t.Error(err)
	}
}

func TestImageNames(t *testing.T) {
	t.Parallel()
	for ref, want := range map[string]string{
		"golang":                         "docker.io/library/golang",
		"golang:1.26":                    "docker.io/library/golang",
		"acme/shop:1":                    "docker.io/acme/shop",
		"docker.io/golang:1":             "docker.io/library/golang",
		"127.0.0.1:5000/shop":            "127.0.0.1:5000/shop",
		"localhost/shop:1":               "localhost/shop",
		"r.example.com/a/b@sha256:01":    "r.example.com/a/b",
		"r.example.com:1/a/b:1@sha256:0": "r.example.com:1/a/b",
	} {
		if got := fullName(ref); got != want {
			t.Errorf("%s: got %s, want %s", ref, got, want)
		}
	}
	digests := []string{"127.0.0.1:5000/shop@sha256:aa", "golang@sha256:bb"}
	for ref, want := range map[string]string{
		"golang:1.26": "golang@sha256:bb", "127.0.0.1:5000/shop:1": "127.0.0.1:5000/shop@sha256:aa",
		"other:1": "sha256:id", "x@sha256:cc": "x@sha256:cc",
	} {
		if got := pinned(ref, "sha256:id", digests); got != want {
			t.Errorf("%s: got %s, want %s", ref, got, want)
		}
	}
}

func TestLabelsReadBack(t *testing.T) {
	t.Parallel()
	o := Owner{App: "shop", Delivery: 7, Stage: "deploy", Environment: "production", Step: "unit[go=1.26]", Attempt: 2}
	if got := ownerOf(o.labels("i", "s", kindStep)); got != o {
		t.Errorf("got %+v, want %+v", got, o)
	}
}
