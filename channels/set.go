package channels

import "slices"

// indexFrom is the size from which a set keeps an index. Most channels of a
// broker have a handful of subscribers, for which a map would cost more memory
// than the node and be slower than looking at each.
const indexFrom = 9

// set is a set of values that is walked as a slice: a publish to 10,000
// subscribers reads memory in a row, and a value still comes and goes in
// constant time.
type set[V comparable] struct {
	values []V
	index  map[V]int // place in values; nil below indexFrom
}

// find returns the place of v in values, or -1.
func (s *set[V]) find(v V) int {
	if s.index == nil {
		return slices.Index(s.values, v)
	}
	if i, ok := s.index[v]; ok {
		return i
	}
	return -1
}

func (s *set[V]) has(v V) bool { return s.find(v) >= 0 }

// add returns false if v is there already.
func (s *set[V]) add(v V) bool {
	if s.has(v) {
		return false
	}
	s.values = append(s.values, v)
	switch {
	case s.index != nil:
		s.index[v] = len(s.values) - 1
	case len(s.values) >= indexFrom:
		s.reindex()
	}
	return true
}

// remove returns false if v is not there. The last value takes its place.
func (s *set[V]) remove(v V) bool {
	i := s.find(v)
	if i < 0 {
		return false
	}
	end := len(s.values) - 1
	moved := s.values[end]
	s.values[i] = moved
	clear(s.values[end:]) // let go of what it points to
	s.values = s.values[:end]
	if s.index != nil {
		s.index[moved] = i
		delete(s.index, v)
	}
	s.shrink()
	return true
}

// shrink gives memory back after a crowd has left. It copies a quarter of what
// left since the last time, so each removal pays for a constant share.
func (s *set[V]) shrink() {
	switch {
	case len(s.values) == 0:
		*s = set[V]{}
	case cap(s.values) >= 4*indexFrom && len(s.values) < cap(s.values)/4:
		s.values = append(make([]V, 0, 2*len(s.values)), s.values...)
		s.index = nil
		if len(s.values) >= indexFrom {
			s.reindex()
		}
	}
}

func (s *set[V]) reindex() {
	s.index = make(map[V]int, cap(s.values))
	for i, v := range s.values {
		s.index[v] = i
	}
}
