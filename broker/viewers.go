package broker

import (
	"slices"
	"sync"

	"github.com/gobelin-broker/gobelin/catchup"
)

// mostViewed bounds the objects that a session is remembered to have viewed, against
// one that goes through all of them; beyond it, it counts as new again for those that
// it viewed first.
const mostViewed = 512

// viewers is who views what on this node (product.md §8.1). It is counted where
// subscriptions change, never by looking at all sessions. Of all locks only registry.mu
// comes after mu.
type viewers struct {
	mu sync.Mutex
	// guarded by mu:
	rooms map[string]*viewed // by the object's feed
	all   int                // viewers over all rooms
}

// viewed is an object with viewers on this node.
type viewed struct {
	object  *Object
	viewers int
	// fresh are those that no sample has counted yet. Who goes before one does was
	// never a viewer.
	fresh map[*subscriber]struct{}
}

func newViewers() *viewers { return &viewers{rooms: map[string]*viewed{}} }

// enter counts a viewer; fresh says that no sample has counted it before.
func (w *viewers) enter(feed string, o *Object, s *subscriber, fresh bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v := w.rooms[feed]
	if v == nil {
		v = &viewed{}
		w.rooms[feed] = v
	}
	v.object = o
	v.viewers++
	w.all++
	if fresh {
		if v.fresh == nil {
			v.fresh = map[*subscriber]struct{}{}
		}
		v.fresh[s] = struct{}{}
	}
}

// leave is the opposite; it reports whether no sample has counted the viewer.
func (w *viewers) leave(feed string, s *subscriber) (fresh bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v := w.rooms[feed]
	if v == nil {
		return false
	}
	_, fresh = v.fresh[s]
	delete(v.fresh, s)
	v.viewers--
	w.all--
	if v.viewers == 0 {
		delete(w.rooms, feed)
	}
	return fresh
}

// total is how many viewers there are on this node, over all objects.
func (w *viewers) total() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all
}

// arrival is a viewer whom a sample counts for the first time.
type arrival struct {
	room *viewed
	who  *subscriber
}

// sample returns how many view what now, and whom no sample counted before. newest
// gives an object as it is now.
func (w *viewers) sample(newest func(*Object) *Object) (counts []catchup.ViewerCount, arrivals []arrival) {
	w.mu.Lock()
	defer w.mu.Unlock()
	counts = make([]catchup.ViewerCount, 0, len(w.rooms))
	for feed, v := range w.rooms {
		v.object = newest(v.object)
		counts = append(counts, catchup.ViewerCount{
			App: v.object.App.ID, URL: v.object.countedAs(), Object: feed[len(objectFeed):],
			Viewers: uint32(v.viewers), Arrived: uint32(len(v.fresh)),
		})
		for s := range v.fresh {
			arrivals = append(arrivals, arrival{v, s})
		}
	}
	return counts, arrivals
}

// sampled notes that a sample with these arrivals is written.
func (w *viewers) sampled(arrivals []arrival) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range arrivals {
		delete(a.room.fresh, a.who)
		if len(a.room.fresh) == 0 {
			a.room.fresh = nil
		}
	}
}

// countedAs is the url under which the viewers of an object are counted: objects of one
// url add up (product.md §8.6); one that has none is counted under its id.
func (o *Object) countedAs() string {
	if o.URL != "" {
		return o.URL
	}
	return o.ID
}

// view brings up to date of which objects the session is a viewer: those with a live
// subscription by a root of level 1, and none by which it has a higher one. The caller
// is one of its handler calls.
func (s *subscriber) view() {
	var now []*listener
	var above []string
	for _, l := range s.listeners {
		switch {
		case l.room == "" || !l.subscribed():
		case grade(l.grade.Load()).level() > RoleViewer:
			above = append(above, l.room)
		case l.hearsLive() && !slices.ContainsFunc(now, func(o *listener) bool { return o.room == l.room }):
			now = append(now, l)
		}
	}
	now = slices.DeleteFunc(now, func(l *listener) bool { return slices.Contains(above, l.room) })
	before := s.viewing
	s.viewing = nil
	for _, l := range now {
		if !slices.Contains(before, l.room) {
			s.b.views.enter(l.room, l.object, s, s.viewFirst(l.room))
		}
		s.viewing = append(s.viewing, l.room)
	}
	for _, room := range before {
		if !slices.Contains(s.viewing, room) && s.b.views.leave(room, s) {
			s.mu.Lock()
			delete(s.memory.record.Viewed, room)
			s.mu.Unlock()
		}
	}
}

// hearsLive reports whether the listener has a live subscription, and not only
// catch-ups.
func (l *listener) hearsLive() bool {
	if len(l.patterns) > 0 {
		return true
	}
	for _, sm := range l.seams {
		if sm.exact {
			return true
		}
	}
	return false
}

// viewFirst notes that the session is a viewer of an object and reports whether no
// sample has counted it as one: it is the first time, or it came from another node
// since the last.
func (s *subscriber) viewFirst(room string) bool {
	now := s.b.opt.Store.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.memory.record
	if since, before := r.Viewed[room]; before {
		return since > now.Truncate(s.b.opt.StatsSample).UnixMilli()
	}
	if r.Viewed == nil {
		r.Viewed = map[string]int64{}
	}
	if len(r.Viewed) >= mostViewed {
		first, at := "", now.UnixMilli()
		for other, since := range r.Viewed {
			if since < at && !slices.Contains(s.viewing, other) {
				first, at = other, since
			}
		}
		delete(r.Viewed, first)
	}
	r.Viewed[room] = now.UnixMilli()
	return true
}

// lookAway ends that the session is a viewer here. Its record stays as it is.
func (s *subscriber) lookAway() {
	for _, room := range s.viewing {
		s.b.views.leave(room, s)
	}
	s.viewing = nil
}
