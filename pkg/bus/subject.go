package bus

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/millrace-cd/millrace/pkg/event"
)

// InvalidApp stands in subjects for the app of an event whose app is no token.
const InvalidApp = "invalid"

var token = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// IsToken tells whether s may stand in a subject. User text never does.
func IsToken(s string) bool { return token.MatchString(s) }

// Token turns a name for people, such as unit[go=1.26], into a token.
func Token(name string) string {
	s := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			return r
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, name)
	s = strings.Trim(s, "-")
	if s == "" {
		return "x"
	}
	return s[:min(len(s), 63)]
}

// Address is a subject taken apart. Fields that a kind of subject does not have
// are zero.
type Address struct {
	Kind        string // commit, rollback, delivery, progress, log
	Stage       string
	What        string // outcome of a delivery, kind of a progress
	App         string
	Number      uint64
	Environment string // of a delivery's deploy
	Step        string // token, of a log
}

// ParseSubject takes a subject apart. It returns an error for subjects that are
// none of ours; commit subjects are ours whatever follows the first token.
func ParseSubject(subject string) (Address, error) {
	kind, rest, _ := strings.Cut(subject, ".")
	a := Address{Kind: kind}
	t := strings.Split(rest, ".")
	var err error
	switch {
	case kind == "commit" || kind == "rollback":
		a.App = rest
	case kind == "delivery" && (len(t) == 4 || len(t) == 5):
		a.Stage, a.What, a.App = t[0], t[1], t[2]
		a.Number, err = strconv.ParseUint(t[3], 10, 64)
		a.Environment = strings.Join(t[4:], "")
	case kind == "progress" && len(t) == 4:
		a.Stage, a.What, a.App = t[0], t[1], t[2]
		a.Number, err = strconv.ParseUint(t[3], 10, 64)
	case kind == "log" && len(t) == 4:
		a.Stage, a.App, a.Step = t[0], t[1], t[3]
		a.Number, err = strconv.ParseUint(t[2], 10, 64)
	default:
		return Address{}, fmt.Errorf("subject %q is none of ours", subject)
	}
	if err != nil {
		return Address{}, fmt.Errorf("subject %q: %w", subject, err)
	}
	return a, nil
}

// Key names one stage of one delivery: what gets exactly one result.
type Key struct {
	Stage       string
	App         string
	Number      uint64
	Environment string // of a deployment
}

// String is also the key in buckets.
func (k Key) String() string {
	s := fmt.Sprintf("%s.%s.%d", k.Stage, k.App, k.Number)
	if k.Environment != "" {
		s += "." + k.Environment
	}
	return s
}

func (k Key) subject(outcome string) string {
	s := fmt.Sprintf("delivery.%s.%s.%s.%d", k.Stage, outcome, k.App, k.Number)
	if k.Environment != "" {
		s += "." + k.Environment
	}
	return s
}

// any matches whatever result k has. Every writer must send this very string as
// its condition: on a cluster two different wildcards that overlap do not exclude
// each other.
func (k Key) any() string { return k.subject("*") }

func (k Key) valid() error {
	for _, t := range []string{k.Stage, k.App, k.Environment} {
		if t != "" && !IsToken(t) {
			return fmt.Errorf("%q is no token", t)
		}
	}
	if k.Environment == "" && k.Stage == event.StageDeploy {
		return fmt.Errorf("%s lacks its environment", k)
	}
	return nil
}
