package disk

import (
	"container/list"
	"sync"

	"github.com/gobelin-broker/gobelin/store"
)

// heads remembers the heads of the logs in use, the least recently used falling
// out. It also is the line between what is committed and what is not: the engine
// shows a batch to readers before it is on the disk, so a head that is being
// written is pinned here, and readers go by the last position it had before.
type heads struct {
	max int

	mu     sync.Mutex
	byName map[store.LogName]*list.Element
	order  *list.List // of *held, most recently used first
	pinned int
	// published counts changes: what was loaded across one may be stale.
	published uint64
}

type held struct {
	name   store.LogName
	head   head
	pinned bool
}

func newHeads(limit int) *heads {
	return &heads{max: limit, byName: make(map[store.LogName]*list.Element), order: list.New()}
}

// get returns the committed head if it is here, and a mark for add.
func (t *heads) get(name store.LogName) (head, uint64, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.byName[name]
	if e == nil {
		return head{}, t.published, false
	}
	t.order.MoveToFront(e)
	return e.Value.(*held).head, t.published, true
}

// add offers a head that was loaded after mark was taken, and returns the one to
// go by: that which is here, if any came meanwhile.
func (t *heads) add(name store.LogName, h head, mark uint64) head {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.byName[name]; e != nil {
		return e.Value.(*held).head
	}
	if mark != t.published {
		return h
	}
	if last := t.order.Back(); last != nil && len(t.byName) >= t.max {
		// Only what the database knows may fall out here: of the others the
		// clock must hear, and that is the committer's.
		if v := last.Value.(*held); !v.pinned && v.head.stored() {
			t.order.Remove(last)
			delete(t.byName, v.name)
		}
	}
	if len(t.byName) < t.max {
		t.byName[name] = t.order.PushFront(&held{name: name, head: h})
	}
	return h
}

// pin makes the committed head stay until publish. Called by the committer.
func (t *heads) pin(name store.LogName, h head) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.byName[name]
	if e == nil {
		e = t.order.PushFront(&held{name: name, head: h})
		t.byName[name] = e
	}
	if v := e.Value.(*held); !v.pinned {
		v.pinned = true
		t.pinned++
	}
}

// publish replaces pinned heads by what was committed (nil: nothing was, they
// stay as they were) and lets go of them. It returns the greatest ms of the logs
// that are known from here only and fell out.
func (t *heads) publish(names []store.LogName, now []head) (forgot int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.published++
	for i, name := range names {
		e := t.byName[name]
		if e == nil {
			continue
		}
		v := e.Value.(*held)
		if v.pinned {
			v.pinned = false
			t.pinned--
		}
		if now != nil {
			v.head = now[i]
		}
		t.order.MoveToFront(e)
	}
	for e := t.order.Back(); e != nil && len(t.byName) > t.max; {
		v, before := e.Value.(*held), e.Prev()
		if !v.pinned {
			forgot = max(forgot, v.head.live.MS())
			if v.head.id == 0 {
				forgot = max(forgot, v.head.last.MS())
			}
			delete(t.byName, v.name)
			t.order.Remove(e)
		}
		e = before
	}
	return forgot
}

// last returns the newest committed position of a log if its head is here. It
// does not count as use.
func (t *heads) last(name store.LogName) (store.Position, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.byName[name]; e != nil {
		return e.Value.(*held).head.last, true
	}
	return store.Position{}, false
}

// len returns how many heads are held.
func (t *heads) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byName)
}
