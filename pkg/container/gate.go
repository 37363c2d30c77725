package container

import (
	"bytes"
	"errors"
	"io"
)

// A gated container is started before its turn. Its first process waits for two lines
// on its standard input: the mark, which only this process and the gate know, and the
// handover of secrets (secret.go). Then it runs the step's command in a child, and tells
// its end by the mark and the exit code on the stream of its output. Between, it makes
// sure that nothing of the step is left running, so the next step finds its ports free.
//
//   - The gate's variables are its own: one that came with the environment would go on
//     to the child.
//   - Secrets are taken over in the child, where nothing is printed.
//   - The child's error output goes where its output goes: one stream keeps their
//     order, and nothing can arrive after the mark.
//   - The gate's own messages ("Killed") go nowhere.
//   - SIGTERM goes to the whole process group (docker-init does that when told by
//     gateEnv), so the gate outlives it and the child gets it.
//   - `kill -9 -1` spares the gate and process 1. It fails when nobody is left.
//   - The kernel counts kills for want of memory, under one of two names. The
//     engine may miss them where the end follows at once; an m after the code does not.
//   - If we die, the gate reads the end of its input and leaves.
const gateScript = `unset TINI_KILL_PROCESS_GROUP __millrace __secrets __umask
IFS= read -r __millrace && IFS= read -r __secrets || exit 126
trap : TERM
exec 3>&1 >/dev/null 2>&1 </dev/null
(eval "$__secrets" || { echo 'millrace: /bin/sh of this image has no printf, or /run/secrets no room' >&3; exit 126; }
exec >&3 2>&3 3>&-; exec "$@")
__code=$?
__tries=0
while [ $__tries -lt 20000 ] && kill -9 -1; do __tries=$((__tries+1)); done
__oom=
for __file in /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control; do
  [ -r $__file ] && while read -r __key __value; do [ "$__key" = oom_kill ] && [ "$__value" != 0 ] && __oom=m; done <$__file
done
echo "$__millrace $__code$__oom" >&3
exit $__code`

const gateEnv = "TINI_KILL_PROCESS_GROUP=1"

// gate is the first process of a gated container; its arguments are the command.
func gate() []string { return []string{"/bin/sh", "-c", gateScript, "gate"} }

// newMark is a line's beginning that no output contains by accident. Its first
// byte occurs in it once.
func newMark() []byte { return []byte("\x1emillrace " + random(16)) }

// errEnd ends a copy at the mark.
var errEnd = errors.New("end of step")

// verdict is what the gate says.
type verdict struct {
	code int
	oom  bool
}

// untilMark passes on what is written to it until the mark comes, which it keeps
// to itself with the exit code after it. An empty mark never comes.
type untilMark struct {
	out  io.Writer
	mark []byte
	held []byte  // may be the mark's beginning
	end  verdict // once Write has returned errEnd
}

func (u *untilMark) Write(b []byte) (int, error) {
	if len(u.mark) == 0 {
		return u.out.Write(b)
	}
	all := b
	if len(u.held) > 0 {
		all = append(u.held, b...)
	}
	safe, end, ended := u.scan(all)
	if safe > 0 {
		if _, err := u.out.Write(all[:safe]); err != nil {
			return 0, err
		}
	}
	if ended {
		u.held, u.end = nil, end
		return 0, errEnd
	}
	u.held = append([]byte(nil), all[safe:]...)
	return len(b), nil
}

// scan finds how much of b is the step's output for sure, and the mark's line if
// all of it is there.
func (u *untilMark) scan(b []byte) (safe int, end verdict, ended bool) {
	for at := 0; ; at++ {
		i := bytes.IndexByte(b[at:], u.mark[0])
		if i < 0 {
			return len(b), verdict{}, false
		}
		at += i
		rest := b[at:]
		if len(rest) < len(u.mark) && bytes.HasPrefix(u.mark, rest) {
			return at, verdict{}, false
		}
		line, ok := bytes.CutPrefix(rest, u.mark)
		if !ok {
			continue
		}
		switch end, state := parseVerdict(line); state {
		case whole:
			return at, end, true
		case partial:
			return at, verdict{}, false
		}
	}
}

// What may be at the beginning of a text.
type match int

const (
	none match = iota
	partial
	whole
)

// parseVerdict reads the rest of the mark's line: a space, up to three digits, an m
// or none, a newline.
func parseVerdict(b []byte) (v verdict, m match) {
	if len(b) == 0 {
		return v, partial
	}
	if b[0] != ' ' {
		return v, none
	}
	for i, c := range b[1:] {
		switch {
		case c == '\n' && i > 0:
			return v, whole
		case c == 'm' && i > 0 && !v.oom:
			v.oom = true
		case c < '0' || c > '9' || i == 3 || v.oom:
			return v, none
		default:
			v.code = 10*v.code + int(c-'0')
		}
	}
	return v, partial
}

// flush passes on what was held back when no more can come.
func (u *untilMark) flush() error {
	if len(u.held) == 0 {
		return nil
	}
	_, err := u.out.Write(u.held)
	u.held = nil
	return err
}
