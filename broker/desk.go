package broker

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/store"
	"go.uber.org/zap"
)

// Times of the look after streams.
const (
	// tendEvery is how often a node looks whether the nodes live with which its readers
	// share streams.
	tendEvery = time.Second
	// deskEvery is how often it reads the row of an account that it has readers of,
	// though no notice said that it changed, and writes that they are there.
	deskEvery = time.Minute
)

// desk is where the readers of an account sit that are on this node: one watch of the
// account's log wakes them all, however many they are. It is a store.Watcher.
type desk struct {
	// watching is held while the watch begins or ends, and taken before mu.
	watching sync.Mutex
	stop     func() // nil: nobody reads

	// mu guards what follows.
	mu      sync.Mutex
	readers map[string]*reader // by their id
	set     catchup.StreamSet  // as last seen
	read    time.Time          // when
	stale   bool               // it has changed since
	gone    map[string]*reader // left, and still in the row or holding records
}

func newDesk() *desk { return &desk{readers: map[string]*reader{}, gone: map[string]*reader{}} }

// enter lets a reader hear of records; the first one begins the watch.
func (d *desk) enter(s store.Store, r *reader) error {
	d.watching.Lock()
	defer d.watching.Unlock()
	if d.stop == nil {
		stop, err := s.Watch(r.account.log.Feed, d)
		if err != nil {
			return err
		}
		d.stop = stop
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.readers[r.id] = r
	return nil
}

// exit is the opposite.
func (d *desk) exit(r *reader) {
	d.watching.Lock()
	defer d.watching.Unlock()
	d.mu.Lock()
	delete(d.readers, r.id)
	last := len(d.readers) == 0
	d.mu.Unlock()
	if last && d.stop != nil {
		d.stop()
		d.stop = nil
	}
}

// has reports whether a reader sits here.
func (d *desk) has(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.readers[id] != nil
}

// here returns the readers.
func (d *desk) here() []*reader {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Values(d.readers))
}

// wake has all readers look for records.
func (d *desk) wake() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.readers {
		poke(r.woken)
	}
}

// Ready is part of store.Watcher.
func (d *desk) Ready() { d.wake() }

// Entries is part of store.Watcher.
func (d *desk) Entries([]store.Tail) { d.wake() }

// Broken is part of store.Watcher.
func (d *desk) Broken(error) {}

// noteLate is for how long an older row than the one seen is taken for one that was read
// before; later the store has gone back.
const noteLate = 5 * time.Second

// note takes what the account's row says now. Readers that are not in it any more are
// taken for dead elsewhere, and have to go.
func (d *desk) note(set catchup.StreamSet) {
	d.mu.Lock()
	if set.Version < d.set.Version && time.Since(d.read) < noteLate {
		d.stale = true
		d.mu.Unlock()
		return
	}
	d.set, d.read, d.stale = set, time.Now(), false
	all := slices.Collect(maps.Values(d.readers))
	d.mu.Unlock()
	for _, r := range all {
		if r.joined.Load() && r.among(&set) == nil {
			r.end()
		}
	}
}

// members returns how many connections a stream has, as last seen.
func (d *desk) members(stream string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.set.Find(stream); s != nil {
		return len(s.Members)
	}
	return 0
}

// changed notes that the row has changed elsewhere.
func (d *desk) changed() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stale = true
}

// due reports what is to be looked at: the row, because it has changed or for long was
// not read, and the connections of other nodes.
func (d *desk) due(node string) (row bool, others []catchup.StreamMember) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.readers) == 0 {
		return false, nil
	}
	for i := range d.set.Streams {
		for _, m := range d.set.Streams[i].Members {
			if m.Node != node {
				others = append(others, m)
			}
		}
	}
	return d.stale || time.Since(d.read) > deskEvery, others
}

// tendStreams looks after the readers of this node until ctx ends: whom other nodes
// know, whose nodes have died, and who left while the store was away.
func (b *Broker) tendStreams(ctx context.Context) {
	if len(b.accounts.all) == 0 {
		return
	}
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-b.tending:
		}
		for _, a := range b.accounts.all {
			if err := b.tend(ctx, a); err != nil && ctx.Err() == nil {
				b.log.Debug("streams could not be looked after; it is tried again", zap.Error(err))
			}
		}
		if n%5 == 0 {
			b.measureLag(ctx)
		}
	}
}

func (b *Broker) tend(ctx context.Context, a *account) error {
	a.desk.mu.Lock()
	gone := slices.Collect(maps.Values(a.desk.gone))
	a.desk.mu.Unlock()
	for _, r := range gone {
		if err := b.leave(ctx, r); err != nil {
			return err
		}
	}
	row, others := a.desk.due(b.nodes.id)
	if row {
		return b.refresh(ctx, a)
	}
	for _, m := range others {
		if alive, err := b.nodes.alive(ctx, m.Node); err == nil && !alive {
			return b.refresh(ctx, a)
		}
	}
	return nil
}

// refresh brings row and desk together: who died goes from the row, and gives back what
// it held; that this node's readers are there is written now and then.
func (b *Broker) refresh(ctx context.Context, a *account) error {
	set, err := b.streams.Load(ctx, a.name)
	if err != nil {
		return err
	}
	dead := b.prune(ctx, a, &set)
	now := b.opt.Store.Now().UnixMilli()
	if len(dead) > 0 || b.seen(&set, now) {
		if err := b.giveBack(ctx, dead); err != nil {
			return err
		}
		set, err = b.streams.Change(ctx, a.name, func(set *catchup.StreamSet) (bool, error) {
			pruned := len(b.prune(ctx, a, set)) > 0
			return b.seen(set, now) || pruned, nil
		})
		if err != nil {
			return err
		}
	}
	a.desk.note(set)
	a.desk.wake()
	if len(dead) > 0 {
		b.tellStreams(a)
	}
	return nil
}

// seen notes that this node's connections are there, and reports whether that is worth
// writing: half as often as the row is read, and always before a place could lapse.
func (b *Broker) seen(set *catchup.StreamSet, now int64) (changed bool) {
	every := min(2*deskEvery, b.opt.Streams.CheckpointTTL/4).Milliseconds()
	for i := range set.Streams {
		for j := range set.Streams[i].Members {
			if m := &set.Streams[i].Members[j]; m.Node == b.nodes.id && now-m.Seen > every {
				m.Seen, changed = now, true
			}
		}
	}
	return changed
}

// holder is a connection that may hold records of a stream.
type holder struct {
	group store.GroupName
	id    string
}

// prune takes the connections from a row whose nodes are dead, and returns those of
// streams.
func (b *Broker) prune(ctx context.Context, a *account, set *catchup.StreamSet) (dead []holder) {
	for i := range set.Streams {
		s := &set.Streams[i]
		live := b.living(ctx, a, s.Members)
		if len(live) == len(s.Members) {
			continue
		}
		last := int64(0)
		for _, m := range s.Members {
			if !slices.ContainsFunc(live, func(l catchup.StreamMember) bool { return l.ID == m.ID }) {
				dead = append(dead, holder{s.Group(a.name), m.ID})
				last = max(last, m.Seen)
			}
		}
		if s.Members = live; len(live) == 0 {
			s.Ended = last
		}
	}
	set.Replays = b.living(ctx, a, set.Replays)
	return dead
}

// giveBack has dead connections give back what they held.
func (b *Broker) giveBack(ctx context.Context, dead []holder) error {
	for _, h := range dead {
		if err := b.opt.Store.Leave(ctx, h.group, h.id); err != nil {
			return err
		}
	}
	return nil
}

// tellStreams lets other nodes know that the connections of an account have changed.
func (b *Broker) tellStreams(a *account) {
	if b.opt.Store.Shared() {
		b.post(notice{Streams: a.name})
	}
}

// recheckStreams has the rows of all accounts read: it is not known what has changed.
func (b *Broker) recheckStreams() {
	for _, a := range b.accounts.all {
		a.desk.changed()
	}
	poke(b.tending)
}

// hearStreams is told by another node, or by this one.
func (b *Broker) hearStreams(name string) {
	for _, a := range b.accounts.all {
		if a.name == name {
			a.desk.changed()
			poke(b.tending)
		}
	}
}
