package container

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/network"
)

// httpd answers /index.html with ok, after a while.
func httpd(port string) []string {
	return []string{"/bin/sh", "-c", "echo starting; mkdir /www; echo fine >/www/health; sleep 0.3; echo listening on " + port + "; exec httpd -f -p " + port + " -h /www"}
}

func TestServiceReady(t *testing.T) {
	t.Parallel()
	e := connect(t)
	s := open(t, e, Private)
	for name, probe := range map[string]Probe{
		"http": {HTTP: ":80/health"},
		"tcp":  {TCP: 80},
		"run":  {Run: []string{"wget -q -O - http://127.0.0.1/health"}},
		"log":  {Log: "^listening on [0-9]+$"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := s.Service(t.Context(), Service{Name: name, Image: shellImage, Command: httpd("80"), Ready: &probe})
			if err != nil {
				t.Fatal(err)
			}
			out, exit := run(t, s, Step{Network: true, Run: []string{"wget -q -O - http://" + name + "/health 2>&1 || { sleep 0.2; wget -q -O - http://" + name + "/health; }"}})
			if out != "fine\n" && name != "log" || exit.Code != 0 {
				t.Errorf("got %q, %+v from a step", out, exit)
			}
			if r.Owner.Step != name || r.State != "running" {
				t.Errorf("got %+v", r)
			}
		})
	}
}

func TestServiceNotReady(t *testing.T) {
	t.Parallel()
	e := connect(t)
	s := open(t, e, Private)
	lines := "for i in $(seq 30); do echo line $i; done; "
	for name, test := range map[string]struct {
		service Service
		want    []string
		exited  bool
	}{
		"http":         {Service{Command: httpd("80"), Ready: &Probe{HTTP: ":80/nosuch"}}, []string{"GET :80/nosuch", "404 Not Found", "listening on 80"}, false},
		"status":       {Service{Command: httpd("80"), Ready: &Probe{HTTP: ":80/health", Status: 418}}, []string{"200 OK fine"}, false},
		"tcp":          {Service{Command: httpd("80"), Ready: &Probe{TCP: 81}}, []string{"connect to port 81", "connection refused"}, false},
		"run":          {Service{Command: httpd("80"), Ready: &Probe{Run: []string{"echo no table; exit 3"}}}, []string{"exit code 3: no table"}, false},
		"log":          {Service{Command: httpd("80"), Ready: &Probe{Log: "never"}}, []string{"no such line"}, false},
		"ends":         {Service{Command: []string{"sh", "-c", lines + "sleep 0.1; exit 7"}, Ready: &Probe{TCP: 80, Within: time.Minute}}, []string{"ended with exit code 7", "line 11\n", "line 30"}, true},
		"ends at once": {Service{Command: []string{"sh", "-c", "echo bad configuration; exit 1"}, Ready: &Probe{HTTP: ":80/", Within: time.Minute}}, []string{"ended with exit code 1", "bad configuration"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			test.service.Name, test.service.Image = "db", shellImage
			if test.service.Ready.Within == 0 {
				test.service.Ready.Within = 1500 * time.Millisecond
			}
			_, err := s.Service(t.Context(), test.service)
			var unready *NotReady
			if !errors.As(err, &unready) {
				t.Fatalf("got %v, want NotReady", err)
			}
			for _, want := range append(test.want, "db is not ready after") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q in it", err, want)
				}
			}
			if (unready.Exited != nil) != test.exited || len(unready.Logs) > 20 || strings.Contains(err.Error(), "line 10\n") {
				t.Errorf("got %+v", unready)
			}
		})
	}
}

// Without a way out, services are still found.
func TestSealed(t *testing.T) {
	t.Parallel()
	e := connect(t)
	s := open(t, e, Sealed)
	if _, err := s.Service(t.Context(), Service{Name: "db", Image: shellImage, Command: httpd("80"), Ready: &Probe{HTTP: ":80/health"}}); err != nil {
		t.Fatal(err)
	}
	out, exit := run(t, s, Step{Run: []string{"wget -q -O - http://db/health"}})
	if out != "fine\n" || exit.Code != 0 {
		t.Errorf("got %q, %+v", out, exit)
	}
	if n, err := e.api.NetworkInspect(t.Context(), s.network, network.InspectOptions{}); err != nil || !n.Internal {
		t.Errorf("got a network with a way out, %v", err)
	}
}

func TestServiceNeedsNetwork(t *testing.T) {
	t.Parallel()
	e := connect(t)
	if _, err := open(t, e, Outside).Service(t.Context(), Service{Name: "db", Image: shellImage}); !errors.Is(err, ErrStep) {
		t.Errorf("got %v", err)
	}
}

func TestImageProbe(t *testing.T) {
	t.Parallel()
	for want, img := range map[string]Image{
		"run /bin/sh -c pg_isready": {Healthcheck: []string{"CMD-SHELL", "pg_isready"}, Ports: []int{5432}},
		"run pg_isready -q":         {Healthcheck: []string{"CMD", "pg_isready", "-q"}},
		"connect to port 80":        {Healthcheck: []string{"NONE"}, Ports: []int{80, 443}},
	} {
		if got, ok := img.probe(); !ok || got.String() != want {
			t.Errorf("got %s, %t, want %s", got, ok, want)
		}
	}
	if _, ok := (Image{}).probe(); ok {
		t.Error("an image that says nothing has a probe")
	}
}
