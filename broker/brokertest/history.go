package brokertest

import (
	"slices"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// Outcome is what a publisher knows of a message in the end.
type Outcome uint8

const (
	// Unknown: no answer came, or one that says so (504). It may be kept, once.
	Unknown Outcome = iota
	// OK: it was acknowledged.
	OK
	// Refused: the broker said that it is not kept.
	Refused
)

// String names the outcome as security.md §5.3 does.
func (o Outcome) String() string { return [...]string{"unknown", "ok", "refused"}[o] }

// Publication is one operation of a publisher. Times here and below are those
// since History.Start.
type Publication struct {
	Publisher, K int
	Channel      string
	ID           store.Position // of an OK one
	Sum          uint64         // of the data's bytes
	Sent         time.Duration  // first attempt
	Answered     time.Duration  // of OK and Refused ones
	Outcome      Outcome
}

// Kept is one message of the history read back at the end.
type Kept struct {
	ID           store.Position
	Publisher, K int
	Sum          uint64
}

// Take is one subscription of a session: live, or a catch-up over Interval.
type Take struct {
	Channel  string        // the base: /a, also for /a/catchup/1h
	Interval time.Duration // 0: live
	Asked    time.Duration // when it was first sent
	// Answered is when the last answer came; 0: none did, and nothing is
	// expected of it.
	Answered time.Duration
	Tries    int
	// Pattern: it came by a wildcard, which after a loss of the broker is taken up
	// by the store's clock, not by a position: a message may come late that was
	// published a moment before it was asked for.
	Pattern bool
	// Refused: an answer said that it was not carried out; it was asked for again.
	Refused bool
	// Dropped: it was given up for a while. A catch-up that was asked for more than once
	// may then have begun and ended twice, each time as of when it was carried out.
	Dropped bool
	// Announced is ext.catchup.messages of the only answer; -1: not known.
	Announced int
}

// Receipt is one delivery, as it came.
type Receipt struct {
	Channel      string // the base
	Interval     time.Duration
	Replay       bool // what ext.history says
	ID           store.Position
	Publisher, K int
	Sum          uint64
	At           time.Duration
	Link         int // index into Session.Links
	Node         int // that gave it
}

// Link is one connection of a session, or an unbroken row of polls.
type Link struct {
	Transport string
	From, To  time.Duration
	// Broken: it did not end with an answered connect, so what came last may
	// come again (decided.md 4).
	Broken bool
}

// Session is the life of one clientId, as its client saw it.
type Session struct {
	Name     string
	Takes    []Take
	Receipts []Receipt
	Links    []Link
	// Served says which node answered, from when on; nil: node 0 all the time.
	Served []Served
	// Gap is the longest time without an answer or a delivery.
	Gap time.Duration
	// Drained: it lived to the end and was given the time to hear everything.
	Drained bool
}

// History is all that was done and seen in one run.
type History struct {
	Start        time.Time
	Publications []Publication
	Kept         map[string][]Kept // by channel, in order
	Sessions     []*Session
	// Losses are when nodes, and what they held, were lost: what they had sent may
	// still have been under way, on links that never broke, and come again.
	Losses []Loss
	// Forks are when the store lost what it had acknowledged, as it may (security.md
	// §5.1).
	Forks []Fork
}

// Served is when a node answered a session, after others.
type Served struct {
	From time.Duration
	Node int
	// Asked is when the node was asked for that answer: it may have had the session since,
	// and the answer been on its way for as long. 0: it is not known.
	Asked time.Duration
	// Maybe: the session need not live there. It answered what it may have had carried out
	// elsewhere, or could not serve.
	Maybe bool
}

// heldBy reports whether a node may have had the session at some time between two.
func (s *Session) heldBy(node int, from, to time.Duration) bool {
	holders := []int{0}
	for _, one := range s.Served {
		if one.From > from && slices.Contains(holders, node) {
			return true
		}
		if one.From > to {
			return one.Node == node && one.Asked <= to
		}
		if !one.Maybe {
			holders = holders[:0]
		}
		holders = append(holders, one.Node)
	}
	return slices.Contains(holders, node)
}

// Loss is a time in which a node lost the sessions it held: the next one goes on
// where it was last written down how far they were.
type Loss struct {
	Node     int // everyNode: all of them
	From, To time.Duration
}

const everyNode = -1

// Fork is a time in which the store acknowledged what it did not keep.
type Fork struct {
	From, To time.Duration
}
