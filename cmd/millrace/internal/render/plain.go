package render

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/millrace-cd/millrace/pkg/delivery"
)

// Plain writes one line for each change of a delivery, with its time; nothing is ever
// redrawn.
type Plain struct{ W io.Writer }

// Change writes the line.
func (p Plain) Change(d delivery.Delivery, c delivery.Change) {
	_, _ = fmt.Fprintf(p.W, "%s %s\n", c.Time.UTC().Format(time.RFC3339), line(d, c))
}

func line(d delivery.Delivery, c delivery.Change) string {
	title := delivery.Text(c.Stage.Title())
	step := title + "/" + delivery.Text(c.Step.Name)
	switch c.Kind {
	case delivery.Accepted:
		return fmt.Sprintf("delivery %d of %s: %s", d.Number, delivery.Text(d.App), join([]string{delivery.Text(d.Commit.Short()), FirstLine(d.Commit.Message, 60)}))
	case delivery.StageStarted:
		return fmt.Sprintf("%s: running, attempt %d on %s", title, c.Stage.Attempt, delivery.Text(c.Stage.Worker))
	case delivery.StageWaiting:
		return fmt.Sprintf("%s: waiting for %s", title, delivery.Text(c.Stage.Waiting))
	case delivery.StageRetrying:
		return fmt.Sprintf("%s: retrying, attempt %d ended with %s", title, c.Stage.Attempt, delivery.Text(c.Stage.Reason))
	case delivery.StepStarted:
		return step + ": running"
	case delivery.StepFinished:
		return step + ": " + after(stepState(c.Step), c.Step.Elapsed(c.Time), outcome(c.Step))
	}
	more := []string{delivery.Text(c.Stage.Reason)}
	if c.Stage.State.Good() {
		more = []string{tested(c.Stage.Tally()), delivery.Text(c.Stage.URL)}
	}
	return title + ": " + after(c.Stage.State, c.Stage.Elapsed(c.Time), join(more))
}

func after(s delivery.State, d time.Duration, more string) string {
	text := fmt.Sprintf("%s after %s", s, Duration(d))
	if more != "" {
		text += ": " + more
	}
	return text
}

// Stream writes one JSON object a line for each change of a delivery.
type Stream struct{ W io.Writer }

// Change writes the line.
func (s Stream) Change(d delivery.Delivery, c delivery.Change) {
	data, err := json.Marshal(struct {
		Delivery uint64         `json:"delivery"`
		App      string         `json:"app"`
		State    delivery.State `json:"state"`
		delivery.Change
	}{d.Number, d.App, d.State, c})
	if err == nil {
		_, _ = s.W.Write(append(data, '\n'))
	}
}
