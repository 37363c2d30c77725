package image

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Probe tells when a container is ready. One of HTTP, TCP and Run is set.
type Probe struct {
	HTTP   string        // :8080/path on the container, or a whole URL
	Status int           // wanted of HTTP; 0 means any from 200 to 399
	TCP    int           // port that accepts connections
	Run    []string      // lines of a script in the container that exits with 0
	Every  time.Duration // between tries, if longer than 10 s
	Within time.Duration // from the start until it is ready; 0 means a minute
}

const (
	healthEvery   = 10 * time.Second
	healthTimeout = 5 * time.Second
	healthWithin  = time.Minute
	healthRetries = 3
)

// Healthcheck is what an image may say of its health, as a HEALTHCHECK that asks the
// probe's question with the tools that the image has. An orchestrator kills a
// container whose check fails, so where it could not work there is none, and the
// reason in its place. has tells which paths are in the image, such as
// [Survey.Has].
func Healthcheck(p Probe, has func(path string) bool) (check *v1.HealthConfig, reason string) {
	if !has("/bin/sh") {
		return nil, "the image has no /bin/sh"
	}
	script, reason := p.script(func(tool string) bool {
		for _, dir := range []string{"/bin/", "/usr/bin/", "/usr/local/bin/", "/sbin/", "/usr/sbin/"} {
			if has(dir + tool) {
				return true
			}
		}
		return false
	})
	if reason != "" {
		return nil, reason
	}
	within := p.Within
	if within <= 0 {
		within = healthWithin
	}
	return &v1.HealthConfig{
		Test: []string{"CMD", "/bin/sh", "-ec", script}, Interval: max(p.Every, healthEvery), Timeout: healthTimeout,
		StartPeriod: within, Retries: healthRetries,
	}, ""
}

// script asks the question once.
func (p Probe) script(has func(tool string) bool) (script, reason string) {
	switch {
	case p.HTTP != "":
		return p.http(has)
	case p.TCP != 0 && has("nc"):
		return fmt.Sprintf("nc -z 127.0.0.1 %d", p.TCP), ""
	case p.TCP != 0:
		return "", "the image has no nc"
	case len(p.Run) > 0:
		return strings.Join(p.Run, "\n"), ""
	}
	return "", "the probe asks nothing that can be asked in the container"
}

// http asks by curl, which tells the status, or by wget, which does for success. The
// address is IPv4: "localhost" may be another one than the app listens on.
func (p Probe) http(has func(tool string) bool) (script, reason string) {
	target, reason := inside(p.HTTP)
	quoted := "'" + strings.ReplaceAll(target, "'", `'\''`) + "'"
	success := p.Status == 0 || p.Status == http.StatusOK
	switch {
	case reason != "":
		return "", reason
	case has("curl") && p.Status == 0:
		return "curl -fsk -o /dev/null " + quoted, ""
	case has("curl"):
		return fmt.Sprintf("test \"$(curl -sk -o /dev/null -w '%%{http_code}' %s)\" = %d", quoted, p.Status), ""
	case !has("wget"):
		return "", "the image has neither curl nor wget"
	case !success:
		return "", "wget does not tell the status, and the image has no curl"
	case strings.HasPrefix(target, "https:"):
		return "", "a check of https needs curl, and the image has none"
	}
	return "wget -q -O /dev/null " + quoted, ""
}

// inside is the URL as it is asked in the container.
func inside(question string) (target, reason string) {
	if strings.HasPrefix(question, ":") {
		question = "http://127.0.0.1" + question
	}
	u, err := url.Parse(question)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return "", "the probe is no URL"
	}
	host := u.Hostname()
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", "the probe asks another host, " + strconv.Quote(host)
	}
	if host == "localhost" {
		u.Host = strings.Replace(u.Host, host, "127.0.0.1", 1)
	}
	u.User, u.Fragment = nil, ""
	return u.String(), ""
}
