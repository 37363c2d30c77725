package secret

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const (
	hunter = "hunter2 & \"co/op\"+ü'?"
	pem    = "-----BEGIN KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF\nshort\n-----END KEY-----"
)

func TestMask(t *testing.T) {
	t.Parallel()
	std, raw := base64.StdEncoding.EncodeToString, base64.RawURLEncoding.EncodeToString
	tests := []struct{ name, text, want string }{
		{"plain", "password=" + hunter + "\n", "password=***\n"},
		{"twice", hunter + hunter, "******"},
		{"nothing", "hunter2", "hunter2"},
		{"empty", "", ""},
		{"base64", std([]byte(hunter)) + "\n", "***\n"},
		{"base64 without padding", raw([]byte(hunter)) + "\n", "***\n"},
		{"base64 of echo", std([]byte(hunter + "\n")), "***"},
		{"basic authentication", "Basic " + std([]byte("user:"+hunter)), "Basic dXNlcjp***"},
		{"query", "?p=" + url.QueryEscape(hunter) + "&q", "?p=***&q"},
		{"path", "/" + url.PathEscape(hunter) + "/", "/***/"},
		{"user of a URL", url.UserPassword("me", hunter).String() + "@host", "me:***@host"},
		{"lower-case hex", strings.ToLower(url.QueryEscape(hunter)), "***"},
		{"JSON", `{"p":` + quote(hunter) + `}`, `{"p":"***"}`},
		{"JSON of Python", `"hunter2 & \"co/op\"+\u00fc'?"`, `"***"`},
		{"JSON of PHP", `"hunter2 & \"co\/op\"+\u00fc'?"`, `"***"`},
		{"set -x", `+ curl 'hunter2 & "co/op"+ü'"'"'?'`, `+ curl '***'`},
		{"key", "a\n" + pem + "\nb", "a\n***\nb"},
		{"key on a terminal", strings.ReplaceAll(pem, "\n", "\r\n"), "***"},
		{"key in JSON", quote(pem), `"***"`},
		{"key in base64, folded", fold(std([]byte(pem+"\n")), 76), "***\n***"},
		{"key in base64, folded by openssl", fold(std([]byte(pem)), 64), "***\n***\n***"},
		{"line of a key", "> -----BEGIN KEY-----\n> short", "> ***\n> short"},
		{"overlap", "abcd1234wxyz", "***"},
		{"overlap in turn", "1234wxyzabcd1234", "******"},
		{"short values are no secrets", "abc", "abc"},
	}
	for _, tt := range tests {
		if got := MaskString(tt.text, []string{hunter, pem, "abcd1234", "1234wxyz", "abc", ""}); got != tt.want {
			t.Errorf("%s: %q becomes %q, want %q", tt.name, tt.text, got, tt.want)
		}
	}
}

// TestWithin encodes a secret together with its neighbours: at each of the three
// places nothing but the letters that it shares with them stays.
func TestWithin(t *testing.T) {
	t.Parallel()
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
		rapid.Check(t, func(t *rapid.T) {
			value := rapid.StringN(4, -1, 80).Filter(func(s string) bool { return len(s) >= 4 }).Draw(t, "secret")
			before, after := rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(t, "before"), rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(t, "after")
			text := enc.EncodeToString(slices.Concat(before, []byte(value), after))
			got := MaskString(text, []string{value})
			left := strings.ReplaceAll(strings.TrimRight(got, "="), mark, "")
			if most := (len(before)*8+5)/6 + (len(after)*8+5)/6 + 1; len(left) == len(text) || len(left) > most {
				t.Fatalf("%q becomes %q: %d letters stay, want at most %d", text, got, len(left), most)
			}
		})
	}
}

// TestSplit compares with the plainest way to mask, for texts that are cut anywhere.
func TestSplit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, checkSplit)
}

func FuzzSplit(f *testing.F) { f.Fuzz(rapid.MakeFuzz(checkSplit)) }

func checkSplit(t *rapid.T) {
	alphabet := rapid.SampledFrom([]string{"ab", "ab\n", "abcdefghij:/+ü\"\n"}).Draw(t, "alphabet")
	word := func(least, most int) *rapid.Generator[string] {
		return rapid.StringOfN(rapid.RuneFrom([]rune(alphabet)), least, most, -1)
	}
	values := rapid.SliceOfN(word(4, 30), 0, 4).Draw(t, "values")
	sought := forms(values)
	part := rapid.Custom(func(t *rapid.T) string {
		if len(sought) > 0 && rapid.Bool().Draw(t, "secret") {
			form := rapid.SampledFrom(sought).Draw(t, "form")
			return form[:rapid.IntRange(1, len(form)).Draw(t, "cut")]
		}
		return word(0, 20).Draw(t, "word")
	})
	text := strings.Join(rapid.SliceOfN(part, 0, 12).Draw(t, "parts"), "")

	var got, written bytes.Buffer
	m := Mask(&got, values)
	for rest := text; rest != ""; {
		n := rapid.IntRange(1, len(rest)).Draw(t, "write")
		if _, err := m.Write([]byte(rest[:n])); err != nil {
			t.Fatal(err)
		}
		written.WriteString(rest[:n])
		rest = rest[n:]
		if held := len(m.pending); held > longestStart(written.String(), sought) {
			t.Fatalf("%d bytes are held back after %q", held, written.String())
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	want := plainMask(text, sought)
	if got.String() != want {
		t.Fatalf("%q becomes %q, want %q", text, got.String(), want)
	}
	for _, f := range sought {
		if strings.Contains(got.String(), f) {
			t.Fatalf("%q is let through in %q", f, got.String())
		}
	}
}

// longestStart is the length of the longest end of text that begins a form.
func longestStart(text string, forms []string) int {
	most := 0
	for _, f := range forms {
		for n := min(len(f)-1, len(text)); n > most; n-- {
			if strings.HasSuffix(text, f[:n]) {
				most = n
			}
		}
	}
	return most
}

func plainMask(text string, forms []string) string {
	var spans []span
	for from := range len(text) {
		for _, f := range forms {
			if strings.HasPrefix(text[from:], f) {
				to := int64(from + len(f))
				if n := len(spans); n > 0 && spans[n-1].to > int64(from) {
					spans[n-1].to = max(spans[n-1].to, to)
				} else {
					spans = append(spans, span{int64(from), to})
				}
			}
		}
	}
	var b strings.Builder
	at := int64(0)
	for _, s := range spans {
		b.WriteString(text[at:s.from] + mark)
		at = s.to
	}
	return b.String() + text[at:]
}

func TestLive(t *testing.T) {
	t.Parallel()
	var got bytes.Buffer
	m := Mask(&got, []string{"hunter2", "hunter2 and more"})
	for _, step := range []struct{ write, want string }{
		{"Password? ", "Password? "},
		{"hunt", ""},
		{"ing\n", "hunting\n"},
		{"hunter2", "***"}, // known at once, though more may follow
		{" and mo", ""},
		{"nkeys\n", " and monkeys\n"},
		{"h", ""},
	} {
		got.Reset()
		if _, err := m.Write([]byte(step.write)); err != nil {
			t.Fatal(err)
		}
		if got.String() != step.want {
			t.Errorf("after %q came %q, want %q", step.write, got.String(), step.want)
		}
	}
	got.Reset()
	if err := m.Close(); err != nil || got.String() != "h" {
		t.Errorf("close gives %q, %v; want h", got.String(), err)
	}
}

func TestFlush(t *testing.T) {
	t.Parallel()
	var got bytes.Buffer
	m := Mask(&got, []string{"hunter2"})
	for _, part := range []string{"a hun", "ter2 hunter2 hunt"} {
		_, _ = m.Write([]byte(part))
		if err := m.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if want := "a hunter2 *** hunt"; got.String() != want {
		t.Errorf("got %q, want %q", got.String(), want)
	}
}

func TestTo(t *testing.T) {
	t.Parallel()
	var one, two bytes.Buffer
	a := Mask(&one, []string{"hunter2"})
	_, _ = a.Write([]byte("hun"))
	b := a.To(&two)
	_, _ = b.Write([]byte("ter2 hunter2"))
	if _ = b.Close(); two.String() != "ter2 ***" {
		t.Errorf("the second text begins with the first one's: %q", two.String())
	}
}

type brokenWriter struct{ error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.error }

func TestBrokenWriter(t *testing.T) {
	t.Parallel()
	want := errors.New("no space")
	m := Mask(brokenWriter{want}, nil)
	if n, err := m.Write([]byte("text")); n != 0 || !errors.Is(err, want) {
		t.Errorf("write: %d, %v", n, err)
	}
	if err := m.Close(); !errors.Is(err, want) {
		t.Errorf("close: %v", err)
	}
}

func BenchmarkMask(b *testing.B) {
	logs := bytes.Repeat([]byte("2026-01-02T03:04:05Z INFO  request served method=GET path=/api/v1/orders/4711 status=200 in 12.3ms\n"), 330)
	key := "-----BEGIN KEY-----\n" + strings.Repeat("MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF\n", 25)
	values := []string{"hunter2hunter2", "s3cr3t-t0k3n", "postgres://me:pass@db/shop", key, "ghp_aBcDeFgHiJkLmNoPqRsT", "a/b+c=d&e f"}
	for name, text := range map[string][]byte{
		"logs":     logs,
		"base64":   []byte(base64.StdEncoding.EncodeToString(logs)),
		"periodic": bytes.Repeat([]byte("a"), 32<<10),
		"secrets":  bytes.Repeat([]byte(key), 20),
	} {
		b.Run(name, func(b *testing.B) {
			m := Mask(discard{}, append(values, strings.Repeat("a", 5000)+"b"))
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				_, _ = m.Write(text)
			}
		})
	}
	b.Run("prepare", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Mask(discard{}, values)
		}
	})
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func quote(s string) string {
	data, _ := json.Marshal(s)
	return string(data)
}

func fold(s string, width int) string {
	var parts []string
	for part := range slices.Chunk([]byte(s), width) {
		parts = append(parts, string(part))
	}
	return strings.Join(parts, "\n")
}
