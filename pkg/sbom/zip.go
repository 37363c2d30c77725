package sbom

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"strings"
)

const (
	maxZip       = 128 << 20 // bytes of a jar or wheel, packed
	maxInnerZip  = 64 << 20  // bytes of a jar in a jar
	maxZipMemory = 8 << 20   // bytes of one that stays in memory
	maxDirectory = 4 << 20   // bytes of its list of files
	maxUnpack    = 1 << 30   // bytes that are read of all, unpacked, beside
	fairUnpack   = 16        // times the bytes that they have
	maxPom       = 64 << 10  // bytes of pom.properties
)

var (
	errBomb  = errors.New("it is far larger than it looks")
	errSpool = errors.New("temporary file") // ours: nothing is wrong with the tar
)

// meter ends a zip that would take too much time or memory.
type meter struct {
	at   io.ReaderAt
	left *int64
}

func (m meter) ReadAt(p []byte, at int64) (int, error) {
	if *m.left -= int64(len(p)); *m.left < 0 {
		return 0, errBomb
	}
	return m.at.ReadAt(p, at)
}

// jar reads what Maven says of the contents of a jar, and of the jars in it, as
// applications for Spring or a servlet container carry them.
func jar(r io.Reader, c *collector) error {
	left := c.unpacking()
	return withZip(r, left, func(z *zip.Reader) error { return jarFiles(z, c, left, true) })
}

// unpacking is what may be read of a zip, and of all in it: an honest one needs a few
// times its size. What all others need beyond that is in one account, so that neither
// one bomb nor many take long.
func (c *collector) unpacking() *int64 {
	c.unpack = max(c.unpack, 0) + fairUnpack*c.size
	return &c.unpack
}

func jarFiles(z *zip.Reader, c *collector, left *int64, outer bool) error {
	for _, f := range z.File {
		var err error
		switch {
		case strings.HasPrefix(f.Name, "META-INF/maven/") && path.Base(f.Name) == "pom.properties":
			err = pomProperties(f, c, left)
		case outer && path.Ext(f.Name) == ".jar":
			err = innerJar(f, c, left)
		}
		if errors.Is(err, errSpool) || *left < 0 {
			return err
		}
		if err != nil {
			c.note(c.name, "%.100q in it: %v", f.Name, err)
		}
	}
	return nil
}

func innerJar(f *zip.File, c *collector, left *int64) error {
	if f.UncompressedSize64 > maxInnerZip {
		return fmt.Errorf("it has %d bytes, the limit is %d", f.UncompressedSize64, maxInnerZip)
	}
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	return withZip(r, left, func(z *zip.Reader) error { return jarFiles(z, c, left, false) })
}

func pomProperties(f *zip.File, c *collector, left *int64) error {
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	in, fields := newLines(io.LimitReader(&limited{r, left}, maxPom)), map[string]string{}
	for in.Scan() {
		if key, value, ok := strings.Cut(in.Text(), "="); ok && len(fields) < 16 {
			fields[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	if err := in.Err(); err != nil {
		return err
	}
	if group, artifact := fields["groupId"], fields["artifactId"]; group != "" && artifact != "" {
		c.add(Package{Type: typeMaven, Name: group + "/" + artifact, Version: fields["version"]})
	}
	return nil
}

// wheel reads the names of the distributions in a wheel or in a Python program that is
// a zip.
func wheel(r io.Reader, c *collector) error {
	return withZip(r, c.unpacking(), func(z *zip.Reader) error {
		for _, f := range z.File {
			dir, isMetadata := strings.CutSuffix(f.Name, ".dist-info/METADATA")
			if name, version, ok := strings.Cut(path.Base(dir), "-"); isMetadata && ok {
				c.add(Package{Type: typePyPI, Name: name, Version: version})
			}
		}
		return nil
	})
}

// withZip opens a zip, whose list of files is at its end: in memory, or in a temporary
// file. It takes what it reads from left.
func withZip(r io.Reader, left *int64, use func(*zip.Reader) error) error {
	at, size, err := spool(r, left)
	if err != nil {
		return err
	}
	defer func() { _ = at.Close() }()
	directory := int64(maxDirectory)
	z, err := zip.NewReader(meter{meter{at, &directory}, left}, size)
	if err != nil {
		return err
	}
	directory = math.MaxInt64
	return use(z)
}

type readAtCloser interface {
	io.ReaderAt
	io.Closer
}

type inMemory struct{ *bytes.Reader }

func (inMemory) Close() error { return nil }

func spool(r io.Reader, left *int64) (readAtCloser, int64, error) {
	r = &limited{r: r, left: left}
	var start bytes.Buffer
	if n, err := io.Copy(&start, io.LimitReader(r, maxZipMemory)); err != nil || n < maxZipMemory {
		return inMemory{bytes.NewReader(start.Bytes())}, n, err
	}
	f, err := os.CreateTemp("", "millrace-*.zip")
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", errSpool, err)
	}
	// Nobody else has to find it, and nothing of it is left whatever happens.
	if err := os.Remove(f.Name()); err != nil {
		return nil, 0, errors.Join(fmt.Errorf("%w: %w", errSpool, err), f.Close())
	}
	size, err := io.Copy(disk{f}, io.MultiReader(&start, io.LimitReader(r, maxZip)))
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, size, nil
}

// disk tells its errors from those of the reader.
type disk struct{ f *os.File }

func (d disk) Write(p []byte) (int, error) {
	n, err := d.f.Write(p)
	if err != nil {
		err = fmt.Errorf("%w: %w", errSpool, err)
	}
	return n, err
}

// limited ends with an error where no more may be read.
type limited struct {
	r    io.Reader
	left *int64
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if *l.left -= int64(n); *l.left < 0 {
		return n, errBomb
	}
	return n, err
}
