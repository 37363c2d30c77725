package store

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/olareg/olareg"
	"github.com/olareg/olareg/config"

	"github.com/millrace-cd/millrace/pkg/archive"
	"github.com/millrace-cd/millrace/pkg/event"
)

// fake is a registry that counts what it is asked for, and does what the test
// wants it to do first.
type fake struct {
	*httptest.Server

	mu    sync.Mutex // olareg has data races of its own
	asked []string   // method and path
}

func (f *fake) count(method, part string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.asked {
		if strings.HasPrefix(a, method+" ") && strings.Contains(a, part) {
			n++
		}
	}
	return n
}

func (f *fake) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = nil
}

func (f *fake) host() string { return strings.TrimPrefix(f.URL, "http://") }

func serve(t *testing.T, handler http.Handler, first ...func(http.ResponseWriter, *http.Request) bool) *fake {
	t.Helper()
	f := &fake{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, answer := range first {
			if answer(w, r) {
				return
			}
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.asked = append(f.asked, r.Method+" "+r.URL.RequestURI())
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

// registries are the ones that the store is tested on.
func registries() map[string]func(*testing.T) http.Handler {
	return map[string]func(*testing.T) http.Handler{"olareg": onDisk, "ggcr": inMemory}
}

func inMemory(*testing.T) http.Handler {
	return registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)))
}

func onDisk(t *testing.T) http.Handler {
	t.Helper()
	server := olareg.New(config.Config{Storage: config.ConfigStorage{StoreType: config.StoreDir, RootDir: t.TempDir(), GC: config.ConfigGC{Frequency: -1}}})
	t.Cleanup(func() { _ = server.Close() })
	return server
}

func openStore(t *testing.T, cfg Config) *Store {
	t.Helper()
	s, err := open(cfg, remote.Backoff{Duration: time.Millisecond, Factor: 1.5, Steps: 4})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func tarOf(t *testing.T, text string) *archive.Tar {
	t.Helper()
	tar, err := archive.Spool(t.TempDir(), func(w io.Writer) (archive.Stats, error) {
		files, err := archive.Pack(w, []archive.Entry{{Path: "file", Size: int64(len(text)), Open: func() (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(text)), nil
		}}}, archive.Source())
		return archive.Count(files), err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tar
}

func put(t *testing.T, s *Store, up Upload) event.Blob {
	t.Helper()
	blob, err := s.Put(t.Context(), up)
	if err != nil {
		t.Fatal(err)
	}
	return blob
}

func get(ctx context.Context, s *Store, blob event.Blob) ([]byte, error) {
	r, err := s.Get(ctx, blob)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}

func content(t *testing.T, tar *archive.Tar) []byte {
	t.Helper()
	r, err := tar.Open()
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return data
}
