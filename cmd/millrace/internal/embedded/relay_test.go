package embedded

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

// relay stands before a registry. It keeps what was asked for, and holds requests or
// their answers for as long as who asked lives.
type relay struct {
	*httptest.Server

	mu    sync.Mutex
	seen  []request
	holds []*hold
}

// request is one that the registry has answered.
type request struct {
	method, path, repository string
	reference                string // of a manifest: tag or digest
	blob                     string // digest of one that was sent
	image                    bool   // a manifest was sent, and it is of an image: attachments are not
	engine                   bool   // the engine asked, not one of us
	login                    bool   // one was shown
	status                   int
}

func (r request) byDigest() bool { return strings.HasPrefix(r.reference, "sha256:") }

// hold stops one request: before the registry gets it, or after it has answered.
type hold struct {
	match   func(request) bool
	after   bool
	lose    bool // says 201 in the registry's place, and goes on
	reached chan struct{}
}

func newHold(match func(request) bool) *hold {
	return &hold{match: match, reached: make(chan struct{})}
}

type requestKey struct{}

type passing struct {
	request request
	hold    *hold
}

func newRelay(t *testing.T, registry string) *relay {
	t.Helper()
	r := &relay{}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(&url.URL{Scheme: "http", Host: registry})
			p.Out.Host = p.In.Host // registries make locations of it
		},
		ModifyResponse: r.answered,
		ErrorHandler:   func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:       slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo),
	}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) { r.serve(w, in, proxy) }))
	t.Cleanup(r.Close)
	return r
}

func (r *relay) host() string { return strings.TrimPrefix(r.URL, "http://") }

func (r *relay) serve(w http.ResponseWriter, in *http.Request, proxy http.Handler) {
	q := request{method: in.Method, path: in.URL.Path, engine: strings.HasPrefix(in.UserAgent(), "docker/"), login: in.Header.Get("Authorization") != ""}
	q.repository, q.reference, _ = strings.Cut(strings.TrimPrefix(q.path, "/v2/"), "/manifests/")
	if strings.Contains(q.path, "/blobs/uploads/") {
		q.blob = in.URL.Query().Get("digest")
	}
	if in.Method == http.MethodPut && q.reference != "" {
		body, err := io.ReadAll(in.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		q.image = isImage(body)
		in.Body = io.NopCloser(bytes.NewReader(body))
	}
	h := r.held(q)
	switch {
	case h != nil && h.lose:
		close(h.reached)
		w.WriteHeader(http.StatusCreated)
		return
	case h != nil && !h.after:
		close(h.reached)
		<-in.Context().Done()
		panic(http.ErrAbortHandler)
	}
	proxy.ServeHTTP(w, in.WithContext(context.WithValue(in.Context(), requestKey{}, passing{q, h})))
}

// isImage tells an image's manifest from that of an attachment or another artifact.
func isImage(body []byte) bool {
	var m struct {
		Subject *struct{}                  `json:"subject"`
		Config  struct{ MediaType string } `json:"config"`
	}
	err := json.Unmarshal(body, &m)
	return err == nil && m.Subject == nil && (strings.Contains(m.Config.MediaType, "image.config") || strings.Contains(m.Config.MediaType, "container.image"))
}

// held is the hold for a request. It holds once.
func (r *relay) held(q request) *hold {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, h := range r.holds {
		if h.match(q) {
			r.holds = slices.Delete(r.holds, i, i+1)
			return h
		}
	}
	return nil
}

// answered notes what the registry said before anybody hears it.
func (r *relay) answered(res *http.Response) error {
	p, _ := res.Request.Context().Value(requestKey{}).(passing)
	p.request.status = res.StatusCode
	r.mu.Lock()
	r.seen = append(r.seen, p.request)
	r.mu.Unlock()
	if p.hold == nil {
		return nil
	}
	close(p.hold.reached)
	<-res.Request.Context().Done()
	return res.Request.Context().Err()
}

func (r *relay) hold(h *hold) *hold {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.holds = append(r.holds, h)
	return h
}

// requests are those that match, in the order of their answers.
func (r *relay) requests(match func(request) bool) (found []request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, q := range r.seen {
		if match(q) {
			found = append(found, q)
		}
	}
	return found
}

func (r *relay) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = nil
}

// images are the digests of the images that were stored.
func (r *relay) images(repository string) (digests []string) {
	for _, q := range r.requests(puts(repository, true)) {
		if q.status < 300 {
			digests = append(digests, q.reference)
		}
	}
	slices.Sort(digests)
	return slices.Compact(digests)
}

// puts matches the requests that store an image.
func puts(repository string, byDigest bool) func(request) bool {
	return func(q request) bool {
		return q.method == http.MethodPut && q.repository == repository && q.image && q.byDigest() == byDigest
	}
}

// blobs are the digests of those that were sent.
func (r *relay) blobs() (digests []string) {
	for _, q := range r.requests(func(q request) bool { return q.blob != "" && q.status < 300 }) {
		digests = append(digests, q.blob)
	}
	return digests
}
