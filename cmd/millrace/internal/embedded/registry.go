package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/olareg/olareg"
	"github.com/olareg/olareg/config"
	"github.com/olareg/olareg/types"
)

// startRegistry serves an OCI registry that keeps its content on disk.
func (e *Embedded) startRegistry(ctx context.Context, o Options) error {
	dir, err := mkdir(o, "registry")
	if err != nil {
		return err
	}
	never := -1 * time.Second
	content := olareg.New(config.Config{Storage: config.ConfigStorage{
		StoreType: config.StoreDir, RootDir: dir, GC: config.ConfigGC{Frequency: never},
	}})
	e.closers = append(e.closers, func(context.Context) error {
		if err := content.Close(); !errors.Is(err, types.ErrNotFound) { // of a repository that was asked for and never was
			return err
		}
		return nil
	})
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", o.RegistryAddr)
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	e.Registry = listener.Addr().String()
	server := &http.Server{Handler: &serial{next: content}, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	e.closers = append(e.closers, func(context.Context) error { err := server.Close(); <-done; return err })
	return nil
}

// serial lets one request at a time at a registry whose code has data races.
// Bodies are read before and written after its turn, so that a slow client, or one
// that copies from the registry to itself, holds up nobody.
type serial struct {
	mu   sync.Mutex
	next http.Handler
}

// ServeHTTP implements [http.Handler].
func (s *serial) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	in, out := &spool{}, &spool{}
	defer in.remove()
	defer out.remove()
	if _, err := io.Copy(in, r.Body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	body, err := in.reader()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	r.Body, r.ContentLength = io.NopCloser(body), in.size
	answer := &answer{header: http.Header{}, status: http.StatusOK, body: out}
	s.mu.Lock()
	s.next.ServeHTTP(answer, r)
	s.mu.Unlock()
	maps.Copy(w.Header(), answer.header)
	w.WriteHeader(answer.status)
	if body, err := out.reader(); err == nil {
		_, _ = io.Copy(w, body)
	}
}

// answer keeps a response until it may be sent.
type answer struct {
	header http.Header
	status int
	body   *spool
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(p []byte) (int, error) { return a.body.Write(p) }

// spoolMemory is how much of a body is kept in memory, in bytes.
const spoolMemory = 1 << 20

// spool keeps what is written to it, in a file if it is much.
type spool struct {
	memory bytes.Buffer
	file   *os.File
	size   int64
}

// Write implements [io.Writer].
func (s *spool) Write(p []byte) (n int, err error) {
	if s.file == nil && s.size+int64(len(p)) > spoolMemory {
		if s.file, err = os.CreateTemp("", "millrace-registry-*"); err != nil {
			return 0, err
		}
		if _, err = s.memory.WriteTo(s.file); err != nil {
			return 0, err
		}
	}
	if s.file != nil {
		n, err = s.file.Write(p)
	} else {
		n, err = s.memory.Write(p)
	}
	s.size += int64(n)
	return n, err
}

// reader reads all that was written, from the start.
func (s *spool) reader() (io.Reader, error) {
	if s.file == nil {
		return &s.memory, nil
	}
	_, err := s.file.Seek(0, io.SeekStart)
	return s.file, err
}

func (s *spool) remove() {
	if s.file != nil {
		_ = errors.Join(s.file.Close(), os.Remove(s.file.Name()))
	}
}
