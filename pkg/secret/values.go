package secret

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
)

// Values are secrets by name. They print and marshal as their names only, so that a
// careless log line gives nothing away.
type Values map[string]string

// List is what [Mask] takes.
func (v Values) List() []string { return slices.Sorted(maps.Values(v)) }

// Names are the names, sorted.
func (v Values) Names() []string { return slices.Sorted(maps.Keys(v)) }

// Format prints names, with whatever verb.
func (v Values) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "%s", v.Names()) }

// LogValue logs names.
func (v Values) LogValue() slog.Value { return slog.AnyValue(v.Names()) }

// MarshalJSON writes names.
func (v Values) MarshalJSON() ([]byte, error) { return json.Marshal(v.Names()) }
