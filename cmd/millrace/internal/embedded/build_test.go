package embedded

import (
	"strings"
	"testing"
)

// A build that is to be reproducible is made twice; what differs is named.
func TestReproducible(t *testing.T) {
	w := start(t, "busybox:1.37")
	twice := []string{"PORT", "8080", "  artifacts: [dist/**]", "  artifacts: [dist/**]\n  reproducible: true"}
	good := repository(t, "page", page("one", twice...))
	facts := w.deliver(good)
	if path(facts) != delivered || len(facts[1].Build) != 2 {
		t.Fatalf("%s with %v: %s", path(facts), facts[1].Build, facts[len(facts)-1].Reason)
	}
	chance := append(twice, "cp /bin/busybox dist/", "cp /bin/busybox dist/ && cat /proc/sys/kernel/random/uuid > dist/www/id")
	facts = w.deliver(again(t, good, page("two", chance...)))
	last := facts[len(facts)-1]
	if path(facts) != "test:succeeded build:failed" || !strings.Contains(last.Reason, "is not reproducible") || !strings.HasSuffix(last.Reason, "\n  dist/www/id") {
		t.Errorf("%s: %s", path(facts), last.Reason)
	}
}

// Each platform has a build of its own, told which, and an artifact of its own.
func TestPlatforms(t *testing.T) {
	w := start(t, "busybox:1.37")
	facts := w.deliver(repository(t, "page", page("one", "PORT", "8080",
		"  artifacts: [dist/**]", "  artifacts: [dist/**]\n  platforms: [linux/amd64, linux/arm64]",
		"cp /bin/busybox dist/", "cp /bin/busybox dist/ && echo $TARGETARCH > dist/www/arch")))
	if path(facts) != delivered {
		t.Fatalf("%s: %s", path(facts), facts[len(facts)-1].Reason)
	}
	built := facts[1]
	amd, arm := built.Platforms["linux/amd64"], built.Platforms["linux/arm64"]
	if len(built.Platforms) != 2 || amd.Digest == "" || arm.Digest == "" || amd.Digest == arm.Digest || built.Artifact != amd {
		t.Errorf("artifacts %+v, first %+v", built.Platforms, built.Artifact)
	}
	for _, blob := range []string{amd.Repository + "@" + amd.Digest, arm.Repository + "@" + arm.Digest} {
		if got := w.digest(blob); !strings.HasSuffix(blob, got) {
			t.Errorf("the registry has %s for %s", got, blob)
		}
	}
}
