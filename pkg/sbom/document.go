package sbom

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

const (
	noteProperty = "millrace:sbom:skipped"
	maxListed    = 15 << 20 // bytes of the components: pkg/store attaches up to 16 MiB
	maxPlaces    = 8        // places of a component that are listed
	maxNote      = 500      // bytes
)

// Document writes the bill of materials as CycloneDX 1.6 JSON, of up to 16 MiB. It holds
// no time, and its serial number is made of its content, so the same input gives the same
// bytes. An error says what is wrong with the subject.
func (f Findings) Document(s Subject) ([]byte, error) {
	subject, err := s.component()
	if err != nil {
		return nil, err
	}
	components, all, err := f.components()
	if err != nil {
		return nil, err
	}
	notes := f.Notes
	if len(notes) > maxNotes {
		notes = append(slices.Clip(notes[:maxNotes]), Note{Reason: moreSkipped})
	}
	if !all {
		notes = append(slices.Clip(notes), Note{Reason: moreSoftware})
	}
	bom := &cdx.BOM{
		JSONSchema:  "http://cyclonedx.org/schema/bom-1.6.schema.json",
		BOMFormat:   cdx.BOMFormat,
		SpecVersion: cdx.SpecVersion1_6,
		Version:     1,
		Metadata: &cdx.Metadata{
			Tools:     &cdx.ToolsChoice{Components: &[]cdx.Component{{Type: cdx.ComponentTypeApplication, Name: "millrace"}}},
			Component: subject,
		},
		Components: &components,
	}
	annotate(bom, notes)
	return encode(bom)
}

// components are those that fit into a document, and whether these are all.
func (f Findings) components() (out []cdx.Component, all bool, err error) {
	out = []cdx.Component{}
	left := maxListed
	for _, l := range f.list() {
		c := l.component()
		data, err := json.Marshal(c)
		if err != nil {
			return nil, false, fmt.Errorf("write bill of materials: %w", err)
		}
		if left -= len(data) + len(","); left < 0 {
			return out, false, nil
		}
		out = append(out, c)
	}
	return out, true, nil
}

// annotate says what was skipped, and that the bill is therefore incomplete.
func annotate(bom *cdx.BOM, notes []Note) {
	if len(notes) == 0 {
		return
	}
	properties := make([]cdx.Property, 0, len(notes))
	for _, n := range notes {
		text := n.Reason
		if n.Path != "" {
			text = n.Path + ": " + n.Reason
		}
		properties = append(properties, cdx.Property{Name: noteProperty, Value: cut(printable(text), maxNote)})
	}
	bom.Metadata.Properties = &properties
	bom.Compositions = &[]cdx.Composition{{
		Aggregate:  cdx.CompositionAggregateIncomplete,
		Assemblies: &[]cdx.BOMReference{cdx.BOMReference(bom.Metadata.Component.BOMRef)},
	}}
}

// encode writes the document twice: the serial number depends on all the rest.
func encode(bom *cdx.BOM) ([]byte, error) {
	var out bytes.Buffer
	write := func() error {
		out.Reset()
		return cdx.NewBOMEncoder(&out, cdx.BOMFileFormatJSON).SetEscapeHTML(false).Encode(bom)
	}
	if err := write(); err != nil {
		return nil, fmt.Errorf("write bill of materials: %w", err)
	}
	bom.SerialNumber = serial(sha256.Sum256(out.Bytes()))
	if err := write(); err != nil {
		return nil, fmt.Errorf("write bill of materials: %w", err)
	}
	return out.Bytes(), nil
}

// serial makes a UUID of a hash, of version 8: one with a rule of its own.
func serial(sum [sha256.Size]byte) string {
	sum[6] = sum[6]&0x0f | 0x80
	sum[8] = sum[8]&0x3f | 0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}
