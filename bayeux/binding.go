package bayeux

// bindings are the sessions that a socket serves, and which of them are among ready: as a
// rule there is one, which needs no table.
type bindings struct {
	first  *Session // nil: none
	queued bool     // it is among ready
	others map[*Session]bool
}

func (b *bindings) has(s *Session) bool {
	_, is := b.others[s]
	return is || b.first == s
}

func (b *bindings) len() int {
	if b.first == nil {
		return len(b.others)
	}
	return len(b.others) + 1
}

func (b *bindings) add(s *Session) {
	switch {
	case b.has(s):
	case b.first == nil:
		b.first, b.queued = s, false
	default:
		if b.others == nil {
			b.others = make(map[*Session]bool)
		}
		b.others[s] = false
	}
}

func (b *bindings) remove(s *Session) {
	if b.first == s {
		b.first = nil
		return
	}
	delete(b.others, s)
}

// queue is called to put s among ready: it returns whether it is served, and was not
// there.
func (b *bindings) queue(s *Session) bool {
	if b.first == s {
		was := b.queued
		b.queued = true
		return !was
	}
	queued, is := b.others[s]
	if !is || queued {
		return false
	}
	b.others[s] = true
	return true
}

// taken is called when s is among ready no more.
func (b *bindings) taken(s *Session) {
	if b.first == s {
		b.queued = false
	} else if _, is := b.others[s]; is {
		b.others[s] = false
	}
}

func (b *bindings) all() []*Session {
	all := make([]*Session, 0, b.len())
	if b.first != nil {
		all = append(all, b.first)
	}
	for s := range b.others {
		all = append(all, s)
	}
	return all
}
