package broker

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/store"
)

const (
	// sayingsAtOnce bounds the messages of statistics that the store has not answered.
	sayingsAtOnce = 1000
	// sayingsKnown is for how long one that is said twice is known again: longer than
	// samples are kept of which it could be made again.
	sayingsKnown = ticksKept + 30*time.Second
)

// saying says figures on one of the channels /stats/* of many objects: submitted at
// once, waited for together. What was said before, here or by another node, is not said
// again.
type saying struct {
	b    *Broker
	path string
	kind *kind
	room chan struct{}

	// mu guards what follows.
	mu     sync.Mutex
	failed int
	first  error
}

// newSaying begins with the channels of one name below /stats.
func (b *Broker) newSaying(name string) *saying {
	return &saying{b: b, path: "/" + statsKind + "/" + name, kind: b.kinds.stats[name], room: make(chan struct{}, sayingsAtOnce)}
}

// live says how many viewers an object had in a sample. Of one sample the first that
// says it counts.
func (s *saying) live(object string, at time.Time, viewers uint32) {
	data := append(make([]byte, 0, 64), `{"time":`...)
	data = strconv.AppendInt(data, at.UnixMilli(), 10)
	data = append(data, `,"viewers":`...)
	data = strconv.AppendUint(data, uint64(viewers), 10)
	s.say(object, append(data, '}'), at, nil)
}

// rows says rows of viewer.log on the channels of all objects that they are of; one
// that has changed is said again.
func (s *saying) rows(rows []catchup.ClosedRow) {
	for i := range rows {
		r := &rows[i]
		app := s.b.tokens.applicationByID(r.App)
		if app == nil {
			continue // it is not configured any more: its rows stay
		}
		data, err := ViewerLogRow{App: app, ViewerRow: r.ViewerRow}.JSON(false)
		if err != nil {
			s.note(err)
			continue
		}
		for _, object := range r.Objects {
			s.say(object, data, r.Time, data)
		}
	}
}

// say submits one message; what it is known by again is its channel, time and mark.
func (s *saying) say(object string, data []byte, at time.Time, mark []byte) {
	log := store.LogName{Feed: objectFeed + object, Path: s.path}
	rec := store.Record{Data: catchup.Encode(data, nil, 0), Nonce: sayingNonce(log, at, mark), Remember: sayingsKnown}
	s.room <- struct{}{}
	s.b.opt.Store.Submit(log, s.kind.limits, []store.Record{rec}, func(_ store.Appended, err error) {
		s.note(err)
		<-s.room
	})
}

func sayingNonce(log store.LogName, at time.Time, mark []byte) store.Nonce {
	head := binary.BigEndian.AppendUint64(make([]byte, 0, 160), uint64(at.UnixMilli()))
	head = append(append(append(head, log.Feed...), log.Path...), 0)
	sum := sha256.Sum256(append(head, mark...))
	return store.Nonce(sum[:16])
}

func (s *saying) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		s.b.metrics.statsMessages.Inc()
	case s.failed == 0:
		s.first = err
		fallthrough
	default:
		s.failed++
	}
}

// wait returns once the store has answered all; an error says that some were not said.
func (s *saying) wait() error {
	for range cap(s.room) {
		s.room <- struct{}{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == 0 {
		return nil
	}
	return errors.Join(fmt.Errorf("broker: %d messages on %s", s.failed, s.path), s.first)
}
