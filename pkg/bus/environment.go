package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Environment says what runs in an environment: the fence of its deployments.
// A deployment with a smaller number than the record's is superseded.
type Environment struct {
	App     string    `json:"app"`
	Name    string    `json:"name"`
	Number  uint64    `json:"number"`            // of the newest delivery that took the environment
	Phase   string    `json:"phase"`             // of that delivery: PhaseDeploying, PhaseDeployed or PhaseFailed
	Current Running   `json:"current"`           // what runs there; stays when a newer deployment fails
	History []Running `json:"history,omitempty"` // what ran before, newest first, at most 10

	revision uint64
}

// Phases of an [Environment].
const (
	PhaseDeploying = "deploying"
	PhaseDeployed  = "deployed"
	PhaseFailed    = "failed"
)

// Running is a release in an environment.
type Running struct {
	Number    uint64    `json:"number,omitempty"`
	Commit    string    `json:"commit,omitempty"`
	Image     string    `json:"image,omitempty"` // public name@sha256:…
	Container string    `json:"container,omitempty"`
	URL       string    `json:"url,omitempty"`
	Since     time.Time `json:"since,omitzero"`
}

// maxHistory is how many releases a record remembers.
const maxHistory = 10

// Replace makes r what runs, and what ran the newest of the history.
func (e Environment) Replace(r Running) Environment {
	if e.Current.Number != 0 && e.Current.Number != r.Number {
		e.History = append([]Running{e.Current}, e.History...)
		e.History = e.History[:min(len(e.History), maxHistory)]
	}
	e.Number, e.Phase, e.Current = r.Number, PhaseDeployed, r
	return e
}

// ErrConflict says that somebody changed the record first: read it again.
var ErrConflict = errors.New("the environment's record was changed meanwhile")

// Environment reads a record; the zero one where nothing was ever deployed.
func (b *Bus) Environment(ctx context.Context, app, name string) (Environment, error) {
	empty := Environment{App: app, Name: name}
	kv, err := b.js.KeyValue(ctx, environments)
	if err != nil {
		return empty, notProvisioned(environments, err)
	}
	entry, err := kv.Get(ctx, app+"."+name)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return empty, nil
	}
	if err != nil {
		return empty, fmt.Errorf("read environment %s of %s: %w", name, app, err)
	}
	return environment(entry)
}

// SetEnvironment stores e if nobody did since e was read, and returns it with its
// new revision; otherwise [ErrConflict].
func (b *Bus) SetEnvironment(ctx context.Context, e Environment) (Environment, error) {
	kv, err := b.js.KeyValue(ctx, environments)
	if err != nil {
		return e, notProvisioned(environments, err)
	}
	data, err := json.Marshal(e)
	if err != nil {
		return e, fmt.Errorf("encode environment: %w", err)
	}
	revision, err := kv.Update(ctx, e.App+"."+e.Name, data, e.revision)
	if taken(err) || errors.Is(err, jetstream.ErrKeyExists) {
		return e, fmt.Errorf("environment %s of %s: %w", e.Name, e.App, ErrConflict)
	}
	if err != nil {
		return e, fmt.Errorf("write environment %s of %s: %w", e.Name, e.App, err)
	}
	e.revision = revision
	return e, nil
}

// Environments lists all records.
func (b *Bus) Environments(ctx context.Context) ([]Environment, error) {
	kv, err := b.js.KeyValue(ctx, environments)
	if err != nil {
		return nil, notProvisioned(environments, err)
	}
	watch, err := kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, fmt.Errorf("list environments: %w", err)
	}
	defer func() { _ = watch.Stop() }()
	var all []Environment
	for entry := range watch.Updates() {
		if entry == nil { // all that was there has come
			break
		}
		e, err := environment(entry)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, ctx.Err()
}

func environment(entry jetstream.KeyValueEntry) (Environment, error) {
	var e Environment
	if err := json.Unmarshal(entry.Value(), &e); err != nil {
		return e, fmt.Errorf("record of %s: %w", entry.Key(), err)
	}
	e.revision = entry.Revision()
	return e, nil
}
