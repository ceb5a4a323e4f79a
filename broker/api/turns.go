package api

import "sync"

// turns bounds how many requests of one caller are answered at once. Its methods may be
// called by many goroutines at once.
type turns struct {
	max int

	mu    sync.Mutex
	taken map[callerKey]int // guarded by mu; only callers who have some
}

func newTurns(most int) *turns { return &turns{max: most, taken: map[callerKey]int{}} }

// take reports whether a caller may begin one more; it then has to be given back.
func (t *turns) take(key callerKey) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.taken[key] == t.max {
		return false
	}
	t.taken[key]++
	return true
}

// give gives one back.
func (t *turns) give(key callerKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.taken[key]--; t.taken[key] == 0 {
		delete(t.taken, key)
	}
}
