package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// How full accumulations are is asked of the store once a second for each that is
// written to here, and counted between: so with several nodes one may become larger
// than its bound by what the others take in that second. One that is full is looked at
// again after fullFor, since it may be cleared or expire.
const (
	fillFor = time.Second
	fullFor = 100 * time.Millisecond
	// maxFills bounds the accumulations that are remembered, about 200 bytes each.
	maxFills = 20_000
)

// errAccumulationFull refuses an entry; nothing is dropped for it (decided.md 24).
var errAccumulationFull = fmt.Errorf("broker: accumulation: holds as many entries as it may: %w", store.ErrFull)

// errAccumulationNames refuses an entry that would begin one more accumulation.
var errAccumulationNames = fmt.Errorf("broker: accumulation: the object has as many as it may: %w", store.ErrFull)

// isFull reports whether an entry was refused for a bound of accumulations, and not for
// one of the store.
func isFull(err error) bool {
	return errors.Is(err, errAccumulationFull) || errors.Is(err, errAccumulationNames)
}

// fills knows how full accumulations are. Its methods may be called by many goroutines
// at once.
type fills struct {
	log    store.Log
	limits store.Limits
	most   int64

	mu    sync.Mutex
	byLog map[store.LogName]*fill // guarded by mu
	// crowded are the objects that have as many as they may, by the prefix of their
	// names, and when that was seen. Guarded by mu.
	crowded map[string]time.Time
}

// fill is what is known of one. It is guarded by fills.mu.
type fill struct {
	counted  int64 // by the store
	added    int64 // taken here since it was asked
	underway int64 // submitted here, outcome unknown
	asOf     time.Time
	listed   time.Time     // when its row was written last
	counting chan struct{} // closed when the store has answered; nil: it is not asked
}

func newFills(log store.Log, o AccumulateOptions) *fills {
	return &fills{log: log, limits: store.Limits{Age: store.Forever, Idle: o.TTL}, most: int64(o.Max), byLog: map[store.LogName]*fill{}, crowded: map[string]time.Time{}}
}

// reserve makes room for one entry, or returns errAccumulationFull, or the store's
// error. taken is to be called with the outcome, once.
func (s *fills) reserve(ctx context.Context, log store.LogName) (taken func(more bool), err error) {
	for {
		s.mu.Lock()
		f := s.find(log)
		age := time.Since(f.asOf)
		full := f.counted+f.added+f.underway >= s.most
		if age < fillFor && (!full || age < fullFor) {
			if full {
				s.mu.Unlock()
				return nil, errAccumulationFull
			}
			f.underway++
			s.mu.Unlock()
			return func(more bool) { s.settle(f, more) }, nil
		}
		if wait := f.counting; wait != nil {
			s.mu.Unlock()
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		f.counting = make(chan struct{})
		s.mu.Unlock()
		if err := s.count(ctx, log, f); err != nil {
			return nil, err
		}
	}
}

// count asks the store. What was taken while it looked counts twice until it is asked
// again, rather than not at all.
func (s *fills) count(ctx context.Context, log store.LogName, f *fill) error {
	s.mu.Lock()
	before := f.added
	s.mu.Unlock()
	n, err := s.log.Count(ctx, log, store.Range{Limits: s.limits})
	s.mu.Lock()
	defer s.mu.Unlock()
	close(f.counting)
	f.counting = nil
	if err != nil {
		return fmt.Errorf("broker: accumulation: count: %w", err)
	}
	f.counted, f.added, f.asOf = n, f.added-before, time.Now()
	return nil
}

func (s *fills) settle(f *fill, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.underway--
	if more {
		f.added++
	}
}

// unlisted reports whether the row of an accumulation is to be written again.
func (s *fills) unlisted(log store.LogName, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	listed := s.find(log).listed
	return listed.IsZero() || now.Sub(listed) >= s.limits.Idle/2
}

// list notes that the row was written.
func (s *fills) list(log store.LogName, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.find(log).listed = at
}

// isCrowded reports whether an object was seen a moment ago to have as many accumulations
// as it may.
func (s *fills) isCrowded(prefix string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.crowded[prefix]) < fillFor
}

// crowd notes that it is so.
func (s *fills) crowd(prefix string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for old, at := range s.crowded {
		if time.Since(at) >= fillFor {
			delete(s.crowded, old)
		}
	}
	if len(s.crowded) < maxFills {
		s.crowded[prefix] = time.Now()
	}
}

// forget drops what is known of an accumulation that was cleared.
func (s *fills) forget(log store.LogName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.byLog[log]; f != nil {
		f.asOf = time.Time{}
	}
}

// find returns a log's fill, made if there is none. The caller holds mu.
func (s *fills) find(log store.LogName) *fill {
	f := s.byLog[log]
	if f == nil {
		if len(s.byLog) >= maxFills {
			for name, old := range s.byLog { // those of no use first, else any
				if old.counting == nil && old.underway == 0 && (time.Since(old.asOf) > fillFor || len(s.byLog) >= maxFills) {
					delete(s.byLog, name)
				}
			}
		}
		f = &fill{}
		s.byLog[log] = f
	}
	return f
}
