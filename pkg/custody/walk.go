package custody

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/millrace-cd/millrace/pkg/attest"
	"github.com/millrace-cd/millrace/pkg/event"
)

// The services that sign, and whose keys are trusted for it.
const (
	Tester   = "tester"
	Builder  = "builder"
	Releaser = "releaser"
)

// ErrBroken says that the chain does not hold, and the error at which link. Trying again
// does not mend it.
var ErrBroken = errors.New("the chain of custody is broken")

// Link is a statement that holds.
type Link struct {
	Service   string     // whose key signed it
	Key       attest.Key // that signed it
	Bundle    string     // digest of the signed bundle, sha256:<hex>
	Statement attest.Statement
	Delivery  Delivery
	Results   Results           // of the tests or of acceptance
	Images    []attest.Resource // by the pipeline file's names, of a tester's statement
	Inputs    []attest.Resource // that the statement before is about
	SBOMs     []attest.Resource // bills of materials of what the statement is about

	environments, tags []string
}

// After tells whether a delivery is newer than another one of the same app. Numbers begin
// anew when the bus does.
func (d Delivery) After(other Delivery) bool {
	return cmp.Or(d.Accepted.Compare(other.Accepted), cmp.Compare(d.Number, other.Number)) > 0
}

// Same tells whether both are of one delivery.
func (d Delivery) Same(c event.Commit) bool { return sameCommit(d.Commit, c) == nil }

// Walker follows the chain.
type Walker struct {
	Ring attest.Ring
	At   time.Time // when the keys have to be trusted
	// Bundle finds a bundle by its digest, of the statement that a service made.
	Bundle func(ctx context.Context, service, digest string) ([]byte, error)
}

// Walk verifies the statement that a service made of the things with these digests, and
// those before it, back to the commit. The links come in that order. The error wraps
// [ErrBroken], or is that of Bundle.
func (w Walker) Walk(ctx context.Context, service, bundle string, subjects ...string) (links []Link, err error) {
	for service != "" {
		link, err := w.link(ctx, service, bundle, subjects)
		if err != nil {
			return links, err
		}
		if len(links) > 0 {
			if err := link.follows(links[0]); err != nil {
				return links, broken(service, err)
			}
		}
		links = append(links, link)
		service, bundle, subjects = link.before()
	}
	return links, nil
}

// broken says where.
func broken(service string, err error) error {
	return fmt.Errorf("%w at the statement of the %s: %w", ErrBroken, service, err)
}

func (w Walker) link(ctx context.Context, service, bundle string, subjects []string) (Link, error) {
	if bundle == "" {
		return Link{}, broken(service, errors.New("there is none"))
	}
	data, err := w.Bundle(ctx, service, bundle)
	if err != nil {
		return Link{}, err
	}
	if got := DigestOf(data); got != bundle {
		return Link{}, broken(service, fmt.Errorf("it has the digest %s, not %.80s", got, bundle))
	}
	l := Link{Service: service, Bundle: bundle}
	if l.Statement, l.Key, err = w.Ring.Verify(data, service, w.At); err != nil {
		return Link{}, broken(service, err)
	}
	for _, s := range subjects {
		if !l.Statement.Covers(s) {
			return Link{}, broken(service, fmt.Errorf("it is not about %.80s", s))
		}
	}
	if err := l.read(); err != nil {
		return Link{}, broken(service, err)
	}
	return l, nil
}

// DigestOf is the digest of a document, sha256:<hex>.
func DigestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// read understands the predicate.
func (l *Link) read() error {
	types := map[string]string{Tester: TestResult, Builder: Provenance, Releaser: Release}
	if l.Statement.PredicateType != types[l.Service] {
		return fmt.Errorf("it is of type %.80q, not %s", l.Statement.PredicateType, types[l.Service])
	}
	var err error
	switch l.Service {
	case Tester:
		err = l.readTested()
	case Builder:
		err = l.readBuilt()
	default:
		err = l.readReleased()
	}
	if err != nil {
		return err
	}
	if l.Delivery.App == "" || l.Delivery.Number == 0 {
		return errors.New("it names no delivery")
	}
	return l.Results.passed()
}

// passed is nil where nothing failed that counts.
func (r Results) passed() error {
	if len(r.Failed) > 0 || r.Result != "PASSED" && r.Result != "WARNED" {
		return fmt.Errorf("it says that tests ended as %.40q", r.Result)
	}
	return nil
}

func (l *Link) readTested() error {
	var p tested
	if err := json.Unmarshal(l.Statement.Predicate, &p); err != nil {
		return err
	}
	l.Delivery, l.Results, l.Images, l.environments = p.Delivery, p.Results, p.Configuration, p.Environments
	if !slices.ContainsFunc(l.Statement.Subject, func(r attest.Resource) bool { return r.Digest["gitCommit"] == l.Delivery.Hash }) {
		return fmt.Errorf("it is not about commit %.80s", l.Delivery.Hash)
	}
	return nil
}

func (l *Link) readBuilt() error {
	var p built
	if err := json.Unmarshal(l.Statement.Predicate, &p); err != nil {
		return err
	}
	l.Delivery, l.Results.Result = p.Delivery, "PASSED"
	l.Inputs = first(p.Definition.Dependencies, snapshotName)
	l.SBOMs = p.Run.Byproducts
	return l.hasInputs()
}

func (l *Link) readReleased() error {
	var p released
	if err := json.Unmarshal(l.Statement.Predicate, &p); err != nil {
		return err
	}
	l.Delivery, l.Results, l.Inputs, l.SBOMs, l.tags = p.Delivery, p.Acceptance, p.Artifacts, p.SBOMs, p.Tags
	return l.hasInputs()
}

// hasInputs makes sure that the chain goes on: a statement that names nothing that it
// was made of would be about anything.
func (l *Link) hasInputs() error {
	if len(l.Inputs) == 0 {
		return errors.New("it does not say what it was made of")
	}
	return nil
}

// before is the statement before this one, and what that has to be about.
func (l *Link) before() (service, bundle string, subjects []string) {
	switch l.Service {
	case Releaser:
		service = Builder
	case Builder:
		service = Tester
	default:
		return "", "", nil
	}
	for _, r := range l.Inputs {
		subjects = append(subjects, "sha256:"+r.Digest["sha256"])
	}
	return service, l.Delivery.Previous, subjects
}

// follows tells whether both are of the same delivery.
func (l *Link) follows(after Link) error {
	return sameCommit(after.Delivery.Commit, l.Delivery.Commit)
}

// first is the first resource of that name: images that come later may be called so too.
func first(all []attest.Resource, name string) []attest.Resource {
	for i, r := range all {
		if r.Name == name {
			return all[i : i+1]
		}
	}
	return nil
}

// sameCommit compares what is known of the commit, and says what is not the same.
func sameCommit(want, got event.Commit) error {
	got.Accepted, want.Accepted = got.Accepted.UTC(), want.Accepted.UTC()
	got.Time, want.Time = got.Time.UTC(), want.Time.UTC()
	w, g := reflect.ValueOf(want), reflect.ValueOf(got)
	for i := range w.NumField() {
		if !reflect.DeepEqual(w.Field(i).Interface(), g.Field(i).Interface()) {
			name, _, _ := strings.Cut(w.Type().Field(i).Tag.Get("json"), ",")
			return differs(name, w.Field(i).Interface(), g.Field(i).Interface())
		}
	}
	return nil
}

func differs(what string, want, got any) error {
	return fmt.Errorf("its %s is %s, not %s", what, short(got), short(want))
}

// short is a value for people, whoever wrote it.
func short(v any) string {
	text := fmt.Sprintf("%v", v)
	if data, err := json.Marshal(v); err == nil {
		text = string(data)
	}
	return fmt.Sprintf("%.200s", strings.ToValidUTF8(text[:min(len(text), 200)], ""))
}
