package broker

import (
	"context"
	"sync"
	"time"

	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"go.uber.org/zap"
)

// sweepEvery is how often graces are looked through.
const sweepEvery = time.Second

// announcement says that an object changed.
type announcement struct {
	App   uint32   `json:"app"`
	ID    string   `json:"id"`
	Topic string   `json:"topic"`
	Gone  []string `json:"gone,omitempty"` // oids that lead nowhere now
}

// grace is an oid that will lead nowhere.
type grace struct {
	topic channels.OID
	until time.Time
}

// announce tells this node and all others of a change. It does not wait: a node
// that does not hear asks the store again within freshWatched.
func (r *registry) announce(o *Object, gone []channels.OID) {
	r.tell(o.Topic, gone)
	a := announcement{App: o.App.ID, ID: o.ID, Topic: o.Topic.String()}
	for _, oid := range gone {
		a.Gone = append(a.Gone, oid.String())
	}
	r.post(a)
}

// Run takes in what announced has heard and ends graces that are over, until ctx is
// done.
func (r *registry) Run(ctx context.Context) {
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case a := <-r.heard:
			r.hear(ctx, a)
		case <-r.missed:
			r.refresh(ctx)
		case <-sweep.C:
			r.sweep()
		}
	}
}

// heed says whether changes made elsewhere are heard from now on. When they are, what
// came before may have been missed; while they are not, the cache asks the store more
// often.
func (r *registry) heed(hears bool) {
	r.setWatched(hears)
	if hears {
		r.miss()
	}
}

// announced passes an announcement to Run. When Run is behind by more than the
// channel holds, it is dropped and everything is asked for anew.
func (r *registry) announced(a announcement) {
	select {
	case r.heard <- a:
	default:
		r.miss()
	}
}

func (r *registry) setWatched(watched bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watched = watched
}

// miss notes that the cache may be behind.
func (r *registry) miss() {
	select {
	case r.missed <- struct{}{}:
	default:
	}
}

// hear takes an announcement: what is gone is told also if the object is not in
// the cache, for there may be subscriptions to it all the same.
func (r *registry) hear(ctx context.Context, a announcement) {
	app := r.apps[a.App]
	if app == nil {
		return
	}
	if topic, err := parseOID(a.Topic); err == nil {
		for _, g := range a.Gone {
			if oid, err := parseOID(g); err == nil {
				r.dropOID(oid)
				r.withdrawn(topic, oid)
			}
		}
	}
	// Read in any case, not only if it is cached: a reset with grace has to be
	// ended here too, when its time comes.
	r.reload(ctx, app, a.ID)
}

// dropOID forgets what an oid leads to.
func (r *registry) dropOID(oid channels.OID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.cache.byOID[oid]; e != nil {
		e.Value.(*cacheEntry).loaded = time.Time{}
	}
}

// reload reads one object again; if the store does not answer, the entry stays
// one that is asked for at its next use, and all are when it answers again.
func (r *registry) reload(ctx context.Context, app *Application, id string) bool {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	if _, err := r.load(ctx, app, id); err != nil {
		if ctx.Err() == nil {
			r.logger.Warn("a changed object could not be read", zap.Error(err))
		}
		return false
	}
	return true
}

// refresh reads every cached object again, after announcements were missed. It
// gives up when the store does not answer: entries are stale by then, and Ready
// comes again after an outage.
func (r *registry) refresh(ctx context.Context) {
	r.mu.Lock()
	all := r.cache.age()
	r.mu.Unlock()
	for _, o := range all {
		if ctx.Err() != nil || !r.reload(ctx, o.App, o.ID) {
			return
		}
	}
}

// schedule notes when the aliases of an object end. Beyond the cache's capacity
// they are not noted: then new subscriptions are refused in time, but old ones
// stay until the object is next changed. r.mu is held.
func (r *registry) schedule(o *Object, now time.Time) {
	for _, a := range o.aliases {
		if !now.Before(a.until) {
			continue
		}
		if _, there := r.graces[a.oid]; !there && len(r.graces) >= r.capacity {
			r.logger.Warn("too many roots in grace; subscriptions to some will not be ended")
			return
		}
		r.graces[a.oid] = grace{topic: o.Topic, until: a.until}
	}
}

// sweep ends the graces that are over.
func (r *registry) sweep() {
	now := r.now()
	over := map[channels.OID]channels.OID{}
	r.mu.Lock()
	for oid, g := range r.graces {
		if !now.Before(g.until) {
			over[oid] = g.topic
			delete(r.graces, oid)
		}
	}
	r.mu.Unlock()
	for oid, topic := range over {
		r.withdrawn(topic, oid)
	}
}

// flights lets many who want the same read of the store share one. The zero value
// is ready.
type flights struct {
	mu   sync.Mutex
	runs map[string]*flight // guarded by mu
}

type flight struct {
	done   chan struct{}
	object *Object // owned by the one who flies until done is closed
	err    error
}

// do calls f once for all who ask for key at the same time. f gets a context that
// ends with loadTimeout, not with the caller's: others may be waiting for it.
func (s *flights) do(ctx context.Context, key string, f func(context.Context) (*Object, error)) (*Object, error) {
	s.mu.Lock()
	if run := s.runs[key]; run != nil {
		s.mu.Unlock()
		select {
		case <-run.done:
			return run.object, run.err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	run := &flight{done: make(chan struct{}), err: store.ErrUnavailable}
	if s.runs == nil {
		s.runs = map[string]*flight{}
	}
	s.runs[key] = run
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.runs, key)
		s.mu.Unlock()
		close(run.done)
	}()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
	defer cancel()
	run.object, run.err = f(ctx)
	return run.object, run.err
}
