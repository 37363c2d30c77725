package inventory

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// layer is a tar with an apk database that lists one package, and what follows it.
func layer(t *testing.T, name, version, more string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	content := "P:" + name + "\nV:" + version + "\nA:x86_64\n\n"
	if err := w.WriteHeader(&tar.Header{Name: "lib/apk/db/installed", Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return append(b.Bytes(), more...)
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// shelf counts how often a tar is opened.
type counted struct {
	Shelf
	opened int
}

func (c *counted) tar(ctx context.Context, digest string, data []byte) (string, error) {
	found, err := c.Tar(ctx, digest, func() (io.ReadCloser, error) {
		c.opened++
		return io.NopCloser(bytes.NewReader(data)), nil
	})
	if err != nil || len(found.Files) != 1 {
		return "", err
	}
	return found.Files[0].Packages[0].Name + " " + found.Files[0].Packages[0].Version, nil
}

func TestRemembers(t *testing.T) {
	c := &counted{Shelf: Shelf{Dir: filepath.Join(t.TempDir(), "inventory")}}
	data := layer(t, "musl", "1.2.5", "and something after the tar's end")
	for range 2 {
		if got, err := c.tar(t.Context(), digest(data), data); err != nil || got != "musl 1.2.5" {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if c.opened != 1 {
		t.Errorf("it was read %d times", c.opened)
	}
	files, err := filepath.Glob(filepath.Join(c.Dir, "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%q, %v", files, err)
	}
	if err := os.WriteFile(files[0], []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := c.tar(t.Context(), digest(data), data); err != nil || got != "musl 1.2.5" || c.opened != 2 {
		t.Errorf("after its file was cut off: got %q, %v", got, err)
	}
}

// What is remembered under a digest is of that digest, whatever a registry gives.
func TestWrongDigest(t *testing.T) {
	c := &counted{Shelf: Shelf{Dir: t.TempDir()}}
	data := layer(t, "musl", "1.2.5", "")
	for name, want := range map[string]string{digest([]byte("other")): "it has the digest " + digest(data), "sha256:../../x": "is no digest", "": "is no digest"} {
		if _, err := c.tar(t.Context(), name, data); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", name, err, want)
		}
	}
	if files, err := os.ReadDir(c.Dir); err != nil || len(files) != 0 {
		t.Errorf("%v, %v are remembered", files, err)
	}
}

func TestInterrupted(t *testing.T) {
	c := &counted{Shelf: Shelf{Dir: t.TempDir()}}
	data := layer(t, "musl", "1.2.5", "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.tar(ctx, digest(data), data); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// A higher layer's database takes the place of a lower one's.
func TestImage(t *testing.T) {
	img := empty.Image
	for _, data := range [][]byte{layer(t, "musl", "1.2.5", ""), layer(t, "zlib", "1.3", "")} {
		var err error
		if img, err = mutate.AppendLayers(img, static.NewLayer(data, types.DockerUncompressedLayer)); err != nil {
			t.Fatal(err)
		}
	}
	found, err := Shelf{Dir: t.TempDir()}.Image(t.Context(), img)
	if err != nil || len(found.Files) != 1 || found.Files[0].Packages[0].Name != "zlib" {
		t.Errorf("got %+v, %v", found, err)
	}
}
