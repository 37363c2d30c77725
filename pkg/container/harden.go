package container

import (
	"github.com/docker/docker/api/types/container"
)

// Limits bound what a container may use. Zero means the default.
type Limits struct {
	CPU    float64 // cores, never more than the engine has
	Memory int64   // bytes, swap included
	Pids   int64   // processes and threads; half the default in a strict step
}

// The default [Limits].
const (
	DefaultCPU    = 2
	DefaultMemory = 2 << 30
	DefaultPids   = 4096
)

// machine is what the engine's host allows.
type machine struct {
	cpus   int
	nofile int64 // open files; 0 leaves it to the engine
}

// practical is what common images need to drop root or fix owners. chroot, mknod,
// raw ping and setcap are what it breaks.
func practical() []string {
	return []string{"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETUID", "SETGID", "KILL"}
}

const (
	strictUser = "1000:1000"
	strictHome = "/home/millrace"
	// Docker's default for tmpfs has noexec, which breaks `go test`.
	scratch = "rw,exec,nosuid,nodev,size=1g,mode=1777"
)

// hardened is the host configuration that every container here begins with. It
// has no binds, devices, or namespaces of the host, and nothing later adds any.
func hardened(l Limits, strict bool, m machine) *container.HostConfig {
	yes, pids := true, l.Pids
	if pids <= 0 {
		pids = DefaultPids
		if strict {
			pids /= 2
		}
	}
	h := &container.HostConfig{
		CapDrop:        []string{"ALL"},
		SecurityOpt:    []string{"no-new-privileges:true"},
		IpcMode:        container.IPCModePrivate,
		CgroupnsMode:   container.CgroupnsModePrivate,
		OomScoreAdj:    500,
		ShmSize:        256 << 20,
		ReadonlyRootfs: strict,
		Init:           &yes,
		LogConfig:      container.LogConfig{Type: "local", Config: map[string]string{"max-size": "10m", "max-file": "3"}},
	}
	h.PidsLimit = &pids
	h.Ulimits = []*container.Ulimit{{Name: "core"}}
	if m.nofile > 0 {
		h.Ulimits = append(h.Ulimits, &container.Ulimit{Name: "nofile", Soft: m.nofile, Hard: m.nofile})
	}
	if strict {
		h.Tmpfs = map[string]string{"/tmp": scratch, strictHome: scratch}
	} else {
		h.CapAdd = practical()
	}
	l.apply(h, m)
	return h
}

// apply sets the limits, within what the engine takes.
func (l Limits) apply(h *container.HostConfig, m machine) {
	if l.CPU <= 0 {
		l.CPU = DefaultCPU
	}
	if l.Memory <= 0 {
		l.Memory = DefaultMemory
	}
	h.Memory = max(l.Memory, 6<<20)
	h.MemorySwap = h.Memory
	h.NanoCPUs = int64(min(max(l.CPU, 0.01), float64(m.cpus)) * 1e9)
}
