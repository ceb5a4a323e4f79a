package brokertest

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// Rules are the expectations that depend on the run. The zero value is the
// strictest.
type Rules struct {
	// Settle is how long after its acknowledgement a message may still be on its
	// way to a session that is connected all the time (security.md §5.3, rule 5).
	Settle time.Duration
	// Window bounds how long before a break a message may have come that comes
	// again after it; 0: no bound.
	Window time.Duration
	// Lag is how long after its acknowledgement a message may still count as live
	// for a subscription that was asked for meanwhile.
	Lag time.Duration
	// Clock is how far the store's clock and ours may lie apart.
	Clock time.Duration
}

// Fault is one breach of a rule of security.md §5.3.
type Fault struct {
	Rule int
	Text string
}

// Report is what Check found.
type Report struct {
	OK, Refused, Unknown int // publications
	Late                 int // unknown ones that were kept
	Kept                 int
	Sessions, Drained    int
	Receipts             int
	Repeats              int // with the same id, after a broken link or the loss of a node: allowed, and taken out
	AfterLoss            int // those of them that only the loss of a node explains
	Breaks               int // links that broke
	Lost                 int // publications acknowledged and not kept, by a fork: allowed, and counted
	LostReceipts         int // deliveries of such
	// Faults holds at most mostFaults of each rule, a few of one session; Breaches counts
	// them all.
	Faults   []Fault
	Breaches [9]int
	told     map[string]int // by rule and whom it is about
}

// mostFaults is how many faults of a rule are told in words, of one session mostAlike.
const (
	mostFaults = 10
	mostAlike  = 2
)

// Clean reports whether no rule was broken.
func (r *Report) Clean() bool { return r.Breaches == [9]int{} }

// String is the report for people: one line of figures, then the faults.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "published %d ok, %d refused, %d unknown (%d of them kept); history %d; %d sessions (%d to the end), %d links broken, %d receipts, %d repeats taken out (%d after the loss of a node)",
		r.OK, r.Refused, r.Unknown, r.Late, r.Kept, r.Sessions, r.Drained, r.Breaks, r.Receipts, r.Repeats, r.AfterLoss)
	if r.Lost+r.LostReceipts > 0 {
		fmt.Fprintf(&b, "; lost by a fork of the store: %d acknowledged publications, delivered %d times", r.Lost, r.LostReceipts)
	}
	for rule, n := range r.Breaches {
		if n > 0 {
			fmt.Fprintf(&b, "\nrule %d broken %d times", rule, n)
		}
	}
	for _, f := range r.Faults {
		fmt.Fprintf(&b, "\n  %d: %s", f.Rule, f.Text)
	}
	return b.String()
}

func (r *Report) fault(rule int, format string, args ...any) {
	r.Breaches[rule]++
	text := fmt.Sprintf(format, args...)
	who, _, _ := strings.Cut(text, ":")
	all, one := fmt.Sprint(rule), fmt.Sprint(rule, who)
	if r.told == nil {
		r.told = map[string]int{}
	}
	if r.told[all] < mostFaults && r.told[one] < mostAlike {
		r.told[all]++
		r.told[one]++
		r.Faults = append(r.Faults, Fault{rule, text})
	}
}

// operation names a message by who published it.
type operation struct{ publisher, k int }

func (o operation) String() string { return fmt.Sprintf("publisher %d's message %d", o.publisher, o.k) }

// checker holds what the rules look up.
type checker struct {
	h        *History
	rules    Rules
	report   *Report
	by       map[operation]*Publication
	channels map[string]*channel
}

// channel is the history of one channel with its indexes.
type channel struct {
	name string
	kept []Kept
	at   map[store.Position]int // index in kept
	pubs []*Publication         // beside kept; nil: invented
	ours []*Publication         // all publications to it, in order of Sent
}

// Check holds a history against the rules of security.md §5.3. It does not change
// h and takes n log n steps.
func Check(h *History, rules Rules) *Report {
	c := &checker{h: h, rules: rules, report: &Report{}, by: map[operation]*Publication{}, channels: map[string]*channel{}}
	c.index()
	for i := range h.Publications {
		c.publication(&h.Publications[i])
	}
	for _, name := range slices.Sorted(maps.Keys(c.channels)) {
		c.order(c.channels[name])
	}
	for _, s := range h.Sessions {
		c.session(s)
	}
	return c.report
}

func (c *checker) channel(name string) *channel {
	ch := c.channels[name]
	if ch == nil {
		ch = &channel{name: name, at: map[store.Position]int{}}
		c.channels[name] = ch
	}
	return ch
}

// index finds each message of the history by its id and its operation, and checks
// what can be seen on the way: once, unchanged, in the order of ids, not invented.
func (c *checker) index() {
	for i := range c.h.Publications {
		p := &c.h.Publications[i]
		op := operation{p.Publisher, p.K}
		if c.by[op] != nil {
			c.report.fault(1, "%v was published twice by its publisher: the run is at fault", op)
		}
		c.by[op] = p
		ch := c.channel(p.Channel)
		ch.ours = append(ch.ours, p)
	}
	places := map[operation]store.Position{}
	for name, kept := range c.h.Kept {
		ch := c.channel(name)
		ch.kept, ch.pubs = kept, make([]*Publication, len(kept))
		c.report.Kept += len(kept)
		for i, k := range kept {
			op := operation{k.Publisher, k.K}
			if j, twice := ch.at[k.ID]; twice {
				c.report.fault(1, "%s: id %v is at %d and at %d of the history", name, k.ID, j, i)
			}
			ch.at[k.ID] = i
			if i > 0 && !kept[i-1].ID.Before(k.ID) {
				c.report.fault(4, "%s: id %v stands after %v in the history", name, k.ID, kept[i-1].ID)
			}
			p := c.by[op]
			if p == nil || p.Channel != name {
				c.report.fault(7, "%s: %v in the history was never published there", name, op)
				continue
			}
			if first, twice := places[op]; twice {
				rule := 1
				if p.Outcome != OK {
					rule = 2
				}
				c.report.fault(rule, "%s: %v (%v) is in the history twice, as %v and %v", name, op, p.Outcome, first, k.ID)
				continue
			}
			places[op] = k.ID
			ch.pubs[i] = p
			if p.Sum != k.Sum {
				c.report.fault(6, "%s: the data of %v has changed in the history", name, op)
			}
			if p.Outcome == Unknown {
				c.report.Late++
			}
		}
	}
	for _, ch := range c.channels {
		slices.SortStableFunc(ch.ours, func(a, b *Publication) int { return int(a.Sent - b.Sent) })
	}
}

// publication checks rules 1 and 2 for one operation.
func (c *checker) publication(p *Publication) {
	op := operation{p.Publisher, p.K}
	ch := c.channels[p.Channel]
	switch p.Outcome {
	case OK:
		c.report.OK++
		if i, there := ch.at[p.ID]; !there && c.forked(p) {
			c.report.Lost++
		} else if !there {
			c.report.fault(1, "%s: %v was acknowledged as %v and is not in the history", p.Channel, op, p.ID)
		} else if k := ch.kept[i]; k.Publisher != p.Publisher || k.K != p.K {
			c.report.fault(1, "%s: %v was acknowledged as %v, which is %v", p.Channel, op, p.ID, operation{k.Publisher, k.K})
		}
	case Refused:
		c.report.Refused++
		for i := range ch.pubs {
			if ch.pubs[i] == p {
				c.report.fault(2, "%s: %v was refused and is in the history as %v", p.Channel, op, ch.kept[i].ID)
			}
		}
	default:
		c.report.Unknown++
	}
}

// forked reports whether the store may have lost p after it had acknowledged it.
func (c *checker) forked(p *Publication) bool {
	return slices.ContainsFunc(c.h.Forks, func(f Fork) bool {
		return p.Sent <= f.To && (p.Outcome != OK || p.Answered >= f.From)
	})
}

// lost reports whether a delivery that is not in the history is of what a fork
// took away.
func (c *checker) lost(r *Receipt) bool {
	p := c.by[operation{r.Publisher, r.K}]
	return p != nil && p.Channel == r.Channel && p.Sum == r.Sum && c.forked(p)
}

// order checks rules 3 and 8 for one channel.
func (c *checker) order(ch *channel) {
	newest := map[int]*Publication{} // by publisher
	for _, p := range ch.pubs {
		if p == nil || p.Outcome != OK {
			continue
		}
		if before := newest[p.Publisher]; before != nil && before.K > p.K {
			c.report.fault(3, "%s: %v (%v, sent at %v, answered at %v) stands after its message %d (%v, sent at %v, answered at %v)", ch.name,
				operation{p.Publisher, p.K}, p.ID, p.Sent, p.Answered, before.K, before.ID, before.Sent, before.Answered)
			continue
		}
		newest[p.Publisher] = p
	}
	// From the end: the earliest answer among all that stand after.
	earliest, of := time.Duration(math.MaxInt64), (*Publication)(nil)
	for _, p := range slices.Backward(ch.pubs) {
		if p == nil {
			continue
		}
		if earliest < p.Sent {
			c.report.fault(8, "%s: %v was acknowledged before %v was sent, and stands after it", ch.name,
				operation{of.Publisher, of.K}, operation{p.Publisher, p.K})
		}
		if p.Outcome == OK && p.Answered < earliest {
			earliest, of = p.Answered, p
		}
	}
}
