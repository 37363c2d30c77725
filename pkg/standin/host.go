package standin

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

const certificates = "/etc/ssl/certs/ca-certificates.crt"

// gather collects from this host what an image of kind k holds.
func gather(ctx context.Context, k kind, progress io.Writer) (*tree, []string, error) {
	root := newTree()
	env := "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	if err := addShell(ctx, root, progress); err != nil {
		return nil, nil, err
	}
	if addCertificates(root) {
		env += " SSL_CERT_FILE=" + certificates
	}
	changes := []string{"LABEL " + label, `CMD ["/bin/sh"]`}
	if k == golang {
		version, err := addGo(ctx, root)
		if err != nil {
			return nil, nil, err
		}
		root.from += " and " + version
		env = strings.Replace(env, "PATH=", "PATH=/go/bin:/usr/local/go/bin:", 1) +
			" GOROOT=/usr/local/go GOPATH=/go GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS=-buildvcs=false HOME=/root"
		changes = append(changes, "WORKDIR /go")
	}
	return root, append(changes, "ENV "+env), nil
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
	const fix = "install a static busybox: apt-get install busybox-static"
	if os.Geteuid() != 0 {
		return "", errors.New("no static busybox on this host; " + fix)
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return "", errors.New("no static busybox on this host, and no apt-get to install it")
	}
	say(progress, "installing busybox-static by apt-get")
	install := exec.CommandContext(ctx, "apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", "install", "-y", "--no-install-recommends", "busybox-static")
	if out, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("install busybox-static: %w: %s", err, bytes.TrimSpace(out))
	}
	found, err := exec.LookPath("busybox")
	if err != nil || !static(found) {
		return "", errors.New("no static busybox after its installation; " + fix)
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

// addGo adds the host's Go, less its tests and documents, and returns its version.
func addGo(ctx context.Context, root *tree) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT", "GOVERSION").Output()
	if err != nil {
		return "", fmt.Errorf("find Go on this host: %w", err)
	}
	goroot, version, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	for _, part := range []string{"VERSION", "go.env", "bin", "src", "lib", "pkg/include", "pkg/tool"} {
		if err := root.copy("usr/local/go/"+part, goroot+"/"+part); err != nil {
			return "", fmt.Errorf("copy %s: %w", goroot, err)
		}
	}
	root.dir("go/bin", 0o1777)
	root.dir("go/src", 0o1777)
	root.dir("go/pkg", 0o1777)
	return version, nil
}
