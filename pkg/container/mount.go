package container

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
)

// Overlay is a copy-on-write view of a directory, mounted by the engine. The paths
// are absolute, as the engine's host sees them. Lower is never written; what
// changes is in Upper. Work is scratch on the file system of Upper.
type Overlay struct {
	Lower, Upper, Work string
	UserXattr          bool // marks of what is deleted are user.overlay.* and not trusted.overlay.*
}

// Mount is a place in a container that is not from its image. Exactly one of
// Overlay, Volume and Tmpfs is set. A volume of a step or service is a cache: it is the
// same whatever their images have in its place, any user may write to it unless it is
// mounted read-only, and several at a time may use it.
type Mount struct {
	Target   string   // absolute, in the container
	Overlay  *Overlay // removed with the container
	Volume   string   // made if absent, kept; its name begins with millrace-
	Tmpfs    int64    // bytes
	ReadOnly bool
}

// volumePattern keeps out paths, and volumes that are not ours and might lead anywhere.
var volumePattern = regexp.MustCompile(`^millrace-[a-zA-Z0-9_.-]{1,200}$`)

// addMounts puts mounts into h, with labels for the volumes that the engine makes: those
// of overlays, and those that stay.
func addMounts(h *container.HostConfig, mounts []Mount, overlay, volume map[string]string) error {
	for _, m := range mounts {
		if err := m.addTo(h, overlay, volume); err != nil {
			return err
		}
	}
	return nil
}

// addTo puts m into h. The labels are for the volumes that the engine makes.
func (m Mount) addTo(h *container.HostConfig, overlay, volume map[string]string) error {
	if err := checkTarget(m.Target); err != nil {
		return err
	}
	out := mount.Mount{Type: mount.TypeVolume, Target: m.Target, ReadOnly: m.ReadOnly}
	switch {
	case m.Overlay != nil && m.Volume == "" && m.Tmpfs == 0:
		options, err := m.Overlay.options()
		if err != nil {
			return err
		}
		if m.ReadOnly { // engines refuse the field on a volume without a name
			out.ReadOnly = false
			options["o"] += ",ro"
		}
		out.VolumeOptions = &mount.VolumeOptions{NoCopy: true, Labels: overlay, DriverConfig: &mount.Driver{Name: "local", Options: options}}
	case m.Volume != "" && m.Overlay == nil && m.Tmpfs == 0:
		if !volumePattern.MatchString(m.Volume) {
			return fmt.Errorf("volume %q at %s: want a name that begins with millrace-", m.Volume, m.Target)
		}
		out.Source, out.VolumeOptions = m.Volume, &mount.VolumeOptions{NoCopy: volume[labelKind] == kindCache, Labels: volume}
	case m.Tmpfs > 0 && m.Overlay == nil && m.Volume == "":
		// The field for options of a tmpfs mount came later than engines in use, so
		// it is not a mount.
		h.Tmpfs = with(h.Tmpfs, map[string]string{m.Target: fmt.Sprintf("rw,exec,nosuid,nodev,mode=1777,size=%d", m.Tmpfs)})
		return nil
	default:
		return fmt.Errorf("mount at %s: want one of overlay, volume and tmpfs", m.Target)
	}
	h.Mounts = append(h.Mounts, out)
	return nil
}

// checkTarget refuses places where a mount does harm or means something else.
func checkTarget(target string) error {
	if !path.IsAbs(target) || path.Clean(target) != target || target == "/" || strings.ContainsAny(target, ":\x00\n") {
		return fmt.Errorf("mount at %q: want an absolute path", target)
	}
	for _, system := range []string{"/proc", "/sys", "/dev"} {
		if (target == system || strings.HasPrefix(target, system+"/")) && target != "/dev/shm" {
			return fmt.Errorf("mount at %s: that belongs to the system", target)
		}
	}
	return nil
}

// reserved tells whether target is ours. /var/run is a name of /run in most images.
func reserved(target string) bool {
	target = strings.TrimPrefix(target, "/var")
	for _, ours := range []string{secretsDir, path.Dir(caDir)} {
		if target == ours || strings.HasPrefix(target, ours+"/") {
			return true
		}
	}
	return false
}

// options are the local volume driver's. The three that are off would let what a
// step writes to Upper refer to files elsewhere in Lower.
func (o Overlay) options() (map[string]string, error) {
	for _, dir := range []string{o.Lower, o.Upper, o.Work} {
		if err := checkHostPath(dir); err != nil {
			return nil, fmt.Errorf("overlay directory: %w", err)
		}
	}
	marks := ",redirect_dir=nofollow,metacopy=off,index=off"
	if o.UserXattr {
		marks = ",userxattr,index=off" // which rules out the other two
	}
	return map[string]string{
		"type": "overlay", "device": "overlay",
		"o": "lowerdir=" + o.Lower + ",upperdir=" + o.Upper + ",workdir=" + o.Work + marks,
	}, nil
}

// checkHostPath refuses what would not be one directory of the engine's host: colons
// and commas separate directories and options, and there is no escape that every kernel
// and driver reads alike.
func checkHostPath(dir string) error {
	if !path.IsAbs(dir) || path.Clean(dir) != dir || dir == "/" || strings.ContainsAny(dir, ",:\\\"'\x00\n") {
		return fmt.Errorf("%q: want an absolute path without , : \\ and quotes", dir)
	}
	return nil
}
