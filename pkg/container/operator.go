package container

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
)

// Operator is what every step and service gets that whoever runs the engine wants them
// to have, as companies behind a proxy do. Deployed apps do not get it.
type Operator struct {
	// Env is environment that the step's own goes before, such as HTTP_PROXY and
	// http_proxy.
	Env map[string]string

	// CADir is a directory, as the engine's host sees it, with a file
	// ca-certificates.crt of the authorities to trust. It is mounted read-only, and the
	// variables by which common programs find such a file point to it.
	CADir string

	// Mirrors say where images are pulled from instead of their registry: registry host
	// to mirror host, which may have a prefix, such as docker.io to
	// mirror.example.com/hub.
	Mirrors map[string]string
}

const (
	caDir  = "/run/millrace/ca"
	caFile = caDir + "/ca-certificates.crt"
)

// caVariables are read by, in turn: OpenSSL and Go, curl, Python's requests, Node, git,
// pip, AWS' programs.
func caVariables() []string {
	return []string{"SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO", "PIP_CERT", "AWS_CA_BUNDLE"}
}

// mirrorPattern is a host that no engine takes for the beginning of a name on Docker
// Hub, and a prefix.
var mirrorPattern = regexp.MustCompile(`^(localhost|[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)+|[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)*:[0-9]+)(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$`)

// check refuses settings with which no container could start.
func (o Operator) check() error {
	if _, err := environment(o.Env); err != nil {
		return err
	}
	if o.CADir != "" {
		if err := checkHostPath(o.CADir); err != nil {
			return fmt.Errorf("directory of certificates: %w", err)
		}
	}
	for from, to := range o.Mirrors {
		if from == "" || strings.Contains(from, "/") || !mirrorPattern.MatchString(to) {
			return fmt.Errorf("mirror %q of registry %q: want host[:port][/prefix] of a host[:port]", to, from)
		}
	}
	return nil
}

// env is the environment of a container whose own is given. Hosts are names that no
// proxy knows.
func (o Operator) env(own map[string]string, hosts []string) map[string]string {
	all := map[string]string{}
	if o.CADir != "" {
		for _, name := range caVariables() {
			all[name] = caFile
		}
	}
	maps.Copy(all, o.Env)
	if o.proxy() && len(hosts) > 0 {
		for _, name := range []string{"NO_PROXY", "no_proxy"} {
			all[name] = strings.TrimPrefix(all[name]+","+strings.Join(hosts, ","), ",")
		}
	}
	maps.Copy(all, own)
	return all
}

// proxy tells whether there is one.
func (o Operator) proxy() bool {
	return slices.ContainsFunc(slices.Collect(maps.Keys(o.Env)), func(name string) bool {
		return strings.HasSuffix(strings.ToLower(name), "_proxy")
	})
}

// addTo mounts the certificates. This is the only directory of the host that anything
// here mounts but overlays, and only the configuration names it.
func (o Operator) addTo(h *container.HostConfig, labels map[string]string) {
	if o.CADir == "" {
		return
	}
	h.Mounts = append(h.Mounts, mount.Mount{
		Type: mount.TypeVolume, Target: caDir, // read-only by its option: engines refuse the field on a volume without a name
		VolumeOptions: &mount.VolumeOptions{NoCopy: true, Labels: labels, DriverConfig: &mount.Driver{
			Name: "local", Options: map[string]string{"type": "none", "device": o.CADir, "o": "bind,ro"},
		}},
	})
}

// mirrored is the name of ref on the mirror of its registry, or ref.
func (o Operator) mirrored(ref string) string {
	full := fullName(ref)
	host, path, _ := strings.Cut(full, "/")
	mirror, ok := o.Mirrors[host]
	if !ok && host == "docker.io" {
		mirror, ok = o.Mirrors["index.docker.io"]
	}
	if !ok {
		return ref
	}
	return mirror + "/" + path + ref[len(withoutTag(ref)):]
}
