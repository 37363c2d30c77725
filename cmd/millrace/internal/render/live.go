package render

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/millrace-cd/millrace/pkg/delivery"
)

// Live redraws a delivery in place, below what the terminal shows already.
type Live struct {
	program *tea.Program
	done    chan error
}

type (
	changed delivery.Delivery
	printed struct{ stage, step, text string }
	tick    time.Time
)

// NewLive begins to draw on the screen's progress side. Interrupted is called when
// Ctrl-C is pressed: the terminal does not make a signal of it meanwhile.
func NewLive(ctx context.Context, s *Screen, d delivery.Delivery, interrupted func()) *Live {
	m := board{delivery: d, last: map[string]string{}, interrupted: interrupted, now: time.Now()}
	l := &Live{done: make(chan error, 1)}
	l.program = tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(s.In), tea.WithOutput(s.err), tea.WithEnvironment(s.Environ), tea.WithoutSignalHandler(), tea.WithFPS(20))
	go func() {
		_, err := l.program.Run()
		l.done <- err
	}()
	return l
}

// Change shows the delivery as it is now.
func (l *Live) Change(d delivery.Delivery, _ delivery.Change) { l.program.Send(changed(d)) }

// Chunk shows the last line that a step printed.
func (l *Live) Chunk(c delivery.Chunk) error {
	if text := lastLine(string(c.Data)); text != "" {
		l.program.Send(printed{c.Stage, c.Step, text})
	}
	return nil
}

// Close leaves the last picture and gives the terminal back.
func (l *Live) Close() error {
	l.program.Quit()
	if err := <-l.done; err != nil && !errors.Is(err, tea.ErrProgramKilled) {
		return err
	}
	return nil
}

// board is the model of the program: a delivery, the lines that its steps printed
// last, and the time.
type board struct {
	delivery    delivery.Delivery
	last        map[string]string
	interrupted func()
	now         time.Time
	frame       int
	width       int
}

// Init implements [tea.Model].
func (m board) Init() tea.Cmd { return next() }

func next() tea.Cmd {
	return tea.Tick(100*time.Millisecond, func(t time.Time) tea.Msg { return tick(t) })
}

// Update implements [tea.Model].
func (m board) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case changed:
		m.delivery = delivery.Delivery(msg)
	case printed:
		m.last[msg.stage+"/"+msg.step] = msg.text // its only user
	case tick:
		m.now, m.frame = time.Time(msg), m.frame+1
		return m, next()
	case tea.WindowSizeMsg:
		m.width = msg.Width
	case tea.KeyPressMsg:
		if key := msg.String(); key == "ctrl+c" || key == "ctrl+\\" {
			m.interrupted()
		}
	}
	return m, nil
}

// View implements [tea.Model].
func (m board) View() tea.View {
	frames := []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}
	b := Board{Width: m.width, Spin: frames[m.frame%len(frames)], Last: func(stage, step string) string { return m.last[stage+"/"+step] }}
	return tea.NewView(strings.Join(b.Lines(m.delivery, m.now), "\n") + "\n")
}

// lastLine is the last line of s that is not blank, cleaned.
func lastLine(s string) string {
	lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' })
	for _, line := range slices.Backward(lines) {
		if text := strings.TrimSpace(delivery.Text(line)); text != "" {
			return text
		}
	}
	return ""
}
