package memory

import (
	"time"

	"go.uber.org/zap"

	"github.com/gobelin-broker/gobelin/store/internal/window"
)

// sweepLoop frees what has expired, until Close.
func (s *Store) sweepLoop() {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	var refused uint64
	for {
		select {
		case <-s.end:
			return
		case <-t.C:
			if n := s.queue.Refused(); n > refused {
				s.log.Warn("appends were refused: the queue was full", zap.Uint64("refused", n-refused), zap.Uint64("refused_in_all", n))
				refused = n
			}
			s.sweep()
		}
	}
}

func (s *Store) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweepLogs()
	s.sweepTables()
	s.sweepSeries()
	s.full = s.full && s.bytes >= s.maxBytes
}

// sweepLogs drops logs that are gone whole and trims the others; mu is held.
func (s *Store) sweepLogs() {
	now := s.clock.Now()
	for name, l := range s.logs {
		last := l.last()
		if window.Idle(l.limits, last, now) || last.MS() < window.Cutoff(l.limits.Age, now) {
			s.drop(name, l)
			continue
		}
		s.bytes -= l.trim(now)
	}
	for name, m := range s.nonces {
		for n, r := range m {
			if r.forgotten(now) {
				delete(m, n)
				s.bytes -= nonceOverhead
			}
		}
		if len(m) == 0 {
			delete(s.nonces, name)
		}
	}
}

// sweepTables drops rows that have expired; mu is held.
func (s *Store) sweepTables() {
	now := s.clock.Now()
	for name, t := range s.tables {
		for key, v := range t.rows {
			if expired(v, now) {
				s.remove(t, key, v)
			}
		}
		if len(t.rows) == 0 {
			delete(s.tables, name)
		}
	}
}
