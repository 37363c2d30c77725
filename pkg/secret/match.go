package secret

// matcher finds the ends of forms in a stream of bytes: Aho and Corasick's automaton,
// whose states are the beginnings of forms. Its size is that of the forms, its time
// that of the text. It does not change once it is made.
type matcher struct {
	states []state
	first  [256]int32     // the states of one byte
	pairs  [1 << 13]uint8 // bits: whether a form begins with these two bytes
}

// state is a beginning of a form; the empty one is 0. States are numbered from 1, so
// that 0 means none for the links.
type state struct {
	child, sibling int32 // first longer beginning by one byte, and the next one of the same length
	fail           int32 // the longest end of this beginning that is a beginning too
	depth          int32 // its length
	found          int32 // length of the longest form that it ends with, 0 for none
	label          byte  // its last byte
}

func newMatcher(forms []string) *matcher {
	m := &matcher{states: make([]state, 1)}
	for _, f := range forms {
		m.add(f)
	}
	m.link()
	return m
}

func (m *matcher) add(form string) {
	pair := uint16(form[0])<<8 | uint16(form[1])
	m.pairs[pair>>3] |= 1 << (pair & 7)
	at := int32(0)
	for i := range len(form) {
		next := m.next(at, form[i])
		if next == 0 {
			next = int32(len(m.states))
			m.states = append(m.states, state{label: form[i], depth: int32(i + 1), sibling: m.states[at].child})
			m.states[at].child = next
			if at == 0 {
				m.first[form[i]] = next
			}
		}
		at = next
	}
	m.states[at].found = m.states[at].depth
}

// link fills in fail and found, shorter beginnings first.
func (m *matcher) link() {
	queue := []int32{0}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for c := m.states[at].child; c != 0; c = m.states[c].sibling {
			s := &m.states[c]
			if at != 0 {
				s.fail = m.step(m.states[at].fail, s.label)
			}
			if s.found == 0 {
				s.found = m.states[s.fail].found
			}
			queue = append(queue, c)
		}
	}
}

// next is the beginning that is longer by b, 0 where there is none.
func (m *matcher) next(at int32, b byte) int32 {
	if at == 0 {
		return m.first[b]
	}
	for c := m.states[at].child; c != 0; c = m.states[c].sibling {
		if m.states[c].label == b {
			return c
		}
	}
	return 0
}

// step is the state after b.
func (m *matcher) step(at int32, b byte) int32 {
	for {
		if next := m.next(at, b); next != 0 || at == 0 {
			return next
		}
		at = m.states[at].fail
	}
}

// skip is the first place in text where a form may begin; its last byte always may.
func (m *matcher) skip(text []byte) int {
	for i := range len(text) - 1 {
		if pair := uint16(text[i])<<8 | uint16(text[i+1]); m.pairs[pair>>3]&(1<<(pair&7)) != 0 {
			return i
		}
	}
	return len(text) - 1
}

// pending is how many of the last bytes may still become part of a form.
func (m *matcher) pending(at int32) int64 { return int64(m.states[at].depth) }
