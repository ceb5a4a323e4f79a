package bayeux

import (
	"errors"
	"hash/fnv"
)

// Ordinal says which of its client's connects a message is, as far as its id tells: it
// travels from server to server, so that the one where a session lives decides what
// becomes of a connect that came elsewhere. The zero Ordinal tells nothing.
type Ordinal struct {
	// Mark tells a connect from others: of its id and its advice; 0: it has no id. Two
	// that share a mark by chance cost a client of bad luck a repeat.
	Mark uint64 `json:"mark,omitempty"`
	// Number rises from connect to connect: clients count, Faye in base 36 and CometD in
	// decimals; 0: the id is no such number.
	Number uint64 `json:"number,omitempty"`
}

// ErrLate is what is said of a connect that its client gave up long ago, and that comes
// when a newer one has come: it is answered with nothing. Were it to serve the session,
// what it took would seem to have arrived at the next connect.
var ErrLate = errors.New("bayeux: a newer connect has come")

// Ordinal returns which of its client's connects m is; the zero one if it is none that
// could take a session over.
func (m *Message) Ordinal() Ordinal {
	if m.kind != kindConnect || m.ConnectionType == "eventsource" {
		return Ordinal{}
	}
	return Ordinal{Mark: m.mark(), Number: m.number()}
}

// mark is Ordinal.Mark.
func (m *Message) mark() uint64 {
	if len(m.ID) == 0 {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write(m.ID)
	_, _ = h.Write([]byte{0})
	_, _ = h.Write(m.rawAdvice)
	return h.Sum64()
}

// mostDigits is how long the ids are that count; longer ones are names.
const mostDigits = 8

// number is Ordinal.Number: in base 36 decimals rise, too.
func (m *Message) number() (n uint64) {
	id := m.ID
	if len(id) > 2 && id[0] == '"' {
		id = id[1 : len(id)-1]
	}
	if len(id) > mostDigits {
		return 0
	}
	for _, c := range id {
		switch {
		case '0' <= c && c <= '9':
			n = 36*n + uint64(c-'0')
		case 'a' <= c && c <= 'z':
			n = 36*n + uint64(c-'a') + 10
		default:
			return 0
		}
	}
	return n
}

// repeats reports whether a connect is the one with that mark again.
func (m *Message) repeats(last uint64) bool { return last != 0 && m.mark() == last }

// sequence is what is known of the order in which a client has sent its connects.
type sequence struct {
	shake  uint64 // number of the handshake; 0: it had none, or was elsewhere
	newest uint64 // number of the newest one; 0: it had none
	rising bool   // and it was above the one before
	late   int    // what those count that were below it since
	back   uint64 // the highest of these
}

// A client whose numbers begin anew, after a reload of its page, or whose ids are no
// numbers at all, is served all the same: after some connects that rise, though they are
// below the newest, or after many of any kind, since of one connect that was given up
// many copies may be on their way.
const (
	mostLate  = 32
	risesLate = 10
	// Who counts sends at most so many other messages between handshake and first connect.
	mostBetween = 8
)

// overtaken reports whether a connect is older than the newest, and counts it.
func (q *sequence) overtaken(o Ordinal) bool {
	if !q.rising || o.Number == 0 || o.Number >= q.newest || q.late >= mostLate {
		return false
	}
	if o.Number > q.back {
		q.back = o.Number
		q.late += risesLate
	} else {
		q.late++
	}
	return true
}

// add notes a connect that is served.
func (q *sequence) add(o Ordinal) {
	if o.Number == q.newest {
		return
	}
	if q.newest == 0 {
		q.rising = q.shake != 0 && o.Number > q.shake && o.Number-q.shake <= mostBetween
	} else {
		q.rising = o.Number > q.newest
	}
	q.newest, q.late, q.back = o.Number, 0, 0
}
