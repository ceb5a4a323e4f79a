package channels

import (
	"strings"
	"sync"
)

// Tree holds values under patterns and finds those whose pattern matches a name.
// The zero Tree is empty and ready; it must not be copied after first use. Its
// methods may be called by many goroutines at once.
type Tree[V comparable] struct {
	mu sync.RWMutex
	// guarded by mu:
	root node[V]
	n    int // pairs of a pattern and a value
}

// node stands for the name that leads to it. A wildcard is kept at the node
// above it, so a name meets on its way down every pattern that matches it and
// no other.
type node[V comparable] struct {
	parent   *node[V]
	segment  string
	children map[string]*node[V] // nil when there are none
	sets     [3]set[V]           // by kind: plain, star, deep
}

// Add puts v under p. It returns false, and changes nothing, if v is there by p
// already or p is zero.
func (t *Tree[V]) Add(p Pattern, v V) bool {
	if p.IsZero() {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.grow(p).sets[p.wild].add(v) {
		return false
	}
	t.n++
	return true
}

// Remove takes v from under p and returns false if it was not there by p.
func (t *Tree[V]) Remove(p Pattern, v V) bool {
	if p.IsZero() {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	at := t.find(p)
	if at == nil || !at.sets[p.wild].remove(v) {
		return false
	}
	t.n--
	at.prune()
	return true
}

// Match calls visit with each value one of whose patterns matches n, once
// however many do; exact is true for those that are there by the plain name, and
// they come first. The order is otherwise unspecified. visit is called under the
// tree's read lock: it must not block, nor Add or Remove on this tree.
//
// It costs at most one look-up for each segment of n, and allocates nothing
// unless more than 16 patterns nested in each other match.
func (t *Tree[V]) Match(n Name, visit func(v V, exact bool)) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var room [16]*set[V]
	named, wild := t.root.match(n, room[:0])
	if named != nil {
		for _, v := range named.values {
			visit(v, true)
		}
	}
	for i, s := range wild {
	values:
		for _, v := range s.values {
			if named != nil && named.has(v) {
				continue
			}
			for _, earlier := range wild[:i] {
				if earlier.has(v) {
					continue values
				}
			}
			visit(v, false)
		}
	}
}

// Matches reports whether Match would visit anything.
func (t *Tree[V]) Matches(n Name) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var room [16]*set[V]
	named, wild := t.root.match(n, room[:0])
	return named != nil || len(wild) > 0
}

// Len returns how many pairs of a pattern and a value the tree holds.
func (t *Tree[V]) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.n
}

// grow returns the node that keeps p, made if need be. A node made here gets a
// value at once: only a pattern whose node was there can hold the value already.
func (t *Tree[V]) grow(p Pattern) *node[V] {
	at := &t.root
	for rest := p.path(); rest != ""; rest = tail(rest) {
		segment := first(rest)
		child := at.children[segment]
		if child == nil {
			// The clone lets go of the frame that the pattern came in.
			segment = strings.Clone(segment)
			child = &node[V]{parent: at, segment: segment}
			if at.children == nil {
				at.children = make(map[string]*node[V], 1)
			}
			at.children[segment] = child
		}
		at = child
	}
	return at
}

// find returns the node that keeps p, or nil.
func (t *Tree[V]) find(p Pattern) *node[V] {
	at := &t.root
	for rest := p.path(); rest != "" && at != nil; rest = tail(rest) {
		at = at.children[first(rest)]
	}
	return at
}

// path is the name of the node that keeps p, as text: "" for the top.
func (p Pattern) path() string {
	if p.wild == plain {
		return p.s
	}
	return parent(p.s)
}

// match walks down along n and returns the set of its own node, nil if empty,
// and the sets of wildcards that match, none of them empty, appended to wild.
func (at *node[V]) match(n Name, wild []*set[V]) (named *set[V], _ []*set[V]) {
	for rest := n.s; rest != ""; {
		segment := first(rest)
		rest = rest[1+len(segment):]
		if s := &at.sets[deep]; len(s.values) > 0 {
			wild = append(wild, s)
		}
		if s := &at.sets[star]; rest == "" && len(s.values) > 0 {
			wild = append(wild, s)
		}
		if at = at.children[segment]; at == nil {
			return nil, wild
		}
	}
	if s := &at.sets[plain]; len(s.values) > 0 {
		named = s
	}
	return named, wild
}

// prune removes at and the nodes above it as far as they hold nothing.
func (at *node[V]) prune() {
	for at.parent != nil && at.empty() {
		up := at.parent
		delete(up.children, at.segment)
		if len(up.children) == 0 {
			up.children = nil
		}
		at = up
	}
}

func (at *node[V]) empty() bool {
	return len(at.children) == 0 && len(at.sets[plain].values) == 0 &&
		len(at.sets[star].values) == 0 && len(at.sets[deep].values) == 0
}
