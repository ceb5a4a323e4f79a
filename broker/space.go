package broker

import (
	"cmp"
	"slices"
	"sync"

	"github.com/gobelin-broker/gobelin/channels"
)

// space is what one tree routes: an object, or all open channels. Its listeners
// are found by the name below the root.
type space struct {
	feed string
	tree channels.Tree[*listener]
	// refs counts its listeners and topics; guarded by hub.mu.
	refs int

	// mu makes an entry find a wildcard subscription either not at all or with its
	// number counted: it is held to read while listeners are looked up, and to
	// write while wildcards come and go.
	mu sync.RWMutex
	// guarded by mu:
	count    uint64   // wildcard subscriptions there have been
	standing []uint64 // numbers of those that still are, rising
	forgot   uint64   // count when a topic was last forgotten that might be asked for
	joins    []joined // wildcards that stand, by their numbers
}

// joined is a wildcard and since when it stands, by the store's clock, in ms.
type joined struct {
	number  uint64
	at      int64
	pattern channels.Pattern
}

// join subscribes a listener by a wildcard and returns its number: every entry
// handed out at this count or a higher one reaches it. at is the time, by the store's
// clock, in ms.
func (sp *space) join(p channels.Pattern, l *listener, at int64) uint64 {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	sp.tree.Add(p, l)
	number := sp.number()
	sp.joins = append(sp.joins, joined{number, at, p})
	return number
}

// wildSince returns the ms since which a wildcard hears a name; false if none does.
func (sp *space) wildSince(n channels.Name) (at int64, wild bool) {
	sp.mu.RLock()
	defer sp.mu.RUnlock()
	for i := range sp.joins {
		if sp.joins[i].pattern.Matches(n) {
			return sp.joins[i].at, true
		}
	}
	return 0, false
}

// raise sets a listener's grade, which changes what its wildcards hear, and returns
// the number from which on they do.
func (sp *space) raise(l *listener, g grade) uint64 {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	l.grade.Store(int32(g))
	return sp.number()
}

// number counts one more. The caller holds mu.
func (sp *space) number() uint64 {
	sp.count++
	sp.standing = append(sp.standing, sp.count)
	return sp.count
}

// leave ends a wildcard subscription and returns the count at which it did. Its
// number can still be asked for until it is dropped.
func (sp *space) leave(p channels.Pattern, l *listener, number uint64) uint64 {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	sp.tree.Remove(p, l)
	i, found := slices.BinarySearchFunc(sp.joins, number, func(j joined, n uint64) int { return cmp.Compare(j.number, n) })
	if found {
		sp.joins = slices.Delete(sp.joins, i, i+1)
	}
	return sp.count
}

// drop forgets a number: nobody will ask from where on it has heard a topic.
func (sp *space) drop(number uint64) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	if i, found := slices.BinarySearch(sp.standing, number); found {
		sp.standing = slices.Delete(sp.standing, i, i+1)
	}
}

// stands reports whether a number above after and up to upTo can be asked for.
func (sp *space) stands(after, upTo uint64) bool {
	sp.mu.RLock()
	defer sp.mu.RUnlock()
	i, _ := slices.BinarySearch(sp.standing, after+1)
	return i < len(sp.standing) && sp.standing[i] <= upTo
}

// forget notes that a topic goes of which a wildcard may have heard something: of
// one made anew it is not known how much.
func (sp *space) forget() {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	sp.forgot = sp.count
}

// counts returns the count of now, and that of the last time a topic was forgotten.
func (sp *space) counts() (count, forgot uint64) {
	sp.mu.RLock()
	defer sp.mu.RUnlock()
	return sp.count, sp.forgot
}
