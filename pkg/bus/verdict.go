package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Verdict looks up what is kept under a key, which is a token; nil where nothing is. It is
// the word of whoever may write to the bus.
func (b *Bus) Verdict(ctx context.Context, app, key string) ([]byte, error) {
	kv, err := b.js.KeyValue(ctx, verdicts)
	if err != nil {
		return nil, notProvisioned(verdicts, err)
	}
	entry, err := kv.Get(ctx, app+"."+key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read verdict: %w", err)
	}
	return entry.Value(), nil
}

// SetVerdict keeps a verdict for some weeks.
func (b *Bus) SetVerdict(ctx context.Context, app, key string, data []byte) error {
	kv, err := b.js.KeyValue(ctx, verdicts)
	if err != nil {
		return notProvisioned(verdicts, err)
	}
	if _, err := kv.Put(ctx, app+"."+key, data); err != nil {
		return fmt.Errorf("keep verdict: %w", err)
	}
	return nil
}

// UsedCache notes that a cache was used now.
func (b *Bus) UsedCache(ctx context.Context, name string) error {
	kv, err := b.js.KeyValue(ctx, caches)
	if err != nil {
		return notProvisioned(caches, err)
	}
	_, err = kv.Put(ctx, name, []byte(time.Now().UTC().Format(time.RFC3339)))
	return err
}

// CacheUses tells when each cache was last used.
func (b *Bus) CacheUses(ctx context.Context) (map[string]time.Time, error) {
	kv, err := b.js.KeyValue(ctx, caches)
	if err != nil {
		return nil, notProvisioned(caches, err)
	}
	watch, err := kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, fmt.Errorf("list uses of caches: %w", err)
	}
	defer func() { _ = watch.Stop() }()
	uses := map[string]time.Time{}
	for entry := range watch.Updates() {
		if entry == nil {
			break
		}
		uses[entry.Key()], _ = time.Parse(time.RFC3339, string(entry.Value()))
	}
	return uses, ctx.Err()
}

// Random is a token that nobody else has.
func Random() string { return strings.ToLower(rand.Text()[:12]) }
