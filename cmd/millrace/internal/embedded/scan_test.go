package embedded

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace-cd/millrace/pkg/event"
)

// scanners has two scanners: one finds the same in everything that has a bill of
// materials, the other does not find its way.
const scanners = `FROM busybox:1.37 AS scanner
RUN printf '%s\n' '#!/bin/sh' 'set -e' 'grep -q CycloneDX "$MILLRACE_SBOM"' 'echo looking' 'cp /found "$MILLRACE_VULNERABILITIES"' > /scan && chmod +x /scan
RUN echo '{"bomFormat":"CycloneDX","specVersion":"1.6","vulnerabilities":[{"id":"CVE-2026-1","ratings":[{"severity":"critical"}],"recommendation":"Upgrade to 2"},{"id":"CVE-2026-2","ratings":[{"severity":"low"}]}]}' > /found
ENTRYPOINT ["/scan"]
FROM scanner AS blind
ENTRYPOINT ["true"]
`

// A scanner of the user's choice judges the bill of materials, and what it finds counts
// as the file says.
func TestScan(t *testing.T) {
	w := start(t, "busybox:1.37")
	for _, target := range []string{"scanner", "blind"} {
		image(t, scanners, target)
	}
	tests := []struct {
		name, scan string
		outcome    event.Outcome
		reason     string
		found      map[string]int
	}{
		{"critical", "{ image: IMAGE-scanner, fail_on: high }", event.Failed, "step scan: 1 vulnerabilities of severity high or worse, which release.scan.ignore does not name:\n  CVE-2026-1 critical: Upgrade to 2", map[string]int{"critical": 1, "low": 1}},
		{"ignored", "{ image: IMAGE-scanner, fail_on: high, ignore: [CVE-2026-1] }", event.Succeeded, "", map[string]int{"critical": 1, "low": 1}},
		{"told", "{ image: IMAGE-scanner }", event.Succeeded, "", map[string]int{"critical": 1, "low": 1}},
		{"no answer", "{ image: IMAGE-blind }", event.Failed, "the scanner wrote no $MILLRACE_VULNERABILITIES", nil},
		{"no scanner", "{ fail_on: high }", event.Failed, "release.scan names no image of a scanner", nil},
	}
	c := repository(t, "page", page("one", "PORT", "8080"))
	for i, tt := range tests {
		file := page(fmt.Sprint(i), "PORT", "8080", "  acceptance:", "  scan: "+strings.ReplaceAll(tt.scan, "IMAGE", imageName(t))+"\n  acceptance:")
		c = again(t, c, file)
		var released event.Fact
		for _, f := range w.deliver(c) {
			if f.StageName == event.StageRelease {
				released = f
			}
		}
		if released.Outcome != tt.outcome || !strings.Contains(released.Reason, tt.reason) {
			t.Errorf("%s: %s: %s; want %s: %s", tt.name, released.Outcome, released.Reason, tt.outcome, tt.reason)
		}
		if diff := cmp.Diff(tt.found, released.Vulnerabilities); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

func imageName(t *testing.T) string {
	t.Helper()
	return "millrace-" + strings.ToLower(t.Name())
}

// image builds a stage of a Dockerfile, as an image that is gone after the test.
func image(t *testing.T, dockerfile, target string) {
	t.Helper()
	name := imageName(t) + "-" + target
	cmd := exec.Command("docker", "build", "--quiet", "--target", target, "-t", name, "-")
	cmd.Stdin = strings.NewReader(dockerfile)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("docker", "rmi", "--force", name).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
}
