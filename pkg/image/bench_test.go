package image_test

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/olareg/olareg"
	"github.com/olareg/olareg/config"

	"github.com/millrace-cd/millrace/pkg/image"
	"github.com/millrace-cd/millrace/pkg/store"
)

// binary is a program as users release them: 15 MB, static. No two are the same, so
// that no registry has it.
func binary(b *testing.B) []byte {
	b.Helper()
	data, err := os.ReadFile(filepath.Join(runtime.GOROOT(), "bin", "go")) //nolint:staticcheck // where the tests run, there is a toolchain
	if err != nil {
		b.Skip("no Go toolchain to take a program from: ", err)
	}
	return data[:min(len(data), 15<<20)]
}

func tarOf(w io.Writer, name string, content []byte) error {
	out := tar.NewWriter(w)
	if err := out.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err := out.Write(content)
	return errors.Join(err, out.Close())
}

func BenchmarkCompress(b *testing.B) {
	data := binary(b)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		l, err := image.Compress(b.TempDir(), func(w io.Writer) error { return tarOf(w, "app", data) })
		if err != nil {
			b.Fatal(err)
		}
		_ = l.Close()
	}
}

// BenchmarkRelease assembles an image and stores it in a registry on loopback, as
// `docker build` and `docker push` do. "warm" has the base there already.
func BenchmarkRelease(b *testing.B) {
	data := binary(b)
	conf := config.Config{Storage: config.ConfigStorage{StoreType: config.StoreDir, RootDir: b.TempDir(), GC: config.ConfigGC{Frequency: -1}}}
	server := olareg.New(conf)
	b.Cleanup(func() { _ = server.Close() })
	disk := httptest.NewServer(server)
	b.Cleanup(disk.Close)
	memory := httptest.NewServer(registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo))))
	b.Cleanup(memory.Close)
	base, err := random.Image(1<<20, 3)
	if err != nil {
		b.Fatal(err)
	}
	n := rand.Uint64()
	for name, url := range map[string]string{"disk": disk.URL, "memory": memory.URL} {
		for _, state := range []string{"warm", "cold"} {
			b.Run(name+" "+state, func(b *testing.B) {
				for b.Loop() {
					s, err := store.Open(store.Config{Registry: strings.TrimPrefix(url, "http://")})
					if err != nil {
						b.Fatal(err)
					}
					n++
					l, err := image.Compress(b.TempDir(), func(w io.Writer) error { return tarOf(w, fmt.Sprint(n), data) })
					if err != nil {
						b.Fatal(err)
					}
					app := "warm"
					if state == "cold" {
						app = fmt.Sprintf("cold-%d", n)
					}
					img, err := image.Assemble(base, []*image.Layer{l}, image.Settings{Created: time.Unix(int64(n>>32), 0)}) //nolint:gosec // any time
					if err != nil {
						b.Fatal(err)
					}
					if _, err := s.PushImage(b.Context(), app, img); err != nil {
						b.Fatal(err)
					}
					_ = l.Close()
				}
			})
		}
	}
}

// BenchmarkNormalize rewrites what an installation leaves behind: many small files.
func BenchmarkNormalize(b *testing.B) {
	l, err := image.Compress(b.TempDir(), func(w io.Writer) error { return manyFiles(w, 10_000) })
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	for b.Loop() {
		r, err := l.Uncompressed()
		if err != nil {
			b.Fatal(err)
		}
		if err := image.Normalize(io.Discard, r, image.Options{Drop: image.EngineOwned, Dir: b.TempDir()}); err != nil {
			b.Fatal(err)
		}
		_ = r.Close()
	}
}

func BenchmarkSurvey(b *testing.B) {
	l, err := image.Compress(b.TempDir(), func(w io.Writer) error { return manyFiles(w, 10_000) })
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	img, err := image.Assemble(image.Scratch(), []*image.Layer{l}, image.Settings{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := image.NewSurveyor().Survey(b.Context(), img); err != nil {
			b.Fatal(err)
		}
	}
}

func manyFiles(w io.Writer, n int) error {
	out := tar.NewWriter(w)
	text := []byte(strings.Repeat("module.exports = 1;\n", 200))
	for i := range n {
		if err := out.WriteHeader(&tar.Header{Name: fmt.Sprintf("node_modules/%d/index.js", i), Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
			return err
		}
		if _, err := out.Write(text); err != nil {
			return err
		}
	}
	return out.Close()
}
