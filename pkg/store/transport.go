package store

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// maxAnswer bounds what a registry may say in one answer that is not a blob:
	// manifests, lists of tags and of attachments. Real ones have some KiB.
	maxAnswer = 4 << 20
	// maxWait is how long a registry that is busy is waited for; a longer wait is
	// the caller's to plan.
	maxWait = 30 * time.Second
)

// careful is the transport below the registry client. It adds what the client
// lacks: no plain http but where that is allowed, the wait that a busy registry
// asks for, and a limit for answers that are read into memory.
type careful struct {
	names names
	busy  *busy
	next  http.RoundTripper
}

func (c careful) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := c.admit(r); err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, err
	}
	res, err := c.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if err := c.busy.note(r.URL.Host, res); err != nil {
		_ = res.Body.Close()
		return nil, err
	}
	if small(r) {
		res.Body = &bounded{ReadCloser: res.Body, left: maxAnswer, what: r.Method + " " + r.URL.Host + r.URL.Path}
	}
	return res, nil
}

// admit lets a request go when it may.
func (c careful) admit(r *http.Request) error {
	if r.URL.Scheme != "https" && !c.names.plain(r.URL.Host) {
		return fmt.Errorf("plain http to %s is not allowed, set the registry insecure if that is meant", r.URL.Host)
	}
	return c.busy.wait(r.Context(), r.URL.Host)
}

// small tells whether the answer is one that is read as a whole.
func small(r *http.Request) bool {
	path := strings.Split(r.URL.Path, "/")
	if len(path) < 3 || path[1] != "v2" { // /v2/ is a question of its own
		return false
	}
	kind := path[len(path)-2]
	return kind != "blobs" && kind != "uploads"
}

// bounded is a body that ends with an error at its limit.
type bounded struct {
	io.ReadCloser
	left int64
	what string
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("%s: %w: the answer has more than %d bytes", b.what, ErrTooLarge, maxAnswer)
	}
	return n, err
}

// busy remembers which hosts do not want to be asked, and until when. The client
// has its own idea of when to ask again, so its requests are held back here.
type busy struct {
	mu    sync.Mutex
	until map[string]time.Time
}

// wait returns when the host may be asked.
func (b *busy) wait(ctx context.Context, host string) error {
	b.mu.Lock()
	until, ok := b.until[host]
	if ok && !until.After(time.Now()) {
		delete(b.until, host)
	}
	b.mu.Unlock()
	if left := time.Until(until); ok && left > 0 {
		timer := time.NewTimer(left)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// note reads from an answer when to ask again. The error says that this is too
// late for us.
func (b *busy) note(host string, res *http.Response) error {
	if res.StatusCode != http.StatusTooManyRequests && res.StatusCode != http.StatusServiceUnavailable {
		return nil
	}
	after := retryAfter(res.Header.Get("Retry-After"), time.Now())
	switch {
	case after <= 0:
		return nil
	case after > maxWait:
		return fmt.Errorf("registry %s answers %s and wants to be asked again in %s", host, res.Status, after.Round(time.Second))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.until[host] = time.Now().Add(after)
	return nil
}

// retryAfter reads the header's two forms: seconds, or a date.
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(header); err == nil {
		const day = 24 * 60 * 60
		return time.Duration(min(max(seconds, 0), day)) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return at.Sub(now)
	}
	return 0
}
