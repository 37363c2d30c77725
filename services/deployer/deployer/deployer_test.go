package deployer

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace-cd/millrace/pkg/bus"
	"github.com/millrace-cd/millrace/pkg/container"
	"github.com/millrace-cd/millrace/pkg/event"
)

func TestNext(t *testing.T) {
	tests := []struct {
		name string
		envs []string
		at   string
		want string
	}{
		{"a release, nowhere to go", nil, "", ""},
		{"a release", []string{"staging", "production"}, "", "staging"},
		{"the first environment", []string{"staging", "production"}, "staging", "production"},
		{"the last environment", []string{"staging", "production"}, "production", ""},
		{"an environment that is not in the file", []string{"staging", "production"}, "elsewhere", ""},
		{"a name that is no token", []string{"Staging!"}, "", ""},
	}
	for _, tt := range tests {
		d := event.Deployed{Environment: tt.at}
		d.Environments = tt.envs
		if got, ok := next(d); got != tt.want || ok != (tt.want != "") {
			t.Errorf("%s: got %q, %t", tt.name, got, ok)
		}
	}
}

func TestClash(t *testing.T) {
	old := &container.Running{Ports: []container.Port{{Container: 8080, Protocol: "tcp", Host: 80}}}
	for spec, want := range map[string]bool{"80:8080": true, "127.0.0.1:80:8080": true, "80:9090/udp": true, "81:8080": false, "8080": false, "127.0.0.1::8080": false} {
		if got := clash(old, []string{spec}); got != want {
			t.Errorf("%s: clash = %t", spec, got)
		}
	}
}

func TestMounts(t *testing.T) {
	got := mounts("other.shop.production", []string{"data:/var/data", "keys:/keys:ro"})
	want := []container.Mount{
		{Target: "/var/data", Volume: "millrace-data.other.shop.production.data"},
		{Target: "/keys", Volume: "millrace-data.other.shop.production.keys", ReadOnly: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestBefore(t *testing.T) {
	var e bus.Environment
	if got := before(e, 1); got != "" {
		t.Errorf("before the first release there was %q", got)
	}
	e = e.Replace(bus.Running{Number: 1, Image: "one"})
	if got := before(e, 1); got != "" {
		t.Errorf("before the first release, repeated, there was %q", got)
	}
	if got := before(e, 2); got != "one" {
		t.Errorf("before the second release there was %q", got)
	}
	e = e.Replace(bus.Running{Number: 2, Image: "two"})
	if got := before(e, 2); got != "one" {
		t.Errorf("before the second release, repeated, there was %q", got)
	}
}
