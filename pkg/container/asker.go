package container

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
)

// asker tries once. Its answer or error is what people see.
type asker func(ctx context.Context) (answer string, err error)

// maxAnswer is how much of an answer is kept, in bytes.
const maxAnswer = 1 << 10

// asker makes p's way to ask r. Done ends what it needs.
func (r *Running) asker(ctx context.Context, p Probe) (try asker, done func(), err error) {
	done = func() {}
	switch {
	// A try may be over and its command go on: two at a time would be worse. So a command
	// ends with ctx and not with its try.
	case len(p.argv) > 0:
		return func(context.Context) (string, error) { return r.exec(ctx, p.argv) }, done, nil
	case len(p.Run) > 0:
		argv := []string{"/bin/sh", "-ec", strings.Join(p.Run, "\n")}
		return func(context.Context) (string, error) { return r.exec(ctx, argv) }, done, nil
	case p.Log != "":
		return r.askLog(ctx, p.Log)
	case strings.Contains(p.HTTP, "://"):
		return askHTTP(p.HTTP, p.Status), done, nil
	case p.HTTP == "" && p.TCP == 0:
		return nil, nil, fmt.Errorf("%w: a probe that asks nothing", ErrStep)
	}
	network, ip, lost := r.address()
	if lost != nil {
		// It may have ended before anybody looked; the watch tells of that.
		return func(context.Context) (string, error) { return "", lost }, done, nil
	}
	if done, err = r.e.join(ctx, network); err != nil {
		return nil, nil, err
	}
	if p.TCP != 0 {
		return r.ifItself(network, ip, askTCP(net.JoinHostPort(ip, strconv.Itoa(p.TCP)))), done, nil
	}
	port, path, _ := strings.Cut(strings.TrimPrefix(p.HTTP, ":"), "/")
	return r.ifItself(network, ip, askHTTP("http://"+net.JoinHostPort(ip, cmp.Or(port, "80"))+"/"+path, p.Status)), done, nil
}

// ifItself doubts an answer: when a container ends, its address goes to the next
// one, which may answer in its place.
func (r *Running) ifItself(network, ip string, try asker) asker {
	return func(ctx context.Context) (string, error) {
		answer, err := try(ctx)
		if err != nil {
			return "", err
		}
		now, err := r.e.Find(context.WithoutCancel(ctx), r.ID)
		if err != nil {
			return "", err
		}
		if now.State != "running" || now.Addresses[network] != ip {
			return "", errors.New("another container has its address")
		}
		return answer, nil
	}
}

// askTCP succeeds when something listens.
func askTCP(address string) asker {
	return func(ctx context.Context) (string, error) {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return "", err
		}
		return "connected", c.Close()
	}
}

// askHTTP succeeds when target answers with status.
func askHTTP(target string, status int) asker {
	return func(ctx context.Context) (string, error) {
		browser := &http.Client{
			// A transport goes on connecting when its request is over, for minutes where
			// nobody answers; not with the context of the try.
			Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(_ context.Context, network, address string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, address)
			}},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, http.NoBody)
		if err != nil {
			return "", err
		}
		response, err := browser.Do(request)
		if err != nil {
			if inner, ok := errors.AsType[*url.Error](err); ok {
				err = inner.Err // the target stands beside it already
			}
			return "", err
		}
		defer func() { _ = response.Body.Close() }()
		body, _ := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
		answer := strings.TrimSpace(response.Status + " " + string(body))
		if status == response.StatusCode || status == 0 && response.StatusCode >= 200 && response.StatusCode < 400 {
			return answer, nil
		}
		return "", errors.New(answer)
	}
}

// execTry is the least time that a command gets: starting it takes the engine a
// while, and it cannot be called back.
const execTry = 10 * time.Second

// exec runs a command in the container; an exit code other than 0 is an error.
func (r *Running) exec(ctx context.Context, argv []string) (string, error) {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, execTry)
	defer cancel()
	created, err := r.e.api.ContainerExecCreate(ctx, r.ID, container.ExecOptions{Cmd: argv, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return "", err
	}
	conn, err := r.e.api.ContainerExecAttach(ctx, created.ID, container.ExecAttachOptions{})
	if err != nil {
		return "", err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, conn.Close)()
	var out tail
	_, err = stdcopy.StdCopy(&out, &out, conn.Reader)
	answer := strings.TrimSpace(out.String())
	if err != nil {
		return "", fmt.Errorf("no end after %s: %s", time.Since(begin).Round(time.Second), answer)
	}
	found, err := r.e.api.ContainerExecInspect(ctx, created.ID)
	if err != nil {
		return "", err
	}
	if found.ExitCode != 0 {
		return "", fmt.Errorf("exit code %d: %s", found.ExitCode, answer)
	}
	return answer, nil
}

// tail keeps the end of what is written to it.
type tail struct{ bytes.Buffer }

func (t *tail) Write(b []byte) (int, error) {
	_, _ = t.Buffer.Write(b) // never fails
	if over := t.Len() - maxAnswer; over > 0 {
		t.Next(over)
	}
	return len(b), nil
}

// askLog succeeds when a line that the container printed matches.
func (r *Running) askLog(ctx context.Context, pattern string) (asker, func(), error) {
	want, err := regexp.Compile(pattern)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: probe of the log: %w", ErrStep, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	lines := &lineMatcher{want: want, found: make(chan struct{})}
	var reader sync.WaitGroup
	reader.Go(func() {
		_ = r.Follow(ctx, lines) // its end is the container's, which the watch tells
		lines.end()
	})
	try := func(ctx context.Context) (string, error) {
		select {
		case <-lines.found:
			return "found", nil
		case <-ctx.Done():
			return "", errors.New("no such line yet")
		}
	}
	return try, func() { cancel(); reader.Wait() }, nil
}

// lineMatcher looks for a line in what is written to it.
type lineMatcher struct {
	want  *regexp.Regexp
	line  []byte
	found chan struct{}
	once  sync.Once
}

// maxLine is how much of a line is looked at, in bytes.
const maxLine = 64 << 10

func (l *lineMatcher) Write(b []byte) (int, error) {
	n := len(b)
	for {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			l.line = append(l.line, b[:min(len(b), maxLine-len(l.line))]...)
			return n, nil
		}
		l.line = append(l.line, b[:min(i, maxLine-len(l.line))]...)
		l.end()
		b = b[i+1:]
	}
}

// end looks at the line that is complete now.
func (l *lineMatcher) end() {
	if l.want.Match(bytes.TrimSuffix(l.line, []byte("\r"))) {
		l.once.Do(func() { close(l.found) })
	}
	l.line = l.line[:0]
}
