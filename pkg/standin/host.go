package standin

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
)

const certificates = "/etc/ssl/certs/ca-certificates.crt"

// image is a root file system, and how its programs are run.
type image struct {
	*tree
	path    []string // directories of programs, before the usual ones
	env     []string
	changes []string // in the words of a Dockerfile; the last of a kind counts
}

// gather collects from this host what an image of kind k holds.
func gather(ctx context.Context, k kind, progress io.Writer) (*image, error) {
	img := &image{tree: newTree(), changes: []string{"LABEL " + label, `CMD ["/bin/sh"]`}}
	if err := addShell(ctx, img.tree, progress); err != nil {
		return nil, err
	}
	if addCertificates(img.tree) {
		img.env = append(img.env, "SSL_CERT_FILE="+certificates)
	}
	add := map[kind]func(context.Context, *image, io.Writer) error{
		golang: addGo, python: addPython, compiler: addCompiler, postgres: addPostgres,
	}[k]
	if add == nil {
		return img, nil
	}
	return img, add(ctx, img, progress)
}

// dockerfile is what the engine has to know of the image.
func (i *image) dockerfile() []string {
	path := append(slices.Clone(i.path), "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
	env := append([]string{"PATH=" + strings.Join(path, ":")}, i.env...)
	return append(slices.Clone(i.changes), "ENV "+strings.Join(env, " "))
}

// addShell adds busybox under all its names, and what a small system has.
func addShell(ctx context.Context, root *tree, progress io.Writer) error {
	busybox, err := findBusybox(ctx, progress)
	if err != nil {
		return err
	}
	applets, err := exec.CommandContext(ctx, busybox, "--list").Output()
	if err != nil {
		return fmt.Errorf("list the commands of %s: %w", busybox, err)
	}
	root.from = busybox
	for _, dir := range []string{"etc", "usr/bin", "var", "dev", "proc", "sys"} {
		root.dir(dir, 0o755)
	}
	root.dir("root", 0o700)
	root.dir("tmp", 0o1777)
	root.link("usr/bin/env", "/bin/busybox")
	root.text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
	root.text("etc/group", "root:x:0:\nnogroup:x:65534:\n")
	for name := range strings.FieldsSeq(string(applets)) {
		if name != "busybox" {
			root.link("bin/"+name, "busybox")
		}
	}
	return root.file("bin/busybox", busybox, 0o755)
}

// findBusybox is a busybox that needs no libraries, installed if need be.
func findBusybox(ctx context.Context, progress io.Writer) (string, error) {
	if found, err := exec.LookPath("busybox"); err == nil && static(found) {
		return found, nil
	}
	if err := install(ctx, progress, "busybox-static"); err != nil {
		return "", fmt.Errorf("no static busybox on this host: %w", err)
	}
	found, err := exec.LookPath("busybox")
	if err != nil || !static(found) {
		return "", errors.New("no static busybox after its installation by apt-get")
	}
	return found, nil
}

// static tells whether a program runs without any library.
func static(program string) bool {
	f, err := elf.Open(program)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	for _, segment := range f.Progs {
		if segment.Type == elf.PT_INTERP {
			return false
		}
	}
	return true
}

// addCertificates adds the authorities that this host trusts: a company's proxy may
// have its own.
func addCertificates(root *tree) bool {
	for _, bundle := range []string{certificates, "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"} {
		if root.file(strings.TrimPrefix(certificates, "/"), bundle, 0o644) == nil {
			return true
		}
	}
	return false
}

// addGo adds the host's Go, less its tests and documents.
func addGo(ctx context.Context, img *image, _ io.Writer) error {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT", "GOVERSION").Output()
	if err != nil {
		return fmt.Errorf("find Go on this host: %w", err)
	}
	goroot, version, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	for _, part := range []string{"VERSION", "go.env", "bin", "src", "lib", "pkg/include", "pkg/tool"} {
		if err := img.copy("usr/local/go/"+part, goroot+"/"+part); err != nil {
			return fmt.Errorf("copy %s: %w", goroot, err)
		}
	}
	for _, dir := range []string{"go/bin", "go/src", "go/pkg"} {
		img.dir(dir, 0o1777)
	}
	img.from += " and " + version
	img.path = []string{"/go/bin", "/usr/local/go/bin"}
	img.env = append(img.env, "GOROOT=/usr/local/go", "GOPATH=/go", "GOTOOLCHAIN=local", "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false", "HOME=/root")
	img.changes = append(img.changes, "WORKDIR /go")
	return nil
}
