package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/millrace-cd/millrace/pkg/event"
)

// checkChain holds the events against git and the registry: the tree tested is the
// one of the commit, the snapshot is that tree, and the image has the files of the
// artifact and nothing else on its base.
func (w *world) checkChain(f event.Fact) {
	w.t.Helper()
	dir := strings.TrimPrefix(f.Repository, "file://")
	if tree := w.git(dir, "rev-parse", f.Hash+"^{tree}"); tree != f.Tree {
		w.t.Errorf("delivery %d says it tested tree %s; git has %s", f.Number, f.Tree, tree)
	}
	if tree := w.treeOf(w.blob(f.Snapshot)); tree != f.Tree {
		w.t.Errorf("the snapshot of delivery %d is tree %s, not %s", f.Number, tree, f.Tree)
	}
	built := sums(w, bytes.NewReader(w.blob(f.Artifact)))
	image := w.lastLayer(f.Image)
	if len(built) == 0 || len(image) != len(built) {
		w.t.Errorf("the image of delivery %d has %d files, its artifact %d", f.Number, len(image), len(built))
	}
	for path, sum := range built { // dist/ of the artifact is /app/ of the image
		if to := "app/" + strings.TrimPrefix(path, "dist/"); image[to] != sum {
			w.t.Errorf("delivery %d: %s of the artifact is not %s of the image", f.Number, path, to)
		}
	}
}

// checkRunning holds the event against the engine: one container of the app runs, of
// the released digest, with the artifact's files.
func (w *world) checkRunning(f event.Fact) {
	w.t.Helper()
	ids := strings.Fields(w.docker("ps", "-q", "--filter", "label=millrace.instance="+w.instance, "--filter", "label=millrace.kind=app", "--filter", "label=millrace.app="+f.App))
	if len(ids) != 1 {
		w.t.Fatalf("%d containers of %s run, want one", len(ids), f.App)
	}
	image := w.docker("inspect", "--format", "{{.Image}}", ids[0])
	if digests := w.docker("image", "inspect", "--format", "{{.RepoDigests}}", image); !strings.Contains(digests, f.Image) {
		w.t.Errorf("what runs is %s, not %s", digests, f.Image)
	}
	built := sums(w, bytes.NewReader(w.blob(f.Artifact)))
	cmd := exec.CommandContext(w.t.Context(), "docker", "cp", ids[0]+":/app", "-")
	out, err := cmd.Output()
	if err != nil {
		w.t.Fatal(err)
	}
	running := sums(w, bytes.NewReader(out))
	for path, sum := range built {
		if running["app/"+strings.TrimPrefix(path, "dist/")] != sum {
			w.t.Errorf("%s in the running container is not what was built", path)
		}
	}
}

func (w *world) docker(args ...string) string {
	w.t.Helper()
	out, err := exec.CommandContext(w.t.Context(), "docker", args...).CombinedOutput()
	if err != nil {
		w.t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// blob reads the tar of a snapshot or artifact, and checks its digest by itself.
func (w *world) blob(b event.Blob) []byte {
	w.t.Helper()
	ref, err := name.NewDigest(b.Repository+"@"+b.Digest, name.Insecure)
	if err != nil {
		w.t.Fatal(err)
	}
	got, err := remote.Get(ref)
	if err != nil {
		w.t.Fatal(err)
	}
	m, err := v1.ParseManifest(bytes.NewReader(got.Manifest))
	if err != nil {
		w.t.Fatal(err)
	}
	layer, err := remote.Layer(ref.Context().Digest(m.Layers[0].Digest.String()))
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := layer.Compressed() // as it is stored
	if err != nil {
		w.t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		w.t.Fatal(err)
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != m.Layers[0].Digest.Hex {
		w.t.Fatalf("blob of %s does not hash to its digest", ref)
	}
	return data
}

// treeOf lets git say what tree the files of a tar are.
func (w *world) treeOf(data []byte) string {
	w.t.Helper()
	dir := w.t.TempDir()
	cmd := exec.CommandContext(w.t.Context(), "tar", "-x", "-C", dir)
	cmd.Stdin = bytes.NewReader(data)
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("tar: %v\n%s", err, out)
	}
	w.git(dir, "init", "-q")
	w.git(dir, "add", "-A", "-f")
	return w.git(dir, "write-tree")
}

// lastLayer are the sums of the files that an image adds to its base.
func (w *world) lastLayer(image string) map[string]string {
	w.t.Helper()
	ref, err := name.NewDigest(image, name.Insecure)
	if err != nil {
		w.t.Fatal(err)
	}
	img, err := remote.Image(ref)
	if err != nil {
		w.t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := layers[len(layers)-1].Compressed()
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	plain, err := gzip.NewReader(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return sums(w, plain)
}

// sums are the files of a tar with their sums.
func sums(w *world, r io.Reader) map[string]string {
	w.t.Helper()
	files := map[string]string{}
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			w.t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, in); err != nil { //nolint:gosec // of our own making
			w.t.Fatal(err)
		}
		files[filepath.Clean(h.Name)] = hex.EncodeToString(sum.Sum(nil))
	}
}

// tags asks the registry.
func (w *world) tags(repository string) []string {
	w.t.Helper()
	r, err := name.NewRepository(w.public()+"/"+repository, name.Insecure)
	if err != nil {
		w.t.Fatal(err)
	}
	tags, err := remote.List(r)
	if err != nil && !strings.Contains(err.Error(), "NAME_UNKNOWN") {
		w.t.Fatal(err)
	}
	return tags
}
