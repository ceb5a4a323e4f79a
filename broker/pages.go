package broker

import (
	"container/list"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/prometheus/client_golang/prometheus"
)

// Pages of catch-ups are shared: of a herd of late joiners one reads and encodes a
// stretch of history, the others get the same deliveries. So a page ends at a round
// number, wherever a replay began.
const (
	// pageRound is how many messages a whole page has.
	pageRound = 256
	// pageAge is how long a page is remembered after its last use: a herd comes together.
	pageAge = 5 * time.Second
	// pageEntry is about what a message of a page takes beside its bytes.
	pageEntry = 96
)

// pages remembers encoded pages for a moment, least recently used first to go. What is
// remembered is what the store has: records do not change, and where some are taken away
// (a withdrawal, a fork, a log that is deleted) the log's pages are forgotten, on all
// nodes (Broker.rewrote). What expires is not asked for by a replay that begins then.
type pages struct {
	most int // bytes of all, beside what waits for sessions that already have them

	shared, read, evicted atomic.Uint64

	mu    sync.Mutex
	byKey map[pageKey]*page
	order *list.List // of *page, least recently used first
	bytes int
	blind bool // other nodes' withdrawals are not heard of: nothing is remembered
}

type pageKey struct {
	log     store.LogName
	channel string // the name in the deliveries, root and interval included
	after   store.Position
}

type page struct {
	key     pageKey
	used    time.Time
	loaded  chan struct{} // closed when sheet and err are set
	sheet   sheet
	err     error
	bytes   int
	element *list.Element
}

// sheet is what a page holds: all that a log has after a position.
type sheet struct {
	deliveries []*bayeux.Delivery
	at         []store.Position // of each
	last       store.Position   // up to here
	whole      bool             // and what follows is another page's
}

// serves reports whether a walk that ends at upTo needs no longer page.
func (s *sheet) serves(upTo store.Position) bool { return s.whole || !s.last.Before(upTo) }

// upTo returns what of the page a walk gets that ends at p.
func (s *sheet) upTo(p store.Position) []*bayeux.Delivery {
	n, found := slices.BinarySearchFunc(s.at, p, store.Position.Compare)
	if found {
		n++
	}
	return s.deliveries[:n:n]
}

func newPages(most int) *pages {
	return &pages{most: most, byKey: make(map[pageKey]*page), order: list.New()}
}

// roundUp is how many messages there are from a position to the end of its page.
func roundUp(after store.Position) int { return pageRound - int(after.N()%pageRound) }

// observe adds the figures of the pages to the metrics, if there are any.
func (p *pages) observe(reg prometheus.Registerer) error {
	if err := addGauge(reg, "page_bytes", "Encoded pages of catch-ups that are remembered for late joiners, in bytes.", func() float64 { return float64(p.held()) }); err != nil {
		return err
	}
	for _, c := range []struct {
		name, help string
		n          *atomic.Uint64
	}{
		{"pages_read_total", "Pages of catch-ups read from the store and encoded.", &p.read},
		{"pages_shared_total", "Pages of catch-ups that another one had read.", &p.shared},
		{"pages_evicted_total", "Pages of catch-ups forgotten to make room for others.", &p.evicted},
	} {
		if err := addCounter(reg, c.name, c.help, func() float64 { return float64(c.n.Load()) }); err != nil {
			return err
		}
	}
	return nil
}

// held returns the bytes of all that is remembered.
func (p *pages) held() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bytes
}

// get returns the page of a walk that ends at upTo, loaded by the first who asks. What
// keeps the store from answering it keeps from all who wait; they ask again later. If the
// first goes away meanwhile, or has nothing, the next one loads.
func (p *pages) get(ctx context.Context, key pageKey, upTo store.Position, load func() (sheet, error)) (sheet, error) {
	for {
		old, fresh := p.find(key)
		if old == nil {
			p.read.Add(1)
			fresh.sheet, fresh.err = load()
			p.remember(fresh)
			close(fresh.loaded)
			return fresh.sheet, fresh.err
		}
		select {
		case <-old.loaded:
		case <-ctx.Done():
			return sheet{}, ctx.Err()
		}
		switch {
		case old.err == nil && old.sheet.serves(upTo):
			p.shared.Add(1)
			return old.sheet, nil
		case old.err == nil || errors.Is(old.err, io.EOF) || errors.Is(old.err, context.Canceled) || errors.Is(old.err, context.DeadlineExceeded):
			p.forgetPage(old)
		default:
			return sheet{}, old.err
		}
	}
}

// find returns the page that is there, maybe under way, or else a fresh one, which the
// caller loads.
func (p *pages) find(key pageKey) (old, fresh *page) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expire(now)
	if old = p.byKey[key]; old != nil {
		old.used = now
		p.order.MoveToBack(old.element)
		return old, nil
	}
	fresh = &page{key: key, used: now, loaded: make(chan struct{})}
	fresh.element = p.order.PushBack(fresh)
	p.byKey[key] = fresh
	return nil, fresh
}

// remember keeps a page that was loaded, unless it has been forgotten meanwhile.
func (p *pages) remember(fresh *page) {
	size := 0
	for _, d := range fresh.sheet.deliveries {
		size += d.Size() + pageEntry
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.byKey[fresh.key] != fresh:
		return
	case fresh.err != nil || p.blind:
		p.drop(fresh)
		return
	}
	fresh.bytes = size
	p.bytes += size
	for e := p.order.Front(); e != nil && p.bytes > p.most; {
		old := e.Value.(*page)
		if e = e.Next(); old.bytes > 0 { // one under way holds nothing yet
			p.drop(old)
			p.evicted.Add(1)
		}
	}
}

// forget forgets the pages of a log, also those under way: what a load has read before
// is handed on to who asked before, and to nobody else.
func (p *pages) forget(log store.LogName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, q := range p.byKey {
		if key.log == log {
			p.drop(q)
		}
	}
}

// heed says whether other nodes' withdrawals are heard of. Some may have been missed:
// nothing that is remembered is handed on.
func (p *pages) heed(yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.blind = !yes
	for _, q := range p.byKey {
		p.drop(q)
	}
}

func (p *pages) forgetPage(q *page) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop(q)
}

// expire forgets what has not been used for a while. The caller holds mu.
func (p *pages) expire(now time.Time) {
	for e := p.order.Front(); e != nil && now.Sub(e.Value.(*page).used) > pageAge; e = p.order.Front() {
		p.drop(e.Value.(*page))
	}
}

// drop forgets a page. The caller holds mu.
func (p *pages) drop(q *page) {
	if p.byKey[q.key] != q {
		return
	}
	delete(p.byKey, q.key)
	p.order.Remove(q.element)
	p.bytes -= q.bytes
}

// sweep is expire for quiet times.
func (p *pages) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expire(time.Now())
}

// rewrote is called when records of a log were taken away, before whoever asked for it
// is answered: no catch-up that begins then brings them, on this node; on others it is
// so when they have heard of it.
func (b *Broker) rewrote(log store.LogName) {
	b.pages.forget(log)
	if b.opt.Store.Shared() {
		b.post(notice{Rewrote: &log})
	}
}
