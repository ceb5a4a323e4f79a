package broker

import (
	"context"
	"strconv"
	"strings"
	"sync"

	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
)

// tapQueue bounds the messages that wait to be handed to taps, over all of them: a tap
// is for looking, and what is beyond it drops, counted, oldest kept.
const tapQueue = 4096

// tapPattern is what a tap subscribes to (security.md §1.6).
const tapPattern = "/**"

// taps hand every message below the objects of an application to admins whose token
// says so, as /@<app>/<oid>/<sub-path>: no root is in it, so it opens nothing. They
// hear from when they subscribe and catch up on nothing.
type taps struct {
	b     *Broker
	queue chan store.Tail

	mu  sync.Mutex
	all map[uint32]*tap // by application
}

// tap is an application that somebody listens to.
type tap struct {
	taps      *taps
	app       uint32
	listeners map[*subscriber]struct{} // guarded by taps.mu
	stop      func()
}

func newTaps(b *Broker) *taps {
	return &taps{b: b, queue: make(chan store.Tail, tapQueue), all: map[uint32]*tap{}}
}

// tapped returns the application whose every message the asker may hear, or nil.
func (a asker) tapped() *Application {
	for _, id := range []*Identity{a.message, a.session} {
		if id != nil && id.Tap && id.Role >= RoleAdmin && a.stands(id) {
			return id.App
		}
	}
	return nil
}

// join lets a session hear an application. Again, it does nothing.
func (ts *taps) join(s *subscriber, app uint32) error {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t := ts.all[app]
	if t == nil {
		t = &tap{taps: ts, app: app, listeners: map[*subscriber]struct{}{}}
		ts.all[app] = t
	}
	t.listeners[s] = struct{}{}
	if t.stop != nil {
		return nil
	}
	stop, err := ts.b.opt.Store.Watch(roomsOf(app), t)
	if err != nil {
		delete(ts.all, app)
		return err
	}
	t.stop = stop
	return nil
}

// leave is the opposite, for whatever the session hears.
func (ts *taps) leave(s *subscriber) {
	ts.mu.Lock()
	var stops []func()
	for app, t := range ts.all {
		delete(t.listeners, s)
		if len(t.listeners) == 0 {
			delete(ts.all, app)
			stops = append(stops, t.stop)
		}
	}
	ts.mu.Unlock()
	// The store waits for calls of Entries under way, which take nothing of ours.
	for _, stop := range stops {
		stop()
	}
}

// Ready is part of store.Watcher.
func (t *tap) Ready() {}

// Broken is part of store.Watcher: what is missed meanwhile no tap hears.
func (t *tap) Broken(error) { t.taps.b.metrics.dropped("tap").Inc() }

// Entries is part of store.Watcher: it queues only.
func (t *tap) Entries(batch []store.Tail) {
	for _, e := range batch {
		select {
		case t.taps.queue <- e:
		default:
			t.taps.b.metrics.dropped("tap").Inc()
		}
	}
}

// run hands on what was queued until ctx ends.
func (ts *taps) run(ctx context.Context) {
	for {
		select {
		case e := <-ts.queue:
			ts.hand(e)
		case <-ctx.Done():
			return
		}
	}
}

// hand gives one message to all who hear its application.
func (ts *taps) hand(e store.Tail) {
	number, oid, _ := strings.Cut(strings.TrimPrefix(e.Log.Feed, objectFeed), "/")
	app, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return
	}
	name, err := channels.Parse(e.Log.Path)
	if err != nil {
		return // a log of the object's that is no channel
	}
	k := ts.b.kinds.of(name)
	if k == nil || k.subscribe > RoleAdmin || strings.HasPrefix(e.Log.Path, "/data/user") {
		return
	}
	m, err := catchup.Decode(e.Entry)
	if err != nil {
		ts.b.metrics.badRecords.Inc()
		return
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t := ts.all[uint32(app)]
	if t == nil {
		return
	}
	d := newDelivery("/@"+number+"/"+oid+e.Log.Path, m, form{})
	for s := range t.listeners {
		s.session.Deliver(d)
	}
}

// takeTap carries out the subscription of a tap.
func (s *subscriber) takeTap(t *target) error {
	if err := s.b.taps.join(s, t.tap); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t.fresh, s.tap = s.tap == 0, t.tap
	return nil
}

// quitTap ends it.
func (s *subscriber) quitTap() {
	s.mu.Lock()
	had := s.tap != 0
	s.tap = 0
	s.mu.Unlock()
	if had {
		s.b.taps.leave(s)
	}
}

// restoreTap takes a tap up again.
func (s *subscriber) restoreTap(app uint32) error {
	if app == 0 {
		return nil
	}
	if err := s.takeTap(&target{tap: app}); err != nil {
		return storeRefusal(err, s.b, "resume")
	}
	return nil
}

// listenTap adds to what is open on /** what a tap hears besides.
func (b *Broker) listenTap(p channels.Pattern, a asker) (target, error) {
	t, err := b.listenOpen(p)
	if p.String() != tapPattern {
		return t, err
	}
	app := a.tapped()
	if app == nil {
		return t, err
	}
	if err := b.refuseSuspended(app, p.String()); err != nil {
		return target{}, err
	}
	if err != nil {
		t = target{pattern: p, class: RootClass{Level: RoleViewer, Subscribe: true}}
	}
	t.tap = app.ID
	return t, nil
}

var _ store.Watcher = (*tap)(nil)
