package bus

import (
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
)

// Headers of ours. All are lower case: NATS preserves case and compares it.
const (
	HeaderHop    = "traceparent"     // W3C: the span that published this message
	HeaderState  = "tracestate"      // W3C
	HeaderRoot   = "ce-traceparent"  // CloudEvents distributed tracing: the delivery's root span
	HeaderParent = "millrace-parent" // the caller's span, which the root is a child of
)

// Carrier is a message's headers for OpenTelemetry's propagators. It writes lower
// case and reads any case, since other publishers write Traceparent.
type Carrier nats.Header

// Get returns the first value of key.
func (c Carrier) Get(key string) string {
	for k, v := range c {
		if len(v) > 0 && strings.EqualFold(k, key) {
			return v[0]
		}
	}
	return ""
}

// Set replaces the values of key.
func (c Carrier) Set(key, value string) { c[strings.ToLower(key)] = []string{value} }

// Keys lists the names of all headers.
func (c Carrier) Keys() []string {
	keys := make([]string, 0, len(c))
	for k := range c {
		keys = append(keys, k)
	}
	return keys
}

// cloudEvent adds the CloudEvents attributes in binary mode.
// Values are percent-encoded as the NATS binding asks.
func cloudEvent(h nats.Header, id, source, kind, subject, time string) {
	for k, v := range map[string]string{
		"ce-specversion": "1.0", "ce-id": id, "ce-source": source, "ce-type": kind,
		"ce-subject": subject, "ce-time": time, "ce-datacontenttype": "application/json",
		"content-type": "application/json",
	} {
		h[k] = []string{encode(v)}
	}
}

// encode escapes what a CloudEvents header may not hold.
func encode(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || c == '"' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}
