package delivery

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestClean(t *testing.T) {
	tests := []struct{ name, in, colours, plain string }{
		{"text", "ok\n\tdone\n", "ok\n\tdone\n", "ok\n\tdone\n"},
		{"colours", "\x1b[1;31mred\x1b[0m\n", "\x1b[1;31mred\x1b[0m\n", "red\n"},
		{"true colour", "\x1b[38:2::1:2:3mx", "\x1b[38:2::1:2:3mx", "x"},
		{"clear screen", "a\x1b[2J\x1b[Hb", "ab", "ab"},
		{"private mode", "\x1b[?1049h\x1b[?25lx", "x", "x"},
		{"private m is no colour", "\x1b[>4;2mx\x1b[?1mx", "xx", "xx"},
		{"a colour with an intermediate is none", "\x1b[1 mx", "x", "x"},
		{"an endless colour", "\x1b[" + strings.Repeat("1;", 500) + "mx", "x", "x"},
		{"title", "\x1b]0;owned\ax", "x", "x"},
		{"hyperlink", "\x1b]8;;http://evil\x1b\\click\x1b]8;;\x1b\\", "click", "click"},
		{"clipboard, never ended", "a\x1b]52;c;cm0gLXJmIC8K\nb\n", "a\nb\n", "a\nb\n"},
		{"device control", "\x1bP+q544e\x1b\\x", "x", "x"},
		{"8-bit CSI", "\u009b31mx\u009b2Jy", "\x1b[31mxy", "xy"},
		{"8-bit OSC", "\u009d0;t\u009cx", "x", "x"},
		{"raw 8-bit byte", "a\x9b2Jb", "a\uFFFD2Jb", "a\uFFFD2Jb"},
		{"charset", "\x1b(0x\x1b)Bx", "xx", "xx"},
		{"reset", "\x1bcx", "x", "x"},
		{"bell, backspace, delete", "a\ab\bc\x7f", "abc", "abc"},
		{"overwriting a line", "FAIL\rok  \n", "FAIL\nok  \n", "FAIL\nok  \n"},
		{"progress", "\r\x1b[K 10%\r\x1b[K 20%\r\n", " 10%\n 20%\n", " 10%\n 20%\n"},
		{"DOS lines", "a\r\n\r\nb\r\n", "a\n\nb\n", "a\n\nb\n"},
		{"BiDi", "a\u202eb\u2066c\u200f", "abc", "abc"},
		{"accents and emoji", "é 日本 🚀\n", "é 日本 🚀\n", "é 日本 🚀\n"},
		{"colour inside a sequence", "\x1b[2\x1b[31mx", "\x1b[31mx", "x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := cleaned(tt.in, true, len(tt.in)); got != tt.colours {
				t.Errorf("with colours: got %q, want %q", got, tt.colours)
			}
			if got := cleaned(tt.in, false, len(tt.in)); got != tt.plain {
				t.Errorf("without: got %q, want %q", got, tt.plain)
			}
			if got := cleaned(tt.in, true, 1); got != tt.colours {
				t.Errorf("byte by byte: got %q, want %q", got, tt.colours)
			}
		})
	}
}

func TestText(t *testing.T) {
	if got, want := Text("fix\n\x1b[2J the\tthing\r\n"), "fix  the thing"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// cleaned is s after it was written in pieces of n bytes.
func cleaned(s string, colours bool, n int) string {
	var b bytes.Buffer
	c := Clean(&b, colours)
	for in := []byte(s); len(in) > 0; {
		k := min(n, len(in))
		_, _ = io.Copy(c, bytes.NewReader(in[:k]))
		in = in[k:]
	}
	return b.String()
}

func FuzzClean(f *testing.F) {
	f.Add("\x1b[1;31mred\x1b[0m\r\n", uint8(1))
	f.Add("\x1b]8;;http://x\x1b\\a\u009b2J\u202e\x9b\xf0\x9f", uint8(3))
	f.Fuzz(func(t *testing.T, in string, n uint8) {
		whole := cleaned(in, true, max(1, len(in)))
		if pieces := cleaned(in, true, int(n)+1); pieces != whole {
			t.Errorf("%q: whole %q, in pieces %q", in, whole, pieces)
		}
		if again := cleaned(whole, true, max(1, len(whole))); again != whole {
			t.Errorf("%q: cleaned again %q is %q", in, whole, again)
		}
		if !utf8.ValidString(whole) {
			t.Errorf("%q: %q is no UTF-8", in, whole)
		}
		for _, r := range cleaned(in, false, max(1, len(in))) {
			if unicode.IsControl(r) && r != '\n' && r != '\t' || r == 0x202e {
				t.Errorf("%q: %q is left", in, r)
			}
		}
	})
}
