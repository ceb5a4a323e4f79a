package brokertest

import (
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// arrivals are what a session got, by what was asked for, each as it came last.
type arrivals map[asked]arrival

type asked struct {
	channel  string
	interval time.Duration
	id       store.Position
}

type arrival struct {
	link, node int
	at         time.Duration
	extra      int // repeats without a broken link of their own
}

// again reports whether a message has come before, which it may only for a reason (4).
func (c *checker) again(s *Session, r *Receipt, came arrivals) bool {
	k := asked{r.Channel, r.Interval, r.ID}
	before, again := came[k]
	now := arrival{r.Link, r.Node, r.At, before.extra}
	if again {
		broken, retried := c.mayRepeat(s, before.link, r.Link, before.at), s.retried(r.Channel, r.Interval)
		if now.extra++; broken {
			now.extra = 0 // all that was under way comes again, what came for two askings twice
		}
		switch {
		case broken, now.extra <= retried:
			c.report.Repeats++
		case now.extra <= retried+c.losses(s, before.at, r.At):
			c.report.Repeats++
			c.report.AfterLoss++
		default:
			c.report.fault(4, "%s: %s: %v came twice, %v after the last time, at %v, without a broken link between (links %d and %d, nodes %d and %d)",
				s.Name, r.Channel, r.ID, r.At-before.at, r.At, before.link, r.Link, before.node, r.Node)
		}
	}
	came[k] = now
	return again
}

// mayRepeat reports whether a message that came over one link may come over
// another again (decided.md 4).
func (c *checker) mayRepeat(s *Session, first, again int, at time.Duration) bool {
	for i := first; i < again && i < len(s.Links); i++ {
		if s.Links[i].Broken && (c.rules.Window == 0 || s.Links[i].To-at <= c.rules.Window) {
			return true
		}
	}
	return false
}

// losses is how often the node that held the session was lost while a message that
// came at first could be under way, or after that, until it came again.
func (c *checker) losses(s *Session, first, again time.Duration) int {
	n := 0
	for _, l := range c.h.Losses {
		if (l.Node == everyNode || s.heldBy(l.Node, l.From, l.To)) && l.To >= first-c.rules.Settle && l.From <= again {
			n++
		}
	}
	return n
}

// retried is how often a catch-up was asked for again, since its answer was lost:
// each time it may be replayed again (decided.md 6).
func (s *Session) retried(channel string, interval time.Duration) int {
	if interval == 0 {
		return 0
	}
	n := 0
	for i := range s.Takes {
		if t := &s.Takes[i]; t.Channel == channel && t.Interval == interval {
			n += max(0, t.Tries-1)
		}
	}
	return n
}
