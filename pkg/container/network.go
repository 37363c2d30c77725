package container

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/network"
)

// makeNetwork makes a bridge network, or finds the one of that name. It is not
// interrupted half way by the end of ctx, so that who removes it does so after it.
func (e *Engine) makeNetwork(ctx context.Context, name string, opts network.CreateOptions) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTimeout)
	defer cancel()
	opts.Driver = "bridge"
	created, err := e.api.NetworkCreate(ctx, name, opts)
	if err == nil {
		return created.ID, nil
	}
	if errdefs.IsConflict(err) {
		if found, err := e.api.NetworkInspect(ctx, name, network.InspectOptions{}); err == nil {
			return found.ID, nil
		}
	}
	return "", fmt.Errorf("create network %s: %w", name, err)
}

// removeNetwork removes a network. That there is none is no error.
func (e *Engine) removeNetwork(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	if err := e.api.NetworkRemove(ctx, id); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove network %.12s: %w", id, err)
	}
	return nil
}

// reach counts who needs this process's own container on which network.
type reach struct {
	mu    sync.Mutex
	users map[string]int
	ours  map[string]bool // networks that we joined and have to leave
}

// join makes addresses on a network reachable from here until leave is called.
// A process on the engine's host reaches them anyway. The end of ctx does not interrupt
// it half way.
func (e *Engine) join(ctx context.Context, net string) (leave func(), err error) {
	if e.self == "" {
		return func() {}, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTimeout)
	defer cancel()
	r := &e.reach
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.users == nil {
		r.users, r.ours = map[string]int{}, map[string]bool{}
	}
	if r.users[net] == 0 {
		err := e.api.NetworkConnect(ctx, net, e.self, nil)
		if err != nil && !strings.Contains(err.Error(), "already exists") {
			return nil, fmt.Errorf("join network %.12s: %w", net, err)
		}
		r.ours[net] = err == nil
	}
	r.users[net]++
	return sync.OnceFunc(func() { e.leave(ctx, net) }), nil
}

// leave undoes one join.
func (e *Engine) leave(ctx context.Context, net string) {
	r := &e.reach
	r.mu.Lock()
	defer r.mu.Unlock()
	r.users[net]--
	if r.users[net] > 0 {
		return
	}
	ours := r.ours[net]
	delete(r.users, net)
	delete(r.ours, net)
	if !ours {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	if err := e.api.NetworkDisconnect(ctx, net, e.self, true); err != nil && !errdefs.IsNotFound(err) {
		e.trouble(fmt.Errorf("leave network %.12s: %w", net, err))
	}
}

// findSelf is the ID of the container that this process runs in, given its host
// name or ID; "" for a process on the engine's host or in its network.
func (e *Engine) findSelf(ctx context.Context, name string) string {
	// Docker's host names are short IDs; a container that merely has the name of
	// this host is not meant.
	if len(name) < 12 {
		return ""
	}
	found, err := e.api.ContainerInspect(ctx, name)
	if err != nil || found.ContainerJSONBase == nil || !strings.HasPrefix(found.ID, name) {
		return ""
	}
	if found.HostConfig != nil && found.HostConfig.NetworkMode.IsHost() {
		return ""
	}
	return found.ID
}

// ErrClosed says that an engine or session was closed before the work was done.
var ErrClosed = errors.New("closed")
