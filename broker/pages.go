package broker

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/store"
)

// Pages of catch-ups are shared: of a herd of late joiners one reads and encodes a
// stretch of history, the others get the same deliveries. So a page begins at a
// round number, wherever a replay began.
const (
	// pageRound is how many messages a whole page has.
	pageRound = 256
	// pagesBytes bounds all pages that are remembered, beside what waits for sessions
	// that already have them.
	pagesBytes = 8 << 20
	// pageAge is how long a page is remembered: a herd comes together, and what is
	// withdrawn from the history must not live on here.
	pageAge = 5 * time.Second
)

var errNotShared = errors.New("broker: page: not shared")

// pages remembers encoded pages for a moment.
type pages struct {
	mu    sync.Mutex
	byKey map[pageKey]*page
	order *list.List // of *page, oldest first
	bytes int
}

type pageKey struct {
	log     store.LogName
	channel string // the name in the deliveries, root and interval included
	after   store.Position
}

type page struct {
	key        pageKey
	at         time.Time
	loaded     chan struct{} // closed when what follows is set
	deliveries []*bayeux.Delivery
	last       store.Position
	err        error
	bytes      int
	element    *list.Element
}

func newPages() *pages {
	return &pages{byKey: make(map[pageKey]*page), order: list.New()}
}

// roundUp is how many messages there are from a position to the end of its page.
func roundUp(after store.Position) int { return pageRound - int(after.N()%pageRound) }

// get returns a page, loaded by the first who asks. load returns the deliveries, the
// last position, and whether more follows: only then is the page whole and shared.
func (p *pages) get(ctx context.Context, key pageKey, load func() (ds []*bayeux.Delivery, last store.Position, whole bool, err error)) (ds []*bayeux.Delivery, last store.Position, whole bool, err error) {
	p.mu.Lock()
	p.expire(time.Now())
	if old := p.byKey[key]; old != nil {
		p.mu.Unlock()
		select {
		case <-old.loaded:
			if old.err == nil {
				return old.deliveries, old.last, true, nil
			}
		case <-ctx.Done():
			return nil, store.Position{}, false, ctx.Err()
		}
		return load() // the first had no luck, or its page was not whole
	}
	fresh := &page{key: key, at: time.Now(), loaded: make(chan struct{}), err: errNotShared}
	fresh.element = p.order.PushBack(fresh)
	p.byKey[key] = fresh
	p.mu.Unlock()
	defer close(fresh.loaded)

	ds, last, whole, err = load()
	size := 0
	for _, d := range ds {
		size += d.Size()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil || !whole {
		p.drop(fresh)
		return ds, last, whole, err
	}
	fresh.deliveries, fresh.last, fresh.err = ds, last, nil
	if p.byKey[key] == fresh {
		fresh.bytes = size
		p.bytes += size
		for p.bytes > pagesBytes && p.order.Len() > 1 {
			p.drop(p.order.Front().Value.(*page))
		}
	}
	return ds, last, whole, nil
}

// expire forgets what is too old. The caller holds mu.
func (p *pages) expire(now time.Time) {
	for e := p.order.Front(); e != nil && now.Sub(e.Value.(*page).at) > pageAge; e = p.order.Front() {
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
