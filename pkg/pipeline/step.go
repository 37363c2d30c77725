package pipeline

import "time"

// Step is one container run: a test, an acceptance test, and the core of [Build].
// The defaults of the file are applied.
type Step struct {
	Name     string
	Image    string
	Run      []string `vars:"no"` // commands, to be joined by newlines into one script
	Shell    []string // what runs the script, default /bin/sh -ec
	Env      map[string]string
	Secrets  map[string]string // name in the container → name at the source
	Services map[string]*Service
	Cache    []Cache
	Timeout  time.Duration // default 30m

	ServiceOrder []string // names in Services, in the file's order

	Retries   int // 0 to 5
	Resources Resources
	Workdir   string // "" means the workspace
	User      string // name, uid or uid:gid; "" means the image's
	Network   bool   // default true
	Sandbox   string // practical (default) or strict

	Needs      []string // steps of the same group that must pass before
	Paths      []string // globs of the declared inputs; none means the whole tree
	Matrix     map[string][]string
	Exclude    []map[string]string
	Reports    Reports
	Quarantine []string // globs of test names whose failure does not count
	Optional   bool     // its failure does not count
}

// Build makes the artifact.
type Build struct {
	Step
	Artifacts    []string // globs relative to the root of the tree, at least one
	Platforms    []string // os/arch[/variant]; none means the engine's
	Reproducible bool     // build twice and compare
}

// Service is a container beside a step, known there by its name as host.
type Service struct {
	Name      string
	Image     string
	Env       map[string]string
	Secrets   map[string]string // name in the container → name at the source
	Command   []string
	Ready     *Probe   // nil means the image's HEALTHCHECK, else its first port
	Tmpfs     []string // absolute paths
	Resources Resources
}

// Probe tells whether something is ready. Exactly one of HTTP, TCP, Run and Log
// is set.
type Probe struct {
	HTTP   string        // :8080/healthz or a full URL
	TCP    int           // port
	Run    []string      `vars:"no"`
	Log    string        `vars:"no"` // regular expression
	Status int           // that HTTP must answer; 0 means any of 2xx
	Every  time.Duration // 0 means as the engine likes
	Within time.Duration // default 60s
}

// Resources are limits; 0 means the operator's default.
type Resources struct {
	CPU    float64 // cores
	Memory int64   // bytes
	Pids   int64
}

// Cache is a directory kept from one delivery to the next.
type Cache struct {
	Path string   // absolute, in the container
	Key  []string // files whose content is the key; none means one cache for the app
}

// Reports are files that a step writes.
type Reports struct {
	JUnit    string // glob
	Coverage Coverage
	Files    []string // globs
}

// Coverage is a report with a gate.
type Coverage struct {
	File string  // "" means none
	Min  float64 // percent
}
