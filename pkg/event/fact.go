package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Outcome is how a stage of a delivery ended. Each ends in exactly one.
type Outcome string

// The outcomes. Only Succeeded is what the next stage waits for.
const (
	Succeeded  Outcome = "succeeded"
	Failed     Outcome = "failed"     // the commit is at fault
	Errored    Outcome = "errored"    // we are, after all attempts
	Cancelled  Outcome = "cancelled"  // somebody asked for it
	Superseded Outcome = "superseded" // a newer delivery came first
	Refused    Outcome = "refused"    // the event is invalid, or the chain of custody is broken
)

// Result is what the worker knows of a stage's end; it stands beside the event's
// own fields in the message.
type Result struct {
	StageName string    `json:"stage"`
	Outcome   Outcome   `json:"outcome"`
	Reason    string    `json:"reason,omitempty"`
	Attempt   int       `json:"attempt"` // counts from 1
	Worker    string    `json:"worker,omitempty"`
	Queued    time.Time `json:"queued,omitzero"` // when the event that the stage consumed was stored
	Started   time.Time `json:"started,omitzero"`
	Finished  time.Time `json:"finished,omitzero"`
}

// Fact is any result message, whole: every field that any stage writes.
type Fact struct {
	Deployed
	Result
}

// Ends tells whether the delivery is over with this fact.
func (f Fact) Ends() bool {
	if f.Outcome != Succeeded {
		return true
	}
	switch f.StageName {
	case StageTest:
		return f.Untrusted
	case StageRelease:
		return len(f.Environments) == 0
	case StageDeploy:
		return len(f.Environments) == 0 || f.Environment == f.Environments[len(f.Environments)-1]
	}
	return false
}

// Encode is the message that says how a stage ended: e's fields, then r's.
// It refuses what exceeds [MaxBytes].
func Encode(e Event, r Result) ([]byte, error) {
	head, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", e, err)
	}
	tail, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode result: %w", err)
	}
	head, tail = bytes.TrimSuffix(head, []byte("}")), bytes.TrimPrefix(tail, []byte("{"))
	if len(head) > 1 {
		head = append(head, ',')
	}
	if data := append(head, tail...); len(data) <= MaxBytes {
		return data, nil
	}
	return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrTooLarge, len(head)+len(tail), MaxBytes)
}

// ErrTooLarge says that an event exceeds [MaxBytes].
var ErrTooLarge = errors.New("the event is too large")

// Decode reads any result message.
func Decode(data []byte) (Fact, error) {
	var f Fact
	if err := json.Unmarshal(data, &f); err != nil {
		return Fact{}, fmt.Errorf("decode fact: %w", err)
	}
	return f, nil
}
