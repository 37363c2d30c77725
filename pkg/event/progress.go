package event

import "time"

// Kinds of [Progress]: tokens of subjects.
const (
	Started      = "started"  // a stage began an attempt
	Waiting      = "waiting"  // a stage waits, Reason says for what
	Retrying     = "retrying" // an attempt ended by a fault of ours, Reason says which
	StepStarted  = "step-started"
	StepFinished = "step-finished"
	Span         = "span" // a finished span of the delivery's trace
)

// Progress is an observation; it may be lost without harm.
type Progress struct {
	App         string    `json:"app"`
	Number      uint64    `json:"number"`
	StageName   string    `json:"stage"`
	What        string    `json:"what"` // one of the kinds
	Environment string    `json:"environment,omitempty"`
	Attempt     int       `json:"attempt,omitempty"`
	Reason      string    `json:"reason,omitempty"`
	Worker      string    `json:"worker,omitempty"`
	Time        time.Time `json:"time"`
	Step        Step      `json:"step,omitzero"` // of StepStarted (its name) and StepFinished
}
