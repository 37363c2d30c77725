package attest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// BundleType is the media type of a bundle.
const BundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

const payloadType = "application/vnd.in-toto+json"

// bundle is a Sigstore bundle as we write it: one that names a public key. Others may
// have a certificate and entries of a log in it, which nothing here would check.
type bundle struct {
	MediaType            string               `json:"mediaType"`
	VerificationMaterial verificationMaterial `json:"verificationMaterial"`
	Envelope             envelope             `json:"dsseEnvelope"`
}

type verificationMaterial struct {
	PublicKey struct {
		Hint string `json:"hint"`
	} `json:"publicKey"`
}

// envelope is of DSSE.
type envelope struct {
	Payload     string      `json:"payload"` // base64
	PayloadType string      `json:"payloadType"`
	Signatures  []signature `json:"signatures"`
}

// signature has a key id only where others wrote one. We write none: with one, some
// verifiers look the key up by it and find nothing.
type signature struct {
	Signature string `json:"sig"` // base64
	KeyID     string `json:"keyid,omitempty"`
}

// sealed is a bundle taken apart. None of it is proven.
type sealed struct {
	hint               string
	payload, signature []byte
}

// seal makes a bundle.
func (s sealed) seal() ([]byte, error) {
	b := bundle{MediaType: BundleType}
	b.VerificationMaterial.PublicKey.Hint = s.hint
	b.Envelope = envelope{
		Payload: base64.StdEncoding.EncodeToString(s.payload), PayloadType: payloadType,
		Signatures: []signature{{Signature: base64.StdEncoding.EncodeToString(s.signature)}},
	}
	data, err := json.Marshal(b)
	if err == nil && len(data) > MaxBundle {
		err = fmt.Errorf("bundle has %d bytes, more than %d", len(data), MaxBundle)
	}
	return data, err
}

// unseal takes a bundle apart.
func unseal(data []byte) (sealed, error) {
	if len(data) > MaxBundle {
		return sealed{}, fmt.Errorf("has more than %d bytes", MaxBundle)
	}
	var b bundle
	if err := strict(data, &b); err != nil {
		return sealed{}, err
	}
	switch e := b.Envelope; {
	case b.MediaType != BundleType:
		return sealed{}, fmt.Errorf("media type is %s, not %s", quote(b.MediaType), BundleType)
	case e.PayloadType != payloadType:
		return sealed{}, fmt.Errorf("payload type is %s, not %s", quote(e.PayloadType), payloadType)
	case len(e.Signatures) != 1:
		return sealed{}, fmt.Errorf("there are %d signatures, not 1", len(e.Signatures))
	}
	s := sealed{hint: b.VerificationMaterial.PublicKey.Hint}
	var err error
	if s.payload, err = decode(b.Envelope.Payload); err != nil {
		return s, fmt.Errorf("payload: %w", err)
	}
	if s.signature, err = decode(b.Envelope.Signatures[0].Signature); err != nil {
		return s, fmt.Errorf("signature: %w", err)
	}
	return s, nil
}

// decode reads both alphabets of base64, as DSSE wants it.
func decode(text string) ([]byte, error) {
	data, err := base64.StdEncoding.DecodeString(text)
	if err == nil {
		return data, nil
	}
	if data, urlErr := base64.URLEncoding.DecodeString(text); urlErr == nil {
		return data, nil
	}
	return nil, err
}

// strict reads one JSON value that has nothing unknown in it and nothing after it.
func strict(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after the JSON")
	}
	return nil
}

// pae is what DSSE signs: the payload together with its type.
func pae(payloadType string, payload []byte) []byte {
	b := []byte("DSSEv1 ")
	b = strconv.AppendInt(b, int64(len(payloadType)), 10)
	b = append(b, " "+payloadType+" "...)
	b = strconv.AppendInt(b, int64(len(payload)), 10)
	b = append(b, ' ')
	return append(b, payload...)
}
