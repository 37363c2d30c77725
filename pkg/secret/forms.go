package secret

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	minLine = 8       // bytes of a line of a value, for the line to be secret by itself
	manyOf  = 4 << 10 // bytes of a value from which on its lines are sought in plain only
)

// forms are the texts by which values may show up, each once. Values shorter than
// [MinLength] have none.
func forms(values []string) []string {
	var all []string
	for _, v := range values {
		if len(v) < MinLength {
			continue
		}
		all = append(all, encodings(v)...)
		if strings.Contains(v, "\n") {
			all = append(all, strings.ReplaceAll(v, "\n", "\r\n")) // as a terminal prints it
			all = append(all, lines(v)...)
		}
	}
	all = slices.DeleteFunc(all, func(f string) bool { return len(f) < MinLength })
	slices.Sort(all)
	return slices.Compact(all)
}

func lines(value string) []string {
	var all []string
	for line := range strings.Lines(value) {
		switch line = strings.TrimSpace(line); {
		case len(line) < minLine:
		case len(value) > manyOf:
			all = append(all, line)
		default:
			all = append(all, encodings(line)...)
		}
	}
	return all
}

func encodings(v string) []string {
	return slices.Concat([]string{v}, base64s(v), escapes(v), literals(v))
}

// base64s has v encoded by itself, also with a newline as echo adds it and folded as
// base64 and openssl do it; and for v inside something longer that was encoded, what
// depends on v alone, for each of the three places where v can begin. Of the letters
// at its two ends, which v shares with its neighbours, up to four bits each stay.
func base64s(v string) []string {
	var all []string
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		for _, whole := range []string{enc.EncodeToString([]byte(v)), enc.EncodeToString([]byte(v + "\n"))} {
			all = append(all, whole, strings.TrimRight(whole, "="))
			all = append(all, folds(whole, 76)...)
			all = append(all, folds(whole, 64)...)
		}
		for before := range 3 {
			text := enc.EncodeToString(append(make([]byte, before), v...))
			all = append(all, text[(before*8+5)/6:(before+len(v))*8/6])
		}
	}
	return all
}

func folds(text string, width int) []string {
	var all []string
	for len(text) > width {
		all = append(all, text[:width])
		if text = text[width:]; len(text) >= minLine {
			all = append(all, text[:min(width, len(text))])
		}
	}
	return all
}

// escapes has v as parts of URLs. Languages differ in what they leave alone besides
// letters, digits and -_.~, and in the case of hex digits.
func escapes(v string) []string {
	var all []string
	for _, kept := range []string{
		"",                 // query: Go, Python with safe=""
		"/",                // Python
		"!'()*",            // encodeURIComponent
		"$&+,/:;=@",        // path: Go
		"$&+:=@",           // segment of a path: Go
		"$&+,;=",           // user and password: Go
		"!#$&'()*+,/:;=?@", // encodeURI
	} {
		for _, digits := range []string{"0123456789ABCDEF", "0123456789abcdef"} {
			text := escape(v, kept, digits)
			all = append(all, text, strings.ReplaceAll(text, "%20", "+"))
		}
	}
	return all
}

func escape(v, kept, digits string) string {
	var b strings.Builder
	for i := range len(v) {
		switch c := v[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-_.~", c) >= 0, strings.IndexByte(kept, c) >= 0:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		}
	}
	return b.String()
}

// literals has v as the inside of strings: JSON as Go, JavaScript, Python and PHP
// write it, and what a shell prints with set -x.
func literals(v string) []string {
	var all []string
	for _, html := range []bool{true, false} {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(html)
		_ = enc.Encode(v) // a string never fails
		text := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(b.String()), `"`), `"`)
		all = append(all, text, ascii(text), strings.ReplaceAll(ascii(text), "/", `\/`))
	}
	return append(all, strings.ReplaceAll(v, "'", `'\''`), strings.ReplaceAll(v, "'", `'"'"'`))
}

// ascii writes what is outside of ASCII as JSON's \uxxxx.
func ascii(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r < utf8.RuneSelf {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}
