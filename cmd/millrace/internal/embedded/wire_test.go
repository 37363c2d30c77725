package embedded

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// wire stands between a service and NATS. What is published on some subjects is lost on
// its way there, or the server's answer to it on its way back.
type wire struct {
	address, server string

	mu      sync.Mutex
	loses   map[string]*loss // by what the subject begins with
	answers map[string]*loss // by the subject of the server's answer
}

type loss struct {
	answer  bool // not what is published, but what the server says to it
	once    sync.Once
	reached chan struct{}
}

func newWire(t *testing.T, url string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{address: "nats://" + l.Addr().String(), server: strings.TrimPrefix(url, "nats://"), loses: map[string]*loss{}, answers: map[string]*loss{}}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { w.serve(c) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); conns.Wait() })
	return w
}

// lose loses what is published on subjects that begin so, or the answers to it.
func (w *wire) lose(prefix string, answer bool) *loss {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := &loss{answer: answer, reached: make(chan struct{})}
	w.loses[prefix] = l
	return l
}

func (w *wire) serve(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp", w.server)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	var both sync.WaitGroup
	pass := func(to, from net.Conn, lost func(words []string) bool) {
		defer func() { _ = errors.Join(client.Close(), server.Close()) }()
		_ = frames(to, from, lost)
	}
	both.Go(func() { pass(server, client, w.published) })
	both.Go(func() { pass(client, server, w.answered) })
	both.Wait()
}

// frames passes on a line at a time, with the message that follows it, unless it is lost.
func frames(to io.Writer, from io.Reader, lost func(words []string) bool) error {
	in := bufio.NewReader(from)
	for {
		frame, err := in.ReadBytes('\n')
		if err != nil {
			return err
		}
		words := strings.Fields(string(frame))
		drop := false
		if len(words) > 0 && (words[0] == "PUB" || words[0] == "HPUB" || words[0] == "MSG" || words[0] == "HMSG") {
			size, err := strconv.Atoi(words[len(words)-1])
			if err != nil || size < 0 {
				return errors.New("not NATS")
			}
			body := make([]byte, size+len("\r\n"))
			if _, err := io.ReadFull(in, body); err != nil {
				return err
			}
			frame, drop = append(frame, body...), lost(words)
		}
		if drop {
			continue
		}
		if _, err := to.Write(frame); err != nil {
			return err
		}
	}
}

// published tells of HPUB SUBJECT REPLY HEADERS TOTAL, which is what facts come in,
// whether it is lost.
func (w *wire) published(words []string) bool {
	if words[0] != "HPUB" || len(words) != 5 {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for prefix, l := range w.loses {
		if !strings.HasPrefix(words[1], prefix) {
			continue
		}
		if l.answer {
			w.answers[words[2]] = l
			return false
		}
		l.once.Do(func() { close(l.reached) })
		return true
	}
	return false
}

// answered tells of MSG SUBJECT … and HMSG SUBJECT … whether it is lost.
func (w *wire) answered(words []string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	l, lost := w.answers[words[1]]
	if lost {
		l.once.Do(func() { close(l.reached) })
	}
	return lost
}
