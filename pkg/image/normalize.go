package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/millrace-cd/millrace/pkg/archive"
)

// The limits of a layer that somebody else made.
const (
	maxTar     = 10 << 30 // bytes of the tar, and of the files in it
	maxEntries = 200_000
	maxName    = 4096 // bytes of a path, and of a link's target
)

// How a layer says that something of the layers below is no more.
const (
	whiteout = ".wh."         // before a name: it is gone
	opaque   = ".wh..wh..opq" // in a directory: all that was in it is gone
	private  = ".wh..wh."     // an engine's own
)

// capability is the one extended attribute that a program may not work without.
const capability = "SCHILY.xattr.security.capability"

var errRefused = archive.ErrRefused

// Options say how [Normalize] rewrites a layer.
type Options struct {
	Created time.Time // later times become this one, to the second
	// Drop tells of a path, without a leading slash, that it is left out with all
	// below it; nil keeps all. A whiteout of the path is left out too, and so are
	// directories in which the layer has nothing but what is left out: who made that
	// made them, or touched them.
	Drop func(path string) bool
	Dir  string // for temporary files; "" = the system's
}

// EngineOwned tells of a path whether it is the engine's and not the image's: what it
// puts into each container, and its mount points. It is a [Options.Drop].
func EngineOwned(name string) bool {
	switch name {
	case ".dockerenv", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab", "run/secrets", "dev", "proc", "sys":
		return true
	case "sbin/docker-init", "usr/sbin/docker-init", "bin/docker-init", "usr/bin/docker-init": // /sbin may be a link
		return true
	}
	return false
}

// Normalize rewrites a layer that was made by running something, so that the same
// files give the same bytes: entries are sorted, times are clamped, names of users
// and all that only the machine knows is left out. Modes, owners by number, links,
// capabilities and whiteouts are kept, sockets are not. The error wraps
// [archive.ErrRefused] where the layer is to blame: by a device, or a limit.
func Normalize(w io.Writer, layer io.Reader, o Options) error {
	n := &normalization{Options: o, entries: map[string]*entry{}, around: map[string]bool{}, content: &spool{dir: o.Dir, memory: keptOfMany}, buffer: make([]byte, 64<<10)}
	err := n.read(layer)
	if err == nil {
		err = n.content.finish()
	}
	if err == nil {
		n.prune()
		n.relink()
		err = n.write(w)
	}
	return errors.Join(err, n.content.finish(), n.content.remove())
}

type normalization struct {
	Options

	entries map[string]*entry // by clean path; of several the last
	around  map[string]bool   // directories above what was left out
	content *spool
	buffer  []byte
}

// copy copies without a new buffer for each of many small files.
func (n *normalization) copy(to io.Writer, from io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, n.buffer)
}

// entry is a header as it will be written, and where its content is.
type entry struct {
	tar.Header
	offset int64
}

func (n *normalization) read(layer io.Reader) error {
	in := tar.NewReader(&limited{r: layer, left: maxTar})
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read layer: %w", err)
		}
		if err := n.add(h, in); err != nil {
			return err
		}
	}
}

func (n *normalization) add(h *tar.Header, content io.Reader) error {
	name, err := clean(h.Name)
	if err != nil || name == "." {
		return err
	}
	if n.drops(name) {
		return nil
	}
	e := &entry{Header: n.header(name, h), offset: n.content.size}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		e.Typeflag = tar.TypeReg
		if h.Size > maxTar-n.content.size {
			return refuse(name, "the files have more than %d bytes", int64(maxTar))
		}
		if _, err := n.copy(n.content, content); err != nil { // the tar gives h.Size bytes, or an error
			return fmt.Errorf("read layer: %q: %w", name, err)
		}
	case tar.TypeDir:
		e.Name += "/"
	case tar.TypeSymlink:
		if len(h.Linkname) > maxName || h.Linkname == "" {
			return refuse(name, "the link's target has %d bytes", len(h.Linkname))
		}
		e.Linkname = h.Linkname
	case tar.TypeLink:
		if e.Linkname, err = clean(h.Linkname); err != nil {
			return err
		}
	case tar.TypeFifo:
	case tar.TypeXGlobalHeader:
		return nil
	default:
		return refuse(name, "an entry of type %q", h.Typeflag)
	}
	if _, ok := n.entries[name]; !ok && len(n.entries) == maxEntries {
		return refuse(name, "it is one of more than %d entries", maxEntries)
	}
	n.entries[name] = e
	return nil
}

// drops tells whether a path, or what is above it, is left out.
func (n *normalization) drops(name string) bool {
	dir, base := path.Split(name)
	if strings.HasPrefix(base, private) && base != opaque {
		return true
	}
	if n.Drop == nil {
		return false
	}
	if base != opaque {
		name = dir + strings.TrimPrefix(base, whiteout)
	}
	dropped := ""
	for ; name != "."; name = path.Dir(name) {
		if n.Drop(name) {
			dropped = name
		}
	}
	if dropped == "" {
		return false
	}
	for dir = path.Dir(dropped); dir != "." && !n.around[dir]; dir = path.Dir(dir) {
		n.around[dir] = true
	}
	return true
}

// prune leaves out directories that hold nothing but what is left out.
func (n *normalization) prune() {
	full := map[string]bool{}
	for name, e := range n.entries {
		if e.Typeflag == tar.TypeDir && n.around[name] {
			continue
		}
		for dir := path.Dir(name); dir != "." && !full[dir]; dir = path.Dir(dir) {
			full[dir] = true
		}
	}
	maps.DeleteFunc(n.entries, func(name string, e *entry) bool { return e.Typeflag == tar.TypeDir && n.around[name] && !full[name] })
}

// header keeps what makes a difference to a program.
func (n *normalization) header(name string, h *tar.Header) tar.Header {
	at, latest := h.ModTime.Unix(), n.Created.Unix()
	out := tar.Header{
		Typeflag: h.Typeflag, Name: name, Size: h.Size, Mode: h.Mode & 0o7777, Uid: h.Uid, Gid: h.Gid,
		ModTime: time.Unix(max(0, min(at, latest)), 0),
	}
	if h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeGNUSparse {
		out.Size = 0
	}
	if value, ok := h.PAXRecords[capability]; ok {
		out.PAXRecords = map[string]string{capability: value}
	}
	return out
}

// relink makes the first name of a file with several, in the order in which they are
// written, the one with the content.
func (n *normalization) relink() {
	groups := map[string][]string{} // by the name that has the content
	for name, e := range n.entries {
		if e.Typeflag != tar.TypeLink {
			continue
		}
		if target, ok := n.source(e.Linkname); ok {
			groups[target] = append(groups[target], name)
		}
	}
	for target, names := range groups {
		names = append(names, target)
		slices.SortFunc(names, compare)
		first, source := names[0], *n.entries[target]
		source.Name = first
		n.entries[first] = &source
		for _, name := range names[1:] {
			link := source
			link.Typeflag, link.Name, link.Linkname, link.Size = tar.TypeLink, name, first, 0
			n.entries[name] = &link
		}
	}
}

// source follows hard links to hard links; false where it is in another layer.
func (n *normalization) source(name string) (string, bool) {
	for range maxFollow {
		e, ok := n.entries[name]
		if !ok || e.Typeflag != tar.TypeLink {
			return name, ok && e.Typeflag == tar.TypeReg
		}
		name = e.Linkname
	}
	return "", false
}

func (n *normalization) write(w io.Writer) error {
	content, err := n.content.at()
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	out := tar.NewWriter(w)
	for _, name := range slices.SortedFunc(maps.Keys(n.entries), compare) {
		e := n.entries[name]
		if err := out.WriteHeader(&e.Header); err != nil {
			return fmt.Errorf("write layer: %q: %w", name, err)
		}
		if _, err := n.copy(out, io.NewSectionReader(content, e.offset, e.Size)); err != nil {
			return fmt.Errorf("write layer: %q: %w", name, err)
		}
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("write layer: %w", err)
	}
	return nil
}

// compare sorts by path, and within a directory whiteouts first: what is gone must
// not take with it what is there.
func compare(a, b string) int {
	return strings.Compare(sortKey(a), sortKey(b))
}

func sortKey(name string) string {
	dir, base := path.Split(name)
	if strings.HasPrefix(base, whiteout) {
		return dir + "\x00" + base
	}
	return name
}

// clean is the name of an entry, relative and without a trailing slash.
func clean(name string) (string, error) {
	trimmed := strings.Trim(name, "/")
	out := path.Clean(trimmed)
	if name == "" || len(name) > maxName || strings.ContainsRune(name, 0) || out == ".." || strings.HasPrefix(out, "../") {
		return "", refuse(name, "the name is too long, or leads out of the layer")
	}
	return out, nil
}

func refuse(name, format string, args ...any) error {
	return fmt.Errorf("layer: %.200q: %w: %s", name, errRefused, fmt.Sprintf(format, args...))
}

// limited ends with an error at its limit.
type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, fmt.Errorf("layer: %w: it has more than %d bytes", errRefused, int64(maxTar))
	}
	return n, err
}
