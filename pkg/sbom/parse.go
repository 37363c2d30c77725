package sbom

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

const (
	maxDocument = 64 << 20 // bytes
	maxItems    = 200_000  // components, vulnerabilities and what these affect
)

var (
	errItems = fmt.Errorf("it lists more than %d things", maxItems)
	errAfter = errors.New("something follows after it")
)

// reading is a document as it is read, piece by piece: the types of the CycloneDX library
// take hundreds of bytes for a component that takes three.
type reading struct {
	dec     *json.Decoder
	left    int // of maxItems
	format  shown
	version shown
	summary Summary
	byRef   map[string]Component
	found   []reported
}

// shown is a JSON string that people get to see; anything else is as good as none.
type shown string

// UnmarshalJSON implements [json.Unmarshaler].
func (s *shown) UnmarshalJSON(data []byte) error {
	var t text
	err := t.UnmarshalJSON(data)
	*s = shown(printable(string(t)))
	return err
}

func read(document []byte) (*reading, error) {
	if len(document) > maxDocument {
		return nil, fmt.Errorf("bill of materials: it has %d bytes, the limit is %d", len(document), maxDocument)
	}
	r := &reading{dec: json.NewDecoder(bytes.NewReader(document)), left: maxItems, byRef: map[string]Component{}}
	err := members(r.dec, r.member)
	if err == nil {
		if _, err = r.dec.Token(); err == nil {
			err = errAfter
		}
	} else if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("bill of materials: %w", err)
	}
	if r.format != cdx.BOMFormat || !strings.HasPrefix(string(r.version), "1.") {
		return nil, fmt.Errorf("bill of materials: bomFormat is %.40q and specVersion %.40q: it is no CycloneDX document that is known", r.format, r.version)
	}
	return r, nil
}

func (r *reading) member(key string) error {
	switch key {
	case "bomFormat":
		return r.dec.Decode(&r.format)
	case "specVersion":
		return r.dec.Decode(&r.version)
	case "metadata":
		return members(r.dec, r.metadata)
	case "components":
		return r.components(0)
	case "vulnerabilities":
		return elements(r.dec, r.vulnerability)
	}
	return skip(r.dec)
}

func (r *reading) metadata(key string) (err error) {
	switch key {
	case "component":
		r.summary.Subject, err = r.component(0)
		return err
	case "properties":
		return each(r.dec, func(p struct{ Name, Value shown }) {
			if p.Name == noteProperty {
				r.summary.Skipped = append(r.summary.Skipped, string(p.Value))
			}
		})
	}
	return skip(r.dec)
}

// count is to be called for what takes more memory than its bytes in the document.
func (r *reading) count() error {
	if r.left--; r.left < 0 {
		return errItems
	}
	return nil
}

// each reads an array whose elements are small objects of one form.
func each[T any](dec *json.Decoder, use func(T)) error {
	return elements(dec, func() error {
		var of T
		if err := dec.Decode(&of); err != nil {
			return err
		}
		use(of)
		return nil
	})
}
