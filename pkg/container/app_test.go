package container

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// start starts an app that the test removes.
func start(t *testing.T, e *Engine, app App) *Running {
	t.Helper()
	r, err := e.Start(t.Context(), app)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Remove(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return r
}

func TestApp(t *testing.T) {
	t.Parallel()
	e := connect(t)
	img, err := e.Resolve(t.Context(), shellImage, PullNever)
	if err != nil {
		t.Fatal(err)
	}
	name := objectName("shop")
	owner := Owner{App: name, Environment: "staging", Delivery: 3}
	app := App{Name: name, Owner: owner, Image: img.Pinned, Command: httpd("8080"), Publish: []string{"127.0.0.1::8080"}, Labels: map[string]string{"team": "a", labelApp: "forged"}}
	r := start(t, e, app)
	if err := r.Probe(t.Context(), Probe{HTTP: ":8080/health"}); err != nil {
		t.Fatal(err)
	}
	if len(r.Ports) != 1 || r.Ports[0].Container != 8080 || r.Ports[0].Host == 0 {
		t.Fatalf("got ports %v", r.Ports)
	}
	if err := r.Probe(t.Context(), Probe{HTTP: fmt.Sprintf("http://127.0.0.1:%d/health", r.Ports[0].Host)}); err != nil {
		t.Error(err)
	}
	if r.ImageID != img.ID || r.Labels["team"] != "a" || r.Owner.App != name || r.Owner.Stage != "deploy" {
		t.Errorf("got %+v", r)
	}
	found, err := e.Apps(t.Context(), name, "staging")
	if err != nil || len(found) != 1 || found[0].ID != r.ID {
		t.Errorf("got %v, %v", found, err)
	}
	if found, err = e.Apps(t.Context(), name, "production"); err != nil || len(found) != 0 {
		t.Errorf("got %v, %v in another environment", found, err)
	}
	lines, err := r.Logs(t.Context(), 1)
	if err != nil || len(lines) != 1 || lines[0] != "listening on 8080" {
		t.Errorf("got %q, %v", lines, err)
	}
	if err := r.Rename(t.Context(), name+"-old"); err != nil {
		t.Error(err)
	}
	if _, err := e.Find(t.Context(), name); !errors.Is(err, ErrNoContainer) {
		t.Errorf("got %v by the former name", err)
	}
}

// The port of the old one is taken until it is stopped; then it can come back.
func TestFixedPort(t *testing.T) {
	t.Parallel()
	e := connect(t)
	port := freePort(t)
	app := App{Name: objectName("old"), Owner: Owner{App: "shop"}, Image: shellImage, Command: httpd("8080"), Publish: []string{"127.0.0.1:" + port + ":8080"}}
	old := start(t, e, app)
	app.Name = objectName("new")
	if _, err := e.Start(t.Context(), app); !errors.Is(err, ErrPortTaken) {
		t.Fatalf("got %v, want %v", err, ErrPortTaken)
	}
	if _, err := e.Find(t.Context(), app.Name); !errors.Is(err, ErrNoContainer) {
		t.Errorf("got %v, want nothing left of it", err)
	}
	if err := old.Stop(t.Context(), time.Second); err != nil {
		t.Fatal(err)
	}
	next := start(t, e, app)
	if err := next.Stop(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if exit, err := next.Wait(t.Context()); err != nil || exit.Code != 137 && exit.Code != 143 {
		t.Errorf("got %+v, %v", exit, err)
	}
	if err := old.StartAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := old.Probe(t.Context(), Probe{HTTP: ":8080/health"}); err != nil {
		t.Error(err)
	}
}

func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// A probe of an app that ends says so, though its policy starts it again.
func TestAppEnds(t *testing.T) {
	t.Parallel()
	e := connect(t)
	r := start(t, e, App{Name: objectName("bad"), Owner: Owner{App: "shop"}, Image: shellImage, Command: []string{"sh", "-c", "echo no configuration; exit 4"}, Restart: "no"})
	if _, err := r.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.Refresh(t.Context()); err != nil || len(r.Addresses) > 0 {
		t.Fatalf("got %v, %v of what has ended", r.Addresses, err)
	}
	err := r.Probe(t.Context(), Probe{TCP: 80})
	var unready *NotReady
	if !errors.As(err, &unready) || unready.Exited == nil || unready.Exited.Code != 4 || !strings.Contains(err.Error(), "no configuration") {
		t.Errorf("got %v", err)
	}
	// Meanwhile its address may be another's.
	yes := func(context.Context) (string, error) { return "fine", nil }
	if answer, err := r.ifItself("bridge", "172.17.0.2", yes)(t.Context()); err == nil {
		t.Errorf("got %q from a container that has ended", answer)
	}
}

func TestAppNetwork(t *testing.T) {
	t.Parallel()
	e := connect(t)
	network := objectName("net")
	for _, bad := range []string{"host", "none", "bridge", "container:abc"} {
		if _, err := e.Start(t.Context(), App{Name: objectName("x"), Image: shellImage, Network: bad}); !errors.Is(err, ErrStep) {
			t.Errorf("%s: got %v", bad, err)
		}
	}
	t.Cleanup(func() { _ = e.removeNetwork(context.Background(), network) })
	r := start(t, e, App{Name: objectName("x"), Owner: Owner{App: "shop"}, Image: shellImage, Network: network, Aliases: []string{"shop"}, Command: httpd("80")})
	if err := r.Probe(t.Context(), Probe{Run: []string{"wget -q -O - http://shop/health"}}); err != nil {
		t.Error(err)
	}
	if r.Addresses[network] == "" {
		t.Errorf("got addresses %v", r.Addresses)
	}
}

// An image goes out and comes back.
func TestImages(t *testing.T) {
	t.Parallel()
	e := connect(t)
	ref := "millrace-test/" + random(4) + ":1"
	var root bytes.Buffer
	w := tar.NewWriter(&root)
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: "x", Mode: 0o755}), w.Close()); err != nil {
		t.Fatal(err)
	}
	if err := e.Import(t.Context(), ref, &root, []string{"EXPOSE 90 80 70/udp", "USER 5", "LABEL a=b", `HEALTHCHECK CMD ["/x", "ok"]`}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.RemoveImage(context.Background(), ref) })
	img, err := e.Resolve(t.Context(), ref, PullMissing)
	if err != nil {
		t.Fatal(err)
	}
	if img.Pinned != img.ID || img.User != "5" || fmt.Sprint(img.Ports, img.Healthcheck, img.Labels) != "[80 90] [CMD /x ok] map[a:b]" {
		t.Errorf("got %+v", img)
	}
	saved, err := e.Save(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(saved); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(saved.Close(), e.RemoveImage(t.Context(), ref), e.RemoveImage(t.Context(), ref)); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Resolve(t.Context(), ref, PullNever); !errors.Is(err, ErrNoImage) {
		t.Errorf("got %v, want %v", err, ErrNoImage)
	}
	if names, err := e.Load(t.Context(), &b); err != nil || len(names) != 1 || names[0] != ref {
		t.Errorf("got %v, %v", names, err)
	}
}

// What cannot be pulled says which image, from where, and why.
func TestPullError(t *testing.T) {
	t.Parallel()
	e := connect(t)
	port := freePort(t)
	ref := "127.0.0.1:" + port + "/acme/shop:1"
	_, err := e.Resolve(t.Context(), ref, PullMissing)
	if err == nil || errors.Is(err, ErrNoImage) || !strings.Contains(err.Error(), ref) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("got %v", err)
	}
}
