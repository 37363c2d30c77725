package embedded

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const environmentFile = `version: 1
name: page
test:
  unit: { image: "busybox:1.37", run: "true" }
build:
  image: busybox:1.37
  run: mkdir dist && echo hello > dist/greeting
  artifacts: [dist/greeting]
release:
  image: page
  base: busybox:1.37
  files: { dist/greeting: /greeting }
  entrypoint: [sh, -ec, "mkdir /www; wget -q -O /www/schema http://db:8080/schema; hostname > /www/index.html; echo $TOKEN > /www/token; exec httpd -f -p 8080 -h /www"]
  ready: { http: ":8080/", within: 20s }
  environment:
    replicas: 2
    secrets: [TOKEN]
    services:
      db:
        image: busybox:1.37
        command:
          - sh
          - -ec
          - |
            mkdir -p /srv/cgi-bin
            printf '#!/bin/sh\necho %s > /srv/schema; printf "Content-type: text/plain\\r\\n\\r\\nok"\n' one > /srv/cgi-bin/migrate
            chmod +x /srv/cgi-bin/migrate
            exec httpd -f -p 8080 -h /srv
        ready: { tcp: 8080 }
    before: wget -q -O /dev/null http://db:8080/cgi-bin/migrate
  acceptance:
    schema: { image: "busybox:1.37", run: "wget -q -O - http://app:8080/schema | grep -qx one" }
    secret: { image: "busybox:1.37", run: "wget -q -O - http://app:8080/token | grep -qx s3cret-of-page" }
    replicas: { image: "busybox:1.37", run: "for i in $(seq 40); do wget -q -O - http://app:8080/; done | sort -u | wc -l | grep -qx 2" }
`

// A release is accepted in an environment like production's: a database that is migrated
// before it starts, its secrets, as many of it as there will be.
func TestReleaseEnvironment(t *testing.T) {
	t.Setenv("MILLRACE_SECRET_PAGE__TOKEN", "s3cret-of-page")
	w := start(t, "busybox:1.37")
	write := func(text string) func(dir string) {
		return func(dir string) {
			if err := os.WriteFile(filepath.Join(dir, "millrace.yaml"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	good := repository(t, "page", write(environmentFile))
	facts := w.deliver(good)
	last := facts[len(facts)-1]
	if path(facts) != "test:succeeded build:succeeded release:succeeded" || len(last.Acceptance) != 4 || last.Acceptance[0].Name != "before" {
		t.Fatalf("%s with %+v: %s", path(facts), last.Acceptance, last.Reason)
	}
	bad := strings.NewReplacer("/cgi-bin/migrate\n  acceptance", "/cgi-bin/none $TOKEN\n  acceptance").Replace(environmentFile)
	facts = w.deliver(again(t, good, write(bad)))
	last = facts[len(facts)-1]
	for _, want := range []string{"before the release starts: step before: exited with 1", "its last lines:", "404 Not Found"} {
		if path(facts) != failsRelease || !strings.Contains(last.Reason, want) {
			t.Errorf("%s, want a reason with %q: %s", path(facts), want, last.Reason)
		}
	}
	if strings.Contains(last.Reason, "s3cret") || last.Image != "" || len(w.tags("page")) != 1 {
		t.Errorf("image %q, tags %v: %s", last.Image, w.tags("page"), last.Reason)
	}
}
