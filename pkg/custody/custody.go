// Package custody is the chain of statements that a delivery leaves: what was tested is
// what was built, and what was built is what was released.
//
//	commit, tree, snapshot ◀─ tester ◀─ builder (artifact) ◀─ releaser (image)
//
// Each stage signs one statement with its own key and attaches it to what it made. The
// statement names the one before it by digest, so the last one stands for all. A
// [Clerk] refuses to go on from anything that a statement does not vouch for: each field
// of an event that a stage acts on is compared with what was signed. [Walk] follows the
// chain with public keys alone.
//
// The types of the statements are in-toto's and SLSA's; what those have no field for is
// in fields that begin with millrace_. A statement depends on nothing but the event that
// it is about, so work that is repeated signs the same bytes again.
package custody

import (
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/millrace-cd/millrace/pkg/attest"
	"github.com/millrace-cd/millrace/pkg/event"
)

// The types of the statements' predicates.
const (
	TestResult = "https://in-toto.io/attestation/test-result/v0.1"
	Provenance = "https://slsa.dev/provenance/v1"
	Release    = "https://in-toto.io/attestation/release/v0.1"
)

const (
	buildType = "https://github.com/millrace-cd/millrace/build/v1"
	builderID = "https://github.com/millrace-cd/millrace/builder/v1"
)

// Delivery is what each statement says of the delivery that it is part of.
type Delivery struct {
	event.Commit

	Previous string `json:"previous,omitempty"` // digest of the bundle with the statement before it
}

// Results are the names of steps by their ends.
type Results struct {
	Result string   `json:"result"` // PASSED, WARNED or FAILED
	Passed []string `json:"passedTests,omitempty"`
	Warned []string `json:"warnedTests,omitempty"` // failed, which does not count
	Failed []string `json:"failedTests,omitempty"`
}

// tested is the predicate of the tester.
type tested struct {
	Results

	Configuration []attest.Resource `json:"configuration"` // images by the names that the pipeline file has for them
	Environments  []string          `json:"millrace_environments,omitempty"`
	Reused        map[string]uint64 `json:"millrace_reused,omitempty"` // steps that passed in an earlier delivery with the same inputs
	Delivery      Delivery          `json:"millrace_delivery"`
}

// built is the predicate of the builder.
type built struct {
	Definition struct {
		Type         string            `json:"buildType"`
		Parameters   parameters        `json:"externalParameters"`
		Dependencies []attest.Resource `json:"resolvedDependencies"`
	} `json:"buildDefinition"`
	Run struct {
		Builder struct {
			ID string `json:"id"`
		} `json:"builder"`
		Metadata struct {
			Invocation string `json:"invocationId"` // <app>/<number of the delivery>
		} `json:"metadata"`
		Byproducts []attest.Resource `json:"byproducts,omitempty"` // bills of materials
	} `json:"runDetails"`
	Delivery Delivery `json:"millrace_delivery"`
}

type parameters struct {
	App        string `json:"app"`
	Repository string `json:"repository"`
	Commit     string `json:"commit"`
	Ref        string `json:"ref,omitempty"`
	Path       string `json:"path,omitempty"`
}

// released is the predicate of the releaser.
type released struct {
	PURL       string            `json:"purl"`
	Release    string            `json:"releaseId"` // <app>/<number of the delivery>
	Tags       []string          `json:"millrace_tags,omitempty"`
	Acceptance Results           `json:"millrace_acceptance"`
	Artifacts  []attest.Resource `json:"millrace_artifacts"`
	SBOMs      []attest.Resource `json:"millrace_sboms,omitempty"`
	Delivery   Delivery          `json:"millrace_delivery"`
}

// The names of resources that statements look each other's up by.
const (
	snapshotName = "snapshot"
	treeName     = "tree"
	sbomName     = "sbom"
)

func ofTested(t event.Tested) (attest.Statement, error) {
	p := tested{Results: results(t.Tests), Configuration: images(t.Images), Environments: t.Environments, Reused: reused(t.Tests), Delivery: Delivery{Commit: t.Commit}}
	return attest.New(TestResult, p,
		commit(t.Commit),
		attest.Resource{Name: treeName, Digest: map[string]string{"gitTree": t.Tree}},
		attest.Resource{Name: snapshotName, URI: t.Snapshot.Repository, Digest: attest.Digest(t.Snapshot.Digest)},
	)
}

func reused(steps []event.Step) map[string]uint64 {
	from := map[string]uint64{}
	for _, s := range steps {
		if s.Reused != nil {
			from[s.Name] = s.Reused.Number
		}
	}
	return from
}

// ofBuilt is about the artifacts; used are the names of the images that it was built in.
func ofBuilt(b event.Built, used []string) (attest.Statement, error) {
	p := built{Delivery: Delivery{Commit: b.Commit, Previous: b.TestStatement}}
	p.Definition.Type = buildType
	p.Definition.Parameters = parameters{App: b.App, Repository: b.Repository, Commit: b.Hash, Ref: b.Ref, Path: b.Path}
	pins := map[string]string{}
	for _, name := range used {
		pins[name] = b.Images[name]
	}
	p.Definition.Dependencies = append([]attest.Resource{
		commit(b.Commit),
		{Name: snapshotName, URI: b.Snapshot.Repository, Digest: attest.Digest(b.Snapshot.Digest)},
		{Name: "test-result", MediaType: attest.BundleType, Digest: attest.Digest(b.TestStatement)},
	}, images(pins)...)
	p.Run.Builder.ID, p.Run.Metadata.Invocation = builderID, id(b.Commit)
	p.Run.Byproducts = artifactSBOMs(b)
	return attest.New(Provenance, p, artifacts(b)...)
}

func ofReleased(r event.Released, tags []string) (attest.Statement, error) {
	name, digest, _ := strings.Cut(r.Image, "@")
	p := released{
		PURL: purl(name, digest), Release: id(r.Commit), Tags: tags, Acceptance: results(r.Acceptance), Artifacts: artifacts(r.Built), SBOMs: imageSBOMs(r),
		Delivery: Delivery{Commit: r.Commit, Previous: r.BuildStatement},
	}
	return attest.New(Release, p, attest.Resource{Name: name, Digest: attest.Digest(digest)})
}

func id(c event.Commit) string { return fmt.Sprintf("%s/%d", c.App, c.Number) }

func commit(c event.Commit) attest.Resource {
	uri := "git+" + c.Repository
	if c.Ref != "" {
		uri += "@" + c.Ref
	}
	return attest.Resource{Name: "commit", URI: uri, Digest: map[string]string{"gitCommit": c.Hash}}
}

// artifacts has the artifact of the builder's own platform first.
func artifacts(b event.Built) []attest.Resource {
	all := []attest.Resource{artifact(b.Artifact, "")}
	for _, p := range slices.Sorted(maps.Keys(b.Platforms)) {
		all = append(all, artifact(b.Platforms[p], p))
	}
	return all
}

func artifact(b event.Blob, platform string) attest.Resource {
	r := attest.Resource{Name: "artifact", URI: b.Repository, Digest: attest.Digest(b.Digest)}
	if platform != "" {
		r.Name += " " + platform
	}
	return r
}

// images are sorted by the names that the file has for them.
func images(pins map[string]string) []attest.Resource {
	all := make([]attest.Resource, 0, len(pins))
	for _, name := range slices.Sorted(maps.Keys(pins)) {
		pin := pins[name]
		r := attest.Resource{Name: name, Digest: attest.Digest(pin[strings.LastIndexByte(pin, '@')+1:])}
		if strings.Contains(pin, "@") {
			r.URI = pin
		}
		all = append(all, r)
	}
	return all
}

func artifactSBOMs(b event.Built) (all []attest.Resource) {
	all = sbom(all, b.Artifact.SBOM, "")
	for _, p := range slices.Sorted(maps.Keys(b.Platforms)) {
		all = sbom(all, b.Platforms[p].SBOM, p)
	}
	return all
}

func imageSBOMs(r event.Released) (all []attest.Resource) {
	for _, p := range slices.Sorted(maps.Keys(r.SBOMs)) {
		all = sbom(all, r.SBOMs[p], p)
	}
	return all
}

func sbom(all []attest.Resource, digest, platform string) []attest.Resource {
	if digest == "" {
		return all
	}
	return append(all, attest.Resource{Name: strings.TrimSpace(sbomName + " " + platform), MediaType: SBOMType, Digest: attest.Digest(digest)})
}

// results sums up steps. One that failed and may is a warning.
func results(steps []event.Step) Results {
	r := Results{Result: "PASSED"}
	for _, s := range steps {
		switch {
		case s.Result == event.ResultSkipped, s.SetUp && s.Result == event.ResultSuccess:
		case s.Result == event.ResultSuccess:
			r.Passed = append(r.Passed, s.Name)
		case s.Optional:
			r.Warned = append(r.Warned, s.Name)
		default:
			r.Failed = append(r.Failed, s.Name)
		}
	}
	switch {
	case len(r.Failed) > 0:
		r.Result = "FAILED"
	case len(r.Warned) > 0:
		r.Result = "WARNED"
	}
	return r
}

// purl is the package URL of an image, of type oci.
func purl(name, digest string) string {
	return "pkg:oci/" + url.PathEscape(path.Base(name)) + "@" + url.QueryEscape(digest) + "?repository_url=" + url.QueryEscape(name)
}
