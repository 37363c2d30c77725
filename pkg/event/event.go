// Package event holds the facts that a delivery is made of.
//
// A commit grows as it travels: each event embeds the one before it and adds what
// its stage found out. So the last message tells the whole story, and no stage
// ever has to look anything up.
//
//	Commit → Tested → Built → Released → Deployed (one for each environment)
//
// Events are plain data, written once as JSON of at most [MaxBytes]. They only
// ever gain fields, since a message on the bus outlives the code that wrote it.
// A field that marshals itself (such as time.Time) is named, never embedded, or it
// would take over the whole event.
package event

import "time"

// MaxBytes is the size of the largest event, in bytes.
const MaxBytes = 64 << 10

// The stages of a delivery, in their order. They are tokens of subjects.
const (
	StageTest    = "test"
	StageBuild   = "build"
	StageRelease = "release"
	StageDeploy  = "deploy"
)

// Event is a fact with a place in the delivery.
type Event interface {
	// Stage is the one whose success the event tells; "" for a commit. It
	// depends on the type alone, so the zero value knows it.
	Stage() string
	// Origin is the commit that began the delivery.
	Origin() Commit
}

// Commit starts a delivery: one trip of one commit of one app.
//
// Who publishes it gives Repository and Commit; App and Number are known from
// where it was stored and always overwritten with that.
type Commit struct {
	App    string `json:"app,omitempty"`    // DNS label
	Number uint64 `json:"number,omitempty"` // of the delivery: the commit event's stream sequence

	Repository string    `json:"repository"`     // URL that git can fetch
	Hash       string    `json:"commit"`         // 40 or 64 lower-case hex digits
	Ref        string    `json:"ref,omitempty"`  // refs/heads/… or refs/tags/…
	Path       string    `json:"path,omitempty"` // directory of millrace.yaml, relative to the root
	Author     string    `json:"author,omitempty"`
	Message    string    `json:"message,omitempty"` // its first line
	Time       time.Time `json:"time,omitzero"`     // committer's time
	Accepted   time.Time `json:"accepted,omitzero"` // when the commit event was stored: the delivery's begin; overwritten as well

	Fresh     bool `json:"fresh,omitempty"`     // run every step, reuse no verdict
	Untrusted bool `json:"untrusted,omitempty"` // a fork's or pull request's: no secrets, no cache writes, no delivery past test
}

// Blob is something stored in the registry: a snapshot or an artifact.
type Blob struct {
	Repository string `json:"repository"` // as the public sees it, without digest
	Digest     string `json:"digest"`     // of its manifest, sha256:<hex>
	Files      int    `json:"files"`
	Bytes      int64  `json:"bytes"`          // of the files' contents
	SBOM       string `json:"sbom,omitempty"` // of an artifact: digest of its bill of materials
}

// Step is what became of one container run.
type Step struct {
	Name     string  `json:"name"`
	Result   string  `json:"result"` // success, failure, error, skip
	Reason   string  `json:"reason,omitempty"`
	ExitCode int     `json:"exitCode,omitempty"`
	Seconds  float64 `json:"seconds"`
	Optional bool    `json:"optional,omitempty"` // its failure does not count
	SetUp    bool    `json:"setUp,omitempty"`    // of a release: it made the image, or what that needs to start; no test

	Tries    int       `json:"tries,omitempty"` // where it took more than one
	Flaky    bool      `json:"flaky,omitempty"` // it failed, and then passed with the same input
	Reused   *Verdict  `json:"reused,omitempty"`
	Tests    *Tests    `json:"tests,omitempty"`
	Coverage *Coverage `json:"coverage,omitempty"`
	Reports  *Blob     `json:"reports,omitempty"` // the files that the step keeps, as one tar
}

// Verdict says from which delivery a step's success was taken, since its inputs were
// the same.
type Verdict struct {
	Number uint64 `json:"number"`
	Commit string `json:"commit"`
}

// Tests sums up what a step's reports say.
type Tests struct {
	Passed      int     `json:"passed"`
	Failed      int     `json:"failed"`
	Skipped     int     `json:"skipped"`
	Quarantined int     `json:"quarantined,omitempty"` // failed, but that does not count; not in Failed
	Seconds     float64 `json:"seconds,omitempty"`
	Failures    []Case  `json:"failures,omitempty"` // the first ones, the quarantined too
}

// Case is a test that failed.
type Case struct {
	Name        string `json:"name"`
	Message     string `json:"message,omitempty"`
	File        string `json:"file,omitempty"`
	Line        int    `json:"line,omitempty"`
	Quarantined bool   `json:"quarantined,omitempty"`
}

// Coverage is what share of the code the tests ran, in percent.
type Coverage struct {
	Percent float64 `json:"percent"`
	Wanted  float64 `json:"wanted,omitempty"`
}

// Results of a [Step]; names of OpenTelemetry's cicd.pipeline.task.run.result.
const (
	ResultSuccess = "success"
	ResultFailure = "failure"
	ResultError   = "error"
	ResultSkipped = "skip"
)

// Tested says that the tests of a commit passed.
type Tested struct {
	Commit
	Tree         string            `json:"tree,omitempty"`         // git's id of the tree
	Snapshot     Blob              `json:"snapshot,omitzero"`      // the tree, as the tests saw it
	Images       map[string]string `json:"images,omitempty"`       // as the file names them → pinned
	Environments []string          `json:"environments,omitempty"` // of the file's deploy, in order
	Tests        []Step            `json:"tests,omitempty"`
	// TestStatement is what the tester signed: the digest of a bundle that is attached to
	// the snapshot. So are the others, to the artifact and the image.
	TestStatement string `json:"testStatement,omitempty"`
}

// Built says that an artifact was made of a tested snapshot, and of nothing else.
type Built struct {
	Tested
	Artifact Blob   `json:"artifact,omitzero"`
	Build    []Step `json:"build,omitempty"`
	// Platforms has an artifact for each platform that the file asks for; Artifact is
	// the one of the builder's own platform, else the first.
	Platforms      map[string]Blob `json:"platforms,omitempty"`
	BuildStatement string          `json:"buildStatement,omitempty"`
}

// Released says that an image with the artifact passed its acceptance tests and
// got its tags.
type Released struct {
	Built
	Image      string   `json:"image,omitempty"` // public name@sha256:…
	Tags       []string `json:"tags,omitempty"`
	Acceptance []Step   `json:"acceptance,omitempty"`

	SBOMs            map[string]string `json:"sboms,omitempty"`           // by platform: digest of the image's bill of materials
	Vulnerabilities  map[string]int    `json:"vulnerabilities,omitempty"` // by severity, as the scanner says; without those that the file ignores
	ReleaseStatement string            `json:"releaseStatement,omitempty"`
}

// Deployed says that a release runs in an environment.
type Deployed struct {
	Released
	Environment string `json:"environment,omitempty"`
	Previous    string `json:"previous,omitempty"` // image that ran there before, name@sha256:…
	Container   string `json:"container,omitempty"`
	URL         string `json:"url,omitempty"`
}

// Stage is "": a commit is no stage's result.
func (Commit) Stage() string { return "" }

// Stage is [StageTest].
func (Tested) Stage() string { return StageTest }

// Stage is [StageBuild].
func (Built) Stage() string { return StageBuild }

// Stage is [StageRelease].
func (Released) Stage() string { return StageRelease }

// Stage is [StageDeploy].
func (Deployed) Stage() string { return StageDeploy }

// Origin is promoted to every event that embeds a Commit.
func (c Commit) Origin() Commit { return c }

// Short is the first seven digits of the commit's hash.
func (c Commit) Short() string { return c.Hash[:min(7, len(c.Hash))] }
