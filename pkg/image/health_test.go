package image

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestHealthcheck(t *testing.T) {
	t.Parallel()
	const sh, curl, wget, nc = "/bin/sh", "/usr/bin/curl", "/usr/bin/wget", "/bin/nc"
	for name, tt := range map[string]struct {
		probe  Probe
		has    []string
		script string
		reason string
	}{
		"curl":                  {Probe{HTTP: ":8080/healthz"}, []string{sh, curl, wget}, "curl -fsk -o /dev/null 'http://127.0.0.1:8080/healthz'", ""},
		"wget":                  {Probe{HTTP: ":8080/healthz"}, []string{sh, wget}, "wget -q -O /dev/null 'http://127.0.0.1:8080/healthz'", ""},
		"success by wget":       {Probe{HTTP: ":8080", Status: 200}, []string{sh, wget}, "wget -q -O /dev/null 'http://127.0.0.1:8080'", ""},
		"status by curl":        {Probe{HTTP: ":8080/", Status: 204}, []string{sh, curl}, `test "$(curl -sk -o /dev/null -w '%{http_code}' 'http://127.0.0.1:8080/')" = 204`, ""},
		"status by wget":        {Probe{HTTP: ":8080/", Status: 401}, []string{sh, wget}, "", "no curl"},
		"URL":                   {Probe{HTTP: "https://localhost:8443/a?b=c"}, []string{sh, curl}, "curl -fsk -o /dev/null 'https://127.0.0.1:8443/a?b=c'", ""},
		"https by wget":         {Probe{HTTP: "https://localhost:8443/"}, []string{sh, wget}, "", "needs curl"},
		"loopback":              {Probe{HTTP: "http://[::1]:80/"}, []string{sh, curl}, "curl -fsk -o /dev/null 'http://[::1]:80/'", ""},
		"another host":          {Probe{HTTP: "http://db:80/"}, []string{sh, curl}, "", "another host"},
		"another address":       {Probe{HTTP: "http://10.0.0.1/"}, []string{sh, curl}, "", "another host"},
		"no URL":                {Probe{HTTP: ":x/"}, []string{sh, curl}, "", "no URL"},
		"another kind of URL":   {Probe{HTTP: "ftp://localhost/"}, []string{sh, curl}, "", "no URL"},
		"quotes":                {Probe{HTTP: ":80/'; reboot; '"}, []string{sh, curl}, "curl -fsk -o /dev/null 'http://127.0.0.1:80/%27;%20reboot;%20%27'", ""},
		"quotes in a question":  {Probe{HTTP: ":80/?'$(reboot)"}, []string{sh, curl}, `curl -fsk -o /dev/null 'http://127.0.0.1:80/?'\''$(reboot)'`, ""},
		"no tool":               {Probe{HTTP: ":8080/"}, []string{sh}, "", "neither curl nor wget"},
		"no shell":              {Probe{HTTP: ":8080/"}, []string{curl, wget, nc}, "", "no /bin/sh"},
		"port":                  {Probe{TCP: 5432}, []string{sh, nc}, "nc -z 127.0.0.1 5432", ""},
		"port, no tool":         {Probe{TCP: 5432}, []string{sh, curl}, "", "no nc"},
		"script":                {Probe{Run: []string{"test -e /ready", "app health"}}, []string{sh}, "test -e /ready\napp health", ""},
		"script without shell":  {Probe{Run: []string{"app health"}}, nil, "", "no /bin/sh"},
		"a line that is logged": {Probe{}, []string{sh}, "", "nothing that can be asked"},
	} {
		check, reason := Healthcheck(tt.probe, func(path string) bool { return slices.Contains(tt.has, path) })
		if tt.reason != "" {
			if check != nil || !strings.Contains(reason, tt.reason) {
				t.Errorf("%s: check is %v, reason %q, want %q", name, check, reason, tt.reason)
			}
			continue
		}
		if check == nil || reason != "" {
			t.Errorf("%s: no check, %q", name, reason)
			continue
		}
		if want := []string{"CMD", "/bin/sh", "-ec", tt.script}; !slices.Equal(check.Test, want) {
			t.Errorf("%s: check is %q, want %q", name, check.Test, want)
		}
		if check.Interval != 10*time.Second || check.Timeout != 5*time.Second || check.StartPeriod != time.Minute || check.Retries != 3 {
			t.Errorf("%s: times are %+v", name, check)
		}
	}
	has := func(string) bool { return true }
	if check, _ := Healthcheck(Probe{TCP: 1, Every: time.Minute, Within: 5 * time.Minute}, has); check.Interval != time.Minute || check.StartPeriod != 5*time.Minute {
		t.Errorf("times are %+v", check)
	}
	if check, _ := Healthcheck(Probe{TCP: 1, Every: 100 * time.Millisecond}, has); check.Interval != 10*time.Second {
		t.Errorf("times are %+v", check)
	}
}
