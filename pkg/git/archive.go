package git

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/millrace-cd/millrace/pkg/archive"
)

// Archive packs the tree of a fetched commit into a tar, as [archive.Pack] would
// do: the same tree gives the same bytes. dir is the directory to pack; "" is the
// whole tree. Submodules are left out.
//
// The files are read as objects and not by "git archive" or a checkout, so no
// attribute of the repository (export-ignore, export-subst, eol, ident, filter)
// has a say in their bytes.
func (g *Git) Archive(ctx context.Context, repository, commit, dir string, w io.Writer) (archive.Stats, error) {
	if err := g.check(repository, commit, ""); err != nil {
		return archive.Stats{}, err
	}
	if dir != "" && !fs.ValidPath(dir) {
		return archive.Stats{}, fmt.Errorf("%w: directory %.200q is not relative and clean", ErrRefused, dir)
	}
	stats, err := g.archive(ctx, repository, commit, dir, w)
	if errors.Is(err, errDamaged) || broken(err) {
		err = errors.Join(err, g.discard(ctx, repository, commit)) // so that the next try fetches anew
	}
	if err != nil {
		return archive.Stats{}, fmt.Errorf("archive %s of %s: %w", commit, Redact(repository), err)
	}
	return stats, nil
}

// errDamaged says that the mirror does not give what its own tree lists.
var errDamaged = errors.New("damaged mirror")

// object is a line of git ls-tree.
type object struct {
	mode, hash, path string
	size             int64
}

func (g *Git) archive(ctx context.Context, repository, commit, dir string, w io.Writer) (archive.Stats, error) {
	m, err := g.read(ctx, repository, commit)
	if err != nil {
		return archive.Stats{}, err
	}
	defer func() { _ = m.Close() }()
	objects, err := g.list(ctx, m, commit, dir)
	if err != nil {
		return archive.Stats{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	r, pipe := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = pipe.CloseWithError(g.contents(ctx, m, objects, pipe))
	}()
	files, err := pack(bufio.NewReaderSize(r, 64<<10), objects, w)
	cancel()
	_ = r.Close() // git may still be writing
	<-done
	return archive.Count(files), err
}

// contents writes the objects one after another, each behind a line that says
// what it is.
func (g *Git) contents(ctx context.Context, m *mirror, objects []object, w io.Writer) error {
	var hashes strings.Builder
	for _, o := range objects {
		hashes.WriteString(o.hash + "\n")
	}
	_, err := g.run(ctx, call{dir: m.dir, args: []string{"cat-file", "--batch", "--buffer"}, in: strings.NewReader(hashes.String()), out: w})
	return err
}

// list reads the tree, sorted as git sorts it: by the bytes of the full paths.
func (g *Git) list(ctx context.Context, m *mirror, commit, dir string) ([]object, error) {
	tree := strings.TrimSuffix(commit+":"+dir, ":.")
	out, err := g.run(ctx, call{dir: m.dir, args: []string{"ls-tree", "-r", "-z", "-l", "--full-tree", "--end-of-options", tree}})
	if _, ok := errors.AsType[*failure](err); ok {
		if on, _ := g.reachable(ctx, m, commit, ""); !on {
			return nil, fmt.Errorf("%w: the commit is not there: %w", errDamaged, err)
		}
		if !broken(err) && tree != commit {
			return nil, fmt.Errorf("%w: directory %q: %w", ErrNotFound, dir, err)
		}
	}
	if err != nil {
		return nil, err
	}
	var objects []object
	for line := range strings.SplitSeq(strings.TrimSuffix(out, "\x00"), "\x00") {
		if line == "" {
			continue // an empty tree
		}
		o, err := parse(line)
		if err != nil {
			return nil, err
		}
		if o.mode != modeSubmodule {
			objects = append(objects, o)
		}
	}
	return objects, nil
}

// The modes of a tree's entries.
const (
	modeExecutable = "100755"
	modeLink       = "120000"
	modeSubmodule  = "160000"
)

// parse reads "mode type hash size\tpath".
func parse(line string) (object, error) {
	head, name, ok := strings.Cut(line, "\t")
	field := strings.Fields(head)
	if !ok || len(field) != 4 {
		return object{}, fmt.Errorf("git ls-tree: cannot read %.200q", line)
	}
	o := object{mode: field[0], hash: field[2], path: name}
	if o.mode == modeSubmodule {
		return o, nil
	}
	for part := range strings.SplitSeq(name, "/") {
		if strings.EqualFold(part, ".git") {
			return object{}, fmt.Errorf("%w: the tree has a .git in it, %.200q", ErrRefused, name)
		}
	}
	size, err := strconv.ParseInt(field[3], 10, 64)
	if err != nil { // git prints BAD
		return object{}, fmt.Errorf("%w: no object %s for %.200q", errDamaged, o.hash, name)
	}
	o.size = size
	return o, nil
}

// pack reads the objects' contents, which come one after another from git
// cat-file, into a tar.
func pack(r *bufio.Reader, objects []object, w io.Writer) ([]archive.File, error) {
	out := archive.NewWriter(w, archive.Source())
	for _, o := range objects {
		head, err := r.ReadString('\n')
		if err != nil {
			return nil, fmt.Errorf("git cat-file: %w", err)
		}
		if want := fmt.Sprintf("%s blob %d\n", o.hash, o.size); head != want {
			return nil, fmt.Errorf("%w: got %.200q for %q, want %q", errDamaged, head, o.path, want)
		}
		e, err := entry(o, io.LimitReader(r, o.size))
		if err != nil {
			return nil, err
		}
		if err := out.Add(e); err != nil {
			return nil, err
		}
		if _, err := r.Discard(1); err != nil { // the newline after an object
			return nil, fmt.Errorf("git cat-file: %w", err)
		}
	}
	return out.Close()
}

func entry(o object, content io.Reader) (archive.Entry, error) {
	e := archive.Entry{Path: o.path, Size: o.size, Executable: o.mode == modeExecutable}
	if o.mode != modeLink {
		e.Open = func() (io.ReadCloser, error) { return io.NopCloser(content), nil }
		return e, nil
	}
	if o.size == 0 || o.size > int64(archive.Source().PathBytes) {
		return e, fmt.Errorf("%w: %q is a link with a target of %d bytes", ErrRefused, o.path, o.size)
	}
	target, err := io.ReadAll(content)
	if err != nil {
		return e, fmt.Errorf("git cat-file: %w", err)
	}
	e.Size, e.Link = 0, string(target)
	return e, nil
}
