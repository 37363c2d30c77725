package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/millrace-cd/millrace/pkg/archive"
	"github.com/millrace-cd/millrace/pkg/store"
)

// startRegistry serves a registry in memory and returns its host and port.
func startRegistry(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo))))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// storeFiles stores a directory as the services do: an artifact with a list of its
// files, reports without.
func storeFiles(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 4 {
		ts.Fatalf("usage: store APP KIND DIR VAR [PUBLIC]")
	}
	entries := entriesOf(ts, ts.MkAbs(args[2]))
	var files []archive.File
	tar, err := archive.Spool(ts.MkAbs("."), func(w io.Writer) (_ archive.Stats, err error) {
		files, err = archive.Pack(w, entries, archive.Artifact())
		return archive.Count(files), err
	})
	ts.Check(err)
	defer func() { ts.Check(tar.Remove()) }()
	up := store.Upload{App: args[0], Kind: store.Kind(args[1]), Tar: tar}
	if up.Kind == store.Artifact {
		up.Config, err = json.Marshal(files)
		ts.Check(err)
	}
	s, err := store.Open(store.Config{Registry: ts.Getenv("REGISTRY"), Public: strings.Join(args[4:], "")})
	ts.Check(err)
	blob, err := s.Put(context.Background(), up)
	ts.Check(err)
	data, err := json.Marshal(blob)
	ts.Check(err)
	ts.Setenv(args[3], string(data))
}

// entriesOf are the files below dir; one that is called run is executable, and one whose
// name ends in .link is a link to what it says.
func entriesOf(ts *testscript.TestScript, dir string) (entries []archive.Entry) {
	ts.Check(filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		path := filepath.ToSlash(strings.TrimPrefix(name, dir+string(filepath.Separator)))
		e := archive.Entry{Path: path, Size: int64(len(data)), Executable: d.Name() == "run", Open: func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(data)), nil
		}}
		if base, is := strings.CutSuffix(path, ".link"); is {
			e = archive.Entry{Path: base, Link: strings.TrimSpace(string(data))}
		}
		entries = append(entries, e)
		return err
	}))
	return entries
}

// used notes that a step used a cache.
func (w writer) used(ctx context.Context, ts *testscript.TestScript, args []string) {
	ts.Check(w.bus.UsedCache(ctx, args[0]))
}

// engine answers what the command asks a Docker engine about volumes.
type engine struct {
	mu      sync.Mutex
	volumes map[string]volume
}

type volume struct {
	Name, CreatedAt string
	Labels          map[string]string
	UsageData       map[string]int64
}

// startEngine serves one with the caches that the arguments name, and others'.
func startEngine(t *testing.T) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, _ bool, args []string) {
		e := &engine{volumes: map[string]volume{"theirs": {Name: "theirs", UsageData: map[string]int64{"Size": 1, "RefCount": 0}}}}
		for i, arg := range args {
			name, app, _ := strings.Cut(arg, "=")
			app, busy := strings.CutSuffix(app, "*")
			users := map[bool]int64{true: 1}[busy]
			e.volumes[name] = volume{
				Name: name, CreatedAt: fmt.Sprintf("2026-01-02T03:04:%02dZ", i), UsageData: map[string]int64{"Size": int64(i+1) * 1_234_567, "RefCount": users},
				Labels: map[string]string{"millrace.instance": "default", "millrace.kind": "cache", "millrace.app": app},
			}
		}
		s := httptest.NewServer(e)
		t.Cleanup(s.Close)
		ts.Setenv("DOCKER_HOST", "tcp://"+strings.TrimPrefix(s.URL, "http://"))
	}
}

// ServeHTTP implements [http.Handler].
func (e *engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	w.Header().Set("Api-Version", "1.44")
	all := []volume{}
	for _, v := range e.volumes {
		all = append(all, v)
	}
	_, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/") // after the version
	name, isVolume := strings.CutPrefix(path, "volumes/")
	answer := map[string]any{"": nil, "version": map[string]string{"Version": "27.0.0", "ApiVersion": "1.44"}, "info": map[string]int{"NCPU": 1}, "volumes": map[string]any{"Volumes": all}, "system/df": map[string]any{"Volumes": all}}
	switch {
	case isVolume && r.Method == http.MethodDelete && e.volumes[name].UsageData["RefCount"] > 0:
		w.WriteHeader(http.StatusConflict)
		_, _ = io.WriteString(w, `{"message":"remove `+name+`: volume is in use - [0123]"}`)
	case isVolume && r.Method == http.MethodDelete:
		delete(e.volumes, name)
		w.WriteHeader(http.StatusNoContent)
	case answer[path] == nil && path != "":
		w.WriteHeader(http.StatusNotFound)
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer[path])
	}
}
