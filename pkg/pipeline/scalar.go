package pipeline

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// unlimited is the most that a number without a limit can be.
const unlimited = math.MaxInt32

// aboveZero is the least of a number that must not be 0.
const aboveZero = math.SmallestNonzeroFloat64

// rule tells what is wrong with a text, and the way out; "" where nothing is.
type rule func(s string) (message, hint string)

// isText tells whether n is a string to YAML, or a date, which is one to us.
func isText(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && (n.Tag == tagString || n.Tag == "!" || n.Tag == tagTime || n.Tag == tagMerge)
}

// text reads a string that may use variables, under rules.
func (d *decoder) text(to *string, rules ...rule) reader {
	return func(v value) {
		if !isText(v.node) {
			d.wrong(v, "a text")
			return
		}
		*to = v.node.Value
		d.variables(v)
		d.obey(v, rules)
	}
}

// plain reads a string in which no variable is known.
func (d *decoder) plain(to *string, rules ...rule) reader {
	return func(v value) {
		defer d.within(scope{})()
		d.text(to, rules...)(v)
	}
}

// obey reports the first of the rules that v breaks.
func (d *decoder) obey(v value, rules []rule) {
	for _, r := range rules {
		if message, hint := r(v.node.Value); message != "" {
			d.report(v, hint, "%s", message)
			return
		}
	}
}

// texts reads a list of strings.
func (d *decoder) texts(to *[]string, rules ...rule) reader {
	return func(v value) {
		all := []string{}
		d.list(v, func(i value) {
			var s string
			d.text(&s, rules...)(i)
			all = append(all, s)
		})
		*to = all
	}
}

// plains reads a list of strings in which no variable is known.
func (d *decoder) plains(to *[]string, rules ...rule) reader {
	return func(v value) {
		defer d.within(scope{})()
		d.texts(to, rules...)(v)
	}
}

// some makes sure that the list or mapping has something in it.
func (d *decoder) some(read reader) reader {
	return func(v value) {
		if len(v.node.Content) == 0 && v.node.Kind != yaml.ScalarNode {
			d.report(v, "write at least one, or remove the key", "%s is empty", v.name)
		}
		read(v)
	}
}

// script reads a command or a list of them. Their ${…} are the shell's.
func (d *decoder) script(to *[]string) reader {
	return func(v value) {
		lines := []value{v}
		if v.node.Kind == yaml.SequenceNode {
			lines = items(v)
		}
		all := make([]string, 0, len(lines))
		for _, l := range lines {
			if !isText(l.node) {
				d.wrong(l, "a text")
				return
			}
			all = append(all, l.node.Value)
		}
		if strings.TrimSpace(strings.Join(all, "")) == "" {
			d.report(v, "write a command", "%s is empty", v.name)
		}
		*to = all
	}
}

func (d *decoder) boolean(to *bool) reader {
	return func(v value) {
		if v.node.Kind != yaml.ScalarNode || v.node.Tag != tagBool {
			d.wrong(v, "true or false")
			return
		}
		*to = strings.EqualFold(v.node.Value, "true")
	}
}

// number is what n is worth; false if it is no finite number.
func number(n *yaml.Node) (float64, bool) {
	if n.Kind != yaml.ScalarNode || n.Tag != tagInt && n.Tag != tagFloat {
		return 0, false
	}
	digits := strings.ReplaceAll(n.Value, "_", "")
	if i, err := strconv.ParseInt(digits, 0, 64); err == nil {
		return float64(i), true
	}
	f, err := strconv.ParseFloat(digits, 64)
	return f, err == nil && !math.IsInf(f, 0) && !math.IsNaN(f)
}

// real reads a number from least to most.
func (d *decoder) real(to *float64, least, most float64) reader {
	return func(v value) {
		f, ok := number(v.node)
		if !ok {
			d.wrong(v, "a number")
			return
		}
		if f < least || f > most {
			d.outside(v, least, most)
		}
		*to = f
	}
}

// whole reads a whole number from least to most.
func whole[T int | int64](d *decoder, to *T, least, most int) reader {
	return func(v value) {
		f, ok := number(v.node)
		switch {
		case !ok:
			d.wrong(v, "a whole number")
		case f != math.Trunc(f):
			d.report(v, "write a whole number", "%s is not whole", quote(v.node.Value))
		case f < float64(least) || f > float64(most):
			d.outside(v, float64(least), float64(most))
		default:
			*to = T(f)
		}
	}
}

func (d *decoder) outside(v value, least, most float64) {
	d.report(v, "write a number "+span(least, most), "%s is %s", v.name, v.node.Value)
}

// span says in words from where to where a number may go.
func span(least, most float64) string {
	from, to := strconv.FormatFloat(least, 'f', -1, 64), strconv.FormatFloat(most, 'f', -1, 64)
	switch {
	case most < unlimited:
		return "from " + from + " to " + to
	case least == aboveZero:
		return "above 0"
	}
	return "from " + from + " on"
}

// user reads a name or an id.
func (d *decoder) user(to *string) reader {
	return func(v value) {
		var id int
		if v.node.Kind == yaml.ScalarNode && (v.node.Tag == tagInt || v.node.Tag == tagFloat) {
			whole(d, &id, 0, unlimited)(v)
			*to = strconv.Itoa(id)
			return
		}
		d.text(to, filled)(v)
	}
}

// oneOf reads one of a few words.
func (d *decoder) oneOf(to *string, words ...string) reader {
	return func(v value) {
		d.plain(to, func(s string) (string, string) {
			if slices.Contains(words, s) {
				return "", ""
			}
			hint := didYouMean(s, words)
			if hint == "" {
				hint = "write " + strings.Join(words, ", ")
			}
			return "unknown " + v.name + " " + quote(s), hint
		})(v)
	}
}

// duration reads a time that is more than nothing.
func (d *decoder) duration(to *time.Duration) reader {
	return func(v value) {
		if _, ok := number(v.node); ok {
			d.report(v, "write "+v.node.Value+"s or "+v.node.Value+"m", "%s is not a duration", quote(v.node.Value))
			return
		}
		var s string
		d.plain(&s, isDuration)(v)
		*to, _ = time.ParseDuration(s)
	}
}

// size reads a number of bytes.
func (d *decoder) size(to *int64) reader {
	return func(v value) {
		if _, ok := number(v.node); ok {
			d.report(v, "write "+v.node.Value+"Mi", "%s is not a size", quote(v.node.Value))
			return
		}
		var s string
		d.plain(&s, isSize)(v)
		*to, _ = parseSize(s)
	}
}
