package image

import (
	"archive/tar"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"path"
	"slices"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
)

// File is a file of an image.
type File struct {
	Path string // without a leading slash
	Size int64  // bytes
}

// Survey is what there is in an image.
type Survey struct {
	Bytes   int64  // of the files of all layers, also of those that a higher layer replaces
	Largest []File // up to 10 of those that are visible, the largest first

	layers []*found // lowest first
}

const (
	largest    = 10
	candidates = 64   // files of a layer that may be among the largest of the image
	maxLinks   = 4096 // symbolic links of a layer that are followed
	maxFollow  = 16   // links one after another
	maxKnown   = 256  // layers that a Surveyor remembers
)

// Surveyor surveys images. It reads a layer once and remembers it by its digest, so
// bases cost nothing after the first time. It is safe for concurrent use.
type Surveyor struct {
	seed maphash.Seed

	mu    sync.Mutex
	known map[v1.Hash]*found
	order []v1.Hash // oldest first
}

// NewSurveyor remembers nothing yet.
func NewSurveyor() *Surveyor {
	return &Surveyor{seed: maphash.MakeSeed(), known: map[v1.Hash]*found{}}
}

// Survey reads the layers of an image that it does not know. The error wraps
// [archive.ErrRefused] where a layer is beyond the limits or is not what the image
// says it is.
func (s *Surveyor) Survey(ctx context.Context, img v1.Image) (Survey, error) {
	layers, err := img.Layers()
	if err != nil {
		return Survey{}, fmt.Errorf("survey image: %w", err)
	}
	out := Survey{layers: make([]*found, len(layers))}
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(4)
	for i, l := range layers {
		all.Go(func() (err error) {
			out.layers[i], err = s.layer(ctx, l)
			return err
		})
	}
	if err := all.Wait(); err != nil {
		return Survey{}, fmt.Errorf("survey image: %w", err)
	}
	out.count()
	return out, nil
}

// count sums up the layers.
func (s *Survey) count() {
	var files []File
	for i, l := range s.layers {
		s.Bytes += l.bytes
		for _, f := range l.largest {
			if !slices.ContainsFunc(s.layers[i+1:], func(upper *found) bool { return upper.hides(f.Path) }) {
				files = append(files, f)
			}
		}
	}
	slices.SortFunc(files, bySize)
	s.Largest = files[:min(len(files), largest)]
}

func bySize(a, b File) int {
	return cmp.Or(cmp.Compare(b.Size, a.Size), strings.Compare(a.Path, b.Path))
}

// Has tells whether there is a file at a path, which may lead over symbolic links.
func (s Survey) Has(file string) bool {
	return s.has(strings.TrimPrefix(path.Clean("/"+file), "/"), maxFollow)
}

func (s Survey) has(file string, follow int) bool {
	if target, is := s.look(file); is && target == "" {
		return true
	} else if is {
		return follow > 0 && s.has(join(path.Dir(file), target), follow-1)
	}
	for dir := path.Dir(file); dir != "."; dir = path.Dir(dir) {
		if target, is := s.look(dir); is && target != "" {
			return follow > 0 && s.has(join(path.Dir(dir), target)+strings.TrimPrefix(file, dir), follow-1)
		}
	}
	return false
}

// join is what a link in a directory leads to.
func join(dir, target string) string {
	if !path.IsAbs(target) {
		target = "/" + dir + "/" + target
	}
	return strings.TrimPrefix(path.Clean(target), "/")
}

// look finds a file or link, the highest one; target is a link's.
func (s Survey) look(file string) (target string, is bool) {
	for _, l := range slices.Backward(s.layers) {
		if l.has(l.files, file) {
			return l.links[file], true
		}
		if l.hides(file) {
			return "", false
		}
	}
	return "", false
}

// found is what was found in a layer. Paths are kept as hashes: a layer may have
// hundreds of thousands.
type found struct {
	seed    maphash.Seed
	entries int
	bytes   int64
	largest []File
	links   map[string]string // symbolic links near the root

	files, dirs  []uint64 // what there is, without and with something below it
	gone, opaque []uint64 // what is no more, and directories of which nothing below is
}

func (f *found) hash(file string) uint64 { return maphash.String(f.seed, file) }

func (f *found) has(set []uint64, file string) bool {
	_, is := slices.BinarySearch(set, f.hash(file))
	return is
}

// hides tells whether the layer hides what lower layers have at a path.
func (f *found) hides(file string) bool {
	if f.has(f.files, file) || f.has(f.dirs, file) || f.has(f.gone, file) || f.has(f.opaque, ".") {
		return true
	}
	for dir := path.Dir(file); dir != "."; dir = path.Dir(dir) {
		if f.has(f.files, dir) || f.has(f.gone, dir) || f.has(f.opaque, dir) {
			return true
		}
	}
	return false
}

// layer surveys a layer, unless it is known.
func (s *Surveyor) layer(ctx context.Context, l v1.Layer) (*found, error) {
	diffID, err := l.DiffID()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	f, ok := s.known[diffID]
	s.mu.Unlock()
	if ok {
		return f, nil
	}
	r, err := l.Uncompressed()
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	// What is remembered must not be what somebody else's image only claims to have.
	hash := sha256.New()
	in := io.TeeReader(&limited{r: r, left: maxTar}, hash)
	if f, err = s.read(ctx, in); err != nil {
		return nil, fmt.Errorf("layer %s: %w", diffID, err)
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return nil, fmt.Errorf("layer %s: %w", diffID, err)
	}
	if got := sum(hash); got != diffID {
		return nil, fmt.Errorf("layer %s: %w: its digest is %s", diffID, errRefused, got)
	}
	s.remember(diffID, f)
	return f, nil
}

func (s *Surveyor) remember(diffID v1.Hash, f *found) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.known[diffID]; ok {
		return
	}
	if len(s.order) == maxKnown {
		delete(s.known, s.order[0])
		s.order = slices.Delete(s.order, 0, 1)
	}
	s.known[diffID] = f
	s.order = append(s.order, diffID)
}

func (s *Surveyor) read(ctx context.Context, r io.Reader) (*found, error) {
	f := &found{seed: s.seed, links: map[string]string{}}
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return nil, err
		}
		if err := f.add(h); err != nil {
			return nil, err
		}
	}
	for _, set := range []*[]uint64{&f.files, &f.dirs, &f.gone, &f.opaque} {
		slices.Sort(*set)
		*set = slices.Clip(slices.Compact(*set))
	}
	slices.SortFunc(f.largest, bySize)
	return f, nil
}

func (f *found) add(h *tar.Header) error {
	if f.entries++; f.entries > maxEntries {
		return refuse(h.Name, "it is one of more than %d entries", maxEntries)
	}
	name, err := clean(h.Name)
	if err != nil || name == "." {
		return err
	}
	dir, base := path.Split(name)
	dir = path.Clean(dir)
	switch {
	case base == opaque:
		f.opaque = append(f.opaque, f.hash(dir))
	case strings.HasPrefix(base, whiteout):
		f.gone = append(f.gone, f.hash(path.Join(dir, strings.TrimPrefix(base, whiteout))))
	case h.Typeflag == tar.TypeDir:
		f.dirs = append(f.dirs, f.hash(name))
	default:
		f.files = append(f.files, f.hash(name))
		return f.file(name, h)
	}
	return nil
}

func (f *found) file(name string, h *tar.Header) error {
	switch h.Typeflag {
	case tar.TypeSymlink:
		if len(f.links) < maxLinks && strings.Count(name, "/") < 3 && len(name)+len(h.Linkname) < 512 {
			f.links[name] = h.Linkname
		}
		return nil
	case tar.TypeReg, tar.TypeGNUSparse:
	default:
		return nil
	}
	if f.bytes += h.Size; h.Size > maxTar || f.bytes > maxTar {
		return refuse(name, "the files have more than %d bytes", int64(maxTar))
	}
	f.largest = append(f.largest, File{Path: name, Size: h.Size})
	if len(f.largest) == 2*candidates {
		slices.SortFunc(f.largest, bySize)
		f.largest = f.largest[:candidates]
	}
	return nil
}
