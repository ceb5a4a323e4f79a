package groups

import (
	"sync"

	"github.com/gobelin-broker/gobelin/store"
)

// Set is the groups of a store that are in memory.
type Set struct {
	// load returns what is kept of a group, nil for nothing.
	load func(store.GroupName) ([]byte, error)
	// max is how many groups may stay in memory that are not in use and that load can
	// bring again; 0: all stay.
	max int

	mu    sync.Mutex
	logs  map[store.LogName]map[string]*member
	count int
}

// member is a group in the set. While it has users it stays.
type member struct {
	*Group
	users int
}

// NewSet returns an empty set. load is called without locks; nil: there is nothing to
// load, and nothing leaves the set but by Drop and DropLog.
func NewSet(load func(store.GroupName) ([]byte, error), max int) *Set {
	return &Set{load: load, max: max, logs: make(map[store.LogName]map[string]*member)}
}

// Use returns a group, and what says that it is not used any more, which must be called.
func (s *Set) Use(name store.GroupName) (*Group, func(), error) {
	if g, done := s.get(name, nil); g != nil {
		return g, done, nil
	}
	fresh := &Group{}
	if s.load != nil {
		kept, err := s.load(name)
		if err == nil && kept != nil {
			fresh, err = Parse(kept)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	g, done := s.get(name, fresh)
	return g, done, nil
}

// get returns the group that is there, or fresh, if not nil, which then is.
func (s *Set) get(name store.GroupName, fresh *Group) (*Group, func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.logs[name.Log][name.Name]
	if m == nil {
		if fresh == nil {
			return nil, nil
		}
		m = &member{Group: fresh}
		if s.logs[name.Log] == nil {
			s.logs[name.Log] = make(map[string]*member)
		}
		s.logs[name.Log][name.Name] = m
		s.count++
	}
	m.users++
	return m.Group, func() { s.release(name, m) }
}

// release takes a user from m, and some groups out of the set if it has grown too great.
func (s *Set) release(name store.GroupName, m *member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.users--; m.users == 0 && s.max > 0 && s.count > s.max && s.logs[name.Log][name.Name] == m && m.spare() {
		s.drop(name)
	}
}

// Drop forgets a group. Who uses it goes on with what nobody else sees.
func (s *Set) Drop(name store.GroupName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(name)
}

func (s *Set) drop(name store.GroupName) {
	if s.logs[name.Log][name.Name] == nil {
		return
	}
	s.count--
	delete(s.logs[name.Log], name.Name)
	if len(s.logs[name.Log]) == 0 {
		delete(s.logs, name.Log)
	}
}

// DropLog forgets the groups of a log.
func (s *Set) DropLog(log store.LogName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count -= len(s.logs[log])
	delete(s.logs, log)
}

// Names returns the groups in the set, in any order.
func (s *Set) Names() []store.GroupName {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make([]store.GroupName, 0, s.count)
	for log, of := range s.logs {
		for name := range of {
			names = append(names, store.GroupName{Log: log, Name: name})
		}
	}
	return names
}
