package groups

import (
	"context"

	"github.com/gobelin-broker/gobelin/store"
)

// Read reads a page of the log; see store.Log.
type Read func(ctx context.Context, r store.Range, limit, maxBytes int) (store.Page, error)

// Take hands records to consumer; see store.Groups. read is called without mu, so that
// nobody else waits for it but another Take.
func (g *Group) Take(ctx context.Context, read Read, limits store.Limits, consumer string, limit, maxBytes int) (store.Taken, error) {
	g.taking.Lock()
	defer g.taking.Unlock()
	for {
		t := take{
			g: g, read: read, limits: limits, holder: holding + consumer, reader: reading + consumer,
			limit: min(max(limit, 1), store.MaxTake), bytes: maxBytes,
		}
		err := t.returned(ctx)
		if err == nil {
			err = t.fresh(ctx)
		}
		if t.end(err) {
			return t.out, err
		}
	}
}

// take is one Take under way.
type take struct {
	g            *Group
	read         Read
	limits       store.Limits
	holder       string // what the consumer's runs are marked with
	reader       string // the same while they are read
	limit, bytes int    // what is left of them

	sought int  // of the group when it began
	begun  bool // sought is set
	marked bool // something was reserved
	full   bool // something was given back because it did not fit
	out    store.Taken
}

// returned takes of what was given back, until that is all or nothing more fits.
func (t *take) returned(ctx context.Context) error {
	for !t.full {
		mine := t.reserve()
		if len(mine) == 0 {
			return nil
		}
		if err := t.readRuns(ctx, mine); err != nil {
			return err
		}
	}
	return nil
}

// readRuns reads runs that are reserved. Of what is not shown any more it forgets those.
func (t *take) readRuns(ctx context.Context, mine []run) error {
	for _, r := range mine {
		if t.limit == 0 || t.bytes <= 0 && len(t.out.Entries) > 0 {
			t.giveBack(stretch{r.prev, r.last})
			continue
		}
		page, err := t.read(ctx, store.Range{After: r.prev, UpTo: r.last, Limits: t.limits}, t.limit, t.bytes)
		if err != nil {
			return err
		}
		at, next := r.prev, r.first
		var gone []stretch
		for _, e := range page.Entries {
			if !t.fits(e) {
				page.More = true
				break
			}
			if e.Position.N() > next {
				gone = append(gone, stretch{at, before(e.Position)})
			}
			at, next = e.Position, e.Position.N()+1
			t.deliver(e, true)
		}
		if page.More {
			t.giveBack(stretch{at, r.last})
		} else if at.Before(r.last) {
			gone = append(gone, stretch{at, r.last})
		}
		t.g.mu.Lock()
		t.g.runs.edit(gone, func(r *run) bool { return r.holder != t.reader })
		t.g.mu.Unlock()
	}
	return nil
}

// reserve makes the consumer's, while they are read, whole runs of what was given back, until
// they have as many records as it wants, and returns them.
func (t *take) reserve() []run {
	g := t.g
	g.mu.Lock()
	defer g.mu.Unlock()
	if !t.begun {
		t.sought, t.begun = g.sought, true
	}
	if g.runs.returned == 0 || g.sought != t.sought {
		return nil
	}
	t.marked = true
	var mine []run
	n := 0
	for i := range g.runs.list {
		r := &g.runs.list[i]
		if r.holder != nobody || n >= t.limit {
			continue
		}
		g.runs.count(r, -1)
		r.holder = t.reader
		g.runs.count(r, 1)
		n += r.size()
		mine = append(mine, *r)
	}
	return mine
}

// giveBack gives back what was reserved and is not taken.
func (t *take) giveBack(part stretch) {
	t.full = true
	t.g.mu.Lock()
	defer t.g.mu.Unlock()
	t.g.runs.edit([]stretch{part}, func(r *run) bool {
		if r.holder == t.reader {
			r.holder = nobody
		}
		return true
	})
}

// fits reports whether e may be handed out, too: the first always may.
func (t *take) fits(e store.Entry) bool {
	return len(t.out.Entries) == 0 || t.limit > 0 && len(e.Data) <= t.bytes
}

func (t *take) deliver(e store.Entry, again bool) {
	t.out.Entries = append(t.out.Entries, e)
	if again {
		t.out.Again++
	}
	t.limit--
	t.bytes -= len(e.Data)
}

// fresh takes what nobody has taken since the store was opened. What it has taken it
// does not lose to an error.
func (t *take) fresh(ctx context.Context) error {
	before := len(t.out.Entries)
	for more := !t.full; more && t.limit > 0 && (t.bytes > 0 || len(t.out.Entries) == 0); {
		t.g.mu.Lock()
		next, room := t.g.next, store.MaxHeld-t.g.runs.held-t.g.runs.returned
		t.g.mu.Unlock()
		if room <= 0 {
			return nil
		}
		page, err := t.read(ctx, store.Range{After: next, Limits: t.limits}, min(t.limit, room), t.bytes)
		if err != nil && len(t.out.Entries) > before {
			return nil
		}
		if err != nil {
			return err
		}
		more = t.hold(page.Entries) && page.More
	}
	return nil
}

// hold notes that the entries are the consumer's, but for those that were settled
// before the store was opened. It returns whether there were such, so that more should be
// read in their place. It does nothing after a Seek.
func (t *take) hold(entries []store.Entry) (passed bool) {
	g := t.g
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sought != t.sought {
		return false
	}
	for _, e := range entries {
		p := e.Position
		switch {
		case g.settled(p):
			passed = true
		case !t.fits(e):
			return false
		default:
			again := !g.seen.Before(p)
			g.runs.add(g.next, p, t.holder, again)
			t.deliver(e, again)
		}
		g.next = p
	}
	return passed
}

// end makes what was read the consumer's, or after an error nobody's. It returns false
// when a Seek came between and the Take must begin anew.
func (t *take) end(err error) bool {
	g := t.g
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sought != t.sought {
		t.out = store.Taken{}
		return err != nil
	}
	if err != nil {
		t.out = store.Taken{}
	}
	if !t.marked {
		return true
	}
	g.runs.rename(func(r *run) {
		if r.holder != t.reader {
			return
		}
		if r.holder = t.holder; err != nil {
			r.holder, r.again = nobody, true
		}
	})
	return true
}
