package broker

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobelin-broker/gobelin/store"
	"go.uber.org/zap"
)

// Times of the registry of nodes.
const (
	// beatEvery is how often a node writes that it lives.
	beatEvery = time.Second
	// leaseTime is for how long others take a node for alive after a beat (decided.md
	// 34). ownLease, by which it takes itself for alive, is shorter, so that it gives up
	// first.
	leaseTime = 3 * time.Second
	ownLease  = 2800 * time.Millisecond
	// handOffAfter is how long after the lease ended a node lets its clients go:
	// a restart of the store, or a failover, is over by then. handOffTime is over what
	// time they go.
	handOffAfter = 2 * time.Second
	handOffTime  = 5 * time.Second
	// silentFor is how long a node that did not answer a letter is taken for dead, unless
	// anything is heard of it meanwhile: the store may have been away, not the node.
	silentFor = 2 * time.Second
	// mostUnanswered is how many letters in a row a node may leave unanswered that has its
	// lease: it is slow, not dead, and asked again.
	mostUnanswered = 3
	// rowFor is how long the row of another node is used without reading it again.
	rowFor = 500 * time.Millisecond
	// turnedFor is how long nothing is believed of sessions after the store has gone back
	// to what it was before: by then most who have them have written them again.
	turnedFor = time.Second
	// doubtFor is how long after the store was away it may have gone back though this node
	// has not seen that: the others are asked for each session (recall.go).
	doubtFor = 2 * leaseTime
	// mostNodes bounds the rows of nodes that are looked at for that.
	mostNodes = 1000
)

// tableNode holds a nodeRow for each node that lives or whose sessions may still be
// resumed; its key is the node's id, which is another one after each start.
const tableNode = "node"

// nodeRow is what a node says of itself once a second.
type nodeRow struct {
	Name      string `json:"name,omitempty"`
	Advertise string `json:"advertise,omitempty"`
	Started   int64  `json:"started"` // ms of the store's clock, as the following
	Beat      int64  `json:"beat"`
	// At is the watermark: everything committed up to it had been handed to the queues
	// of the node's sessions; 0: not known yet (remember.go).
	At int64 `json:"at,omitempty"`
	// Gone: the node has stopped in order.
	Gone bool `json:"gone,omitempty"`
}

// nodes is this node's place among the others on a store.
type nodes struct {
	id      string
	row     nodeRow // but for Beat, At and Gone
	store   store.Store
	life    time.Duration // of a row after its last beat
	logger  *zap.Logger
	at      atomic.Int64 // the watermark to write
	moved   atomic.Bool  // since it was last written
	written atomic.Int64 // the one that is written

	// mu guards what follows.
	mu     sync.Mutex
	until  time.Time // the lease, by this process's clock; unused on an embedded store
	failed error     // of the last beat
	wrote  time.Time // when the last beat began that was written
	number uint64    // the version of the row then
	beaten int64     // its Beat
	back   time.Time // when a beat was first written after the store had been away
	before int64     // beaten before that
	turned time.Time // when the store was found to have gone back
	told   time.Time // when another node last asked for what the store may have lost
	lapsed bool      // the lease was over before the last beat, whether or not somebody looked
	others map[string]otherNode
	around []string // those that had a row at listed
	listed time.Time

	alarm chan struct{} // has one when the next beat is due at once
}

// otherNode is what is known of another node.
type otherNode struct {
	row    nodeRow
	read   time.Time
	silent time.Time // when it last did not answer; zero: it has been heard since
	mute   int64     // its beat then
	missed int       // how many letters, one after the other, it has not answered
	noted  time.Time // when the last of them was given up
}

func newNodes(o Options, life time.Duration, started int64) (*nodes, error) {
	var raw [8]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return nil, err
	}
	return &nodes{
		id: hex.EncodeToString(raw[:]), row: nodeRow{Name: o.NodeName, Advertise: o.Advertise, Started: started},
		store: o.Store, life: life, logger: o.Logger, until: time.Now().Add(ownLease), others: map[string]otherNode{},
		alarm: make(chan struct{}, 1),
	}, nil
}

// label is what people call this node.
func (n *nodes) label() string { return cmp.Or(n.row.Name, n.id) }

// beat writes the node's row; the lease counts from before the write.
func (n *nodes) beat(ctx context.Context, gone bool) error {
	began := time.Now()
	row := n.row
	row.Beat, row.At, row.Gone = n.store.Now().UnixMilli(), n.at.Load(), gone
	data, err := json.Marshal(row)
	number := uint64(0)
	if err == nil {
		number, err = n.store.Put(ctx, tableNode, n.id, store.Put{Data: data, TTL: n.life})
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	away := n.failed != nil || !n.wrote.IsZero() && began.Sub(n.wrote) > 2*beatEvery
	if n.failed = err; err != nil {
		return fmt.Errorf("broker: this node's row: %w", err)
	}
	if away {
		n.back, n.before = time.Now(), n.beaten
	}
	if number <= n.number {
		// Its versions rise: the store lost the newest (store.md §5.4).
		n.turned, n.back, n.before = time.Now(), time.Now(), n.beaten
	}
	n.wrote, n.number, n.beaten = began, number, row.Beat
	n.lapsed = n.lapsed || began.After(n.until)
	n.until = began.Add(ownLease)
	n.written.Store(row.At)
	return nil
}

// leased reports whether the node may take itself for alive; and if not, since when
// and why.
func (n *nodes) leased() (ok bool, since time.Time, why error) {
	if !n.store.Shared() {
		return true, time.Time{}, nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return time.Now().Before(n.until), n.until, n.failed
}

// relapsed reports whether the lease was over since the last call.
func (n *nodes) relapsed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	lapsed := n.lapsed && n.store.Shared()
	n.lapsed = false
	return lapsed
}

// turning reports whether the store may have gone back to what it was: sessions are
// where their rows say only once those who have them had the time to say so.
func (n *nodes) turning() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.store.Shared() && (n.failed != nil || time.Since(n.turned) < turnedFor)
}

// turnedAt returns when the store was last found to have gone back; zero: never.
func (n *nodes) turnedAt() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.turned
}

// lateTurned reports whether the store has gone back just lately: a session that it
// does not know may have begun in the time that it lost.
func (n *nodes) lateTurned() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return time.Since(n.turned) < doubtFor || time.Since(n.told) < doubtFor
}

// doubtful reports whether the store may have gone back though this node has not seen it:
// it was away a while ago.
func (n *nodes) doubtful() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.store.Shared() && (n.failed != nil || time.Since(n.back) < doubtFor)
}

// suspect notes that the store was away, for others than the beat.
func (n *nodes) suspect() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.back, n.before = time.Now(), n.beaten
}

// wentBack notes that something was found in the store that is older than what this node
// has seen of it.
func (n *nodes) wentBack() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if time.Since(n.turned) < doubtFor {
		return
	}
	n.turned, n.back, n.before = time.Now(), time.Now(), n.beaten
	select {
	case n.alarm <- struct{}{}:
	default:
	}
}

// asked notes that another node is in doubt.
func (n *nodes) asked() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.told = time.Now()
}

// listAround returns the other nodes that have a row, as of rowFor ago.
func (n *nodes) listAround(ctx context.Context) ([]string, error) {
	n.mu.Lock()
	around, listed := n.around, n.listed
	n.mu.Unlock()
	if time.Since(listed) < rowFor {
		return around, nil
	}
	items, err := n.store.List(ctx, tableNode, "", "", mostNodes)
	if err != nil {
		return nil, fmt.Errorf("broker: list nodes: %w", err)
	}
	around = nil
	for _, item := range items {
		if item.Key != n.id {
			around = append(around, item.Key)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.around, n.listed = around, time.Now()
	return around, nil
}

// healthy returns nil while the node may take itself for alive, or what is wrong in
// words.
func (n *nodes) healthy() error {
	ok, since, why := n.leased()
	if ok {
		return nil
	}
	if why == nil {
		why = errors.New("the store is slow")
	}
	return fmt.Errorf("cut off from the store since %s, other nodes may have taken its sessions: %w", since.UTC().Format(time.RFC3339), why)
}

// look returns the row of a node; store.ErrNotFound when there is none. A row that
// was read lately is used again, unless it would make the node dead.
func (n *nodes) look(ctx context.Context, id string) (nodeRow, error) {
	n.mu.Lock()
	o, known := n.others[id]
	n.mu.Unlock()
	if known && time.Since(o.read) < rowFor && (o.row.Gone || n.fresh(&o.row)) {
		return o.row, nil
	}
	return n.lookAgain(ctx, id)
}

// lookAgain is look, but the row is read.
func (n *nodes) lookAgain(ctx context.Context, id string) (nodeRow, error) {
	v, err := n.store.Get(ctx, tableNode, id)
	if err != nil {
		return nodeRow{}, err
	}
	var row nodeRow
	if err := json.Unmarshal(v.Data, &row); err != nil {
		return nodeRow{}, fmt.Errorf("broker: row of a node: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	o := n.others[id]
	o.row, o.read = row, time.Now()
	n.others[id] = o
	for other, known := range n.others { // those of long ago
		if time.Since(known.read) > n.life {
			delete(n.others, other)
		}
	}
	return row, nil
}

// beats reports whether another node said lately that it lives.
func (n *nodes) beats(ctx context.Context, id string) bool {
	if id == n.id || !n.store.Shared() {
		return false
	}
	row, err := n.look(ctx, id)
	return err == nil && n.fresh(&row)
}

func (n *nodes) fresh(row *nodeRow) bool {
	return !row.Gone && n.store.Now().UnixMilli()-row.Beat < leaseTime.Milliseconds()
}

// alive reports whether another node can be asked for something.
func (n *nodes) alive(ctx context.Context, id string) (bool, error) {
	if id == "" || id == n.id || !n.store.Shared() {
		return false, nil
	}
	row, err := n.look(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	}
	n.mu.Lock()
	o := n.others[id]
	n.mu.Unlock()
	if time.Since(o.silent) < silentFor && row.Beat <= o.mute {
		if row, err = n.lookAgain(ctx, id); err != nil || row.Beat <= o.mute {
			return false, err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.fresh(&row) || n.excused(&row), nil
}

// excused reports whether a node that has not said lately that it lives may live all the
// same: while the store was away nobody could say so. The caller holds mu.
func (n *nodes) excused(row *nodeRow) bool {
	away := n.failed != nil || time.Since(n.back) < leaseTime
	// Not one that was silent before; its last beats may be lost.
	return away && !row.Gone && row.Beat >= n.before-doubtFor.Milliseconds()
}

// mute notes that a node did not answer a letter, sent when asked, and reports whether it
// is taken for dead: it does not say any more that it lives, or has left too many
// unanswered. Those that waited at the same time are one: a node that stands still for a
// second misses one of each session that goes elsewhere just then.
func (n *nodes) mute(ctx context.Context, id string, asked time.Time) (dead bool) {
	row, err := n.lookAgain(ctx, id)
	if err != nil {
		row = nodeRow{}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	o := n.others[id]
	if !asked.Before(o.noted) {
		o.missed, o.noted = o.missed+1, time.Now()
	}
	if dead = !n.fresh(&row) && !n.excused(&row) || o.missed >= mostUnanswered; dead {
		if o.silent.IsZero() || o.row.Beat > o.mute {
			n.logger.Warn("another node does not answer: sessions that lived there are taken over", zap.String("other", cmp.Or(o.row.Name, id)))
		}
		o.silent, o.mute = time.Now(), o.row.Beat
	}
	n.others[id] = o
	return dead
}

// heard notes that a letter of a node has come.
func (n *nodes) heard(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if o, known := n.others[id]; known && (!o.silent.IsZero() || o.missed > 0) {
		o.silent, o.missed = time.Time{}, 0
		n.others[id] = o
	}
}

// watermark returns how far a node had come, in ms of the store's clock; 0 when that
// is not known. A node that has not said so yet had nothing to hand on before it
// started.
func (n *nodes) watermark(ctx context.Context, id string) (int64, error) {
	if id == n.id {
		return max(n.written.Load(), n.row.Started), nil
	}
	v, err := n.store.Get(ctx, tableNode, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return 0, nil
	case err != nil:
		return 0, err
	}
	var row nodeRow
	if err := json.Unmarshal(v.Data, &row); err != nil {
		return 0, fmt.Errorf("broker: row of a node: %w", err)
	}
	return max(row.At, row.Started), nil
}
