package broker

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/gobelin-broker/gobelin/catchup"
	"go.uber.org/zap"
)

// Times of attendance.
const (
	// attendEvery is how often a node notes that an object with an open conference has
	// subscribers: three times before the conference would lapse.
	attendEvery = catchup.ConferenceLinger / 3
	// attendAgain is the pause after the store did not answer.
	attendAgain = time.Second
	// extendEvery is how often the data of a conference that goes on is kept longer.
	extendEvery = time.Hour
	// attendAtOnce bounds what is asked of the store at the same time.
	attendAtOnce = 16
)

// attendance tells the store which objects have subscribers on this node while they
// have an open conference, so that it goes on as long as there are some on any node
// (product.md §5.2, Sessions). Objects are named by their feed.
type attendance struct {
	b    *Broker
	wake chan struct{}

	mu    sync.Mutex
	rooms map[string]*attended
	due   map[string]struct{} // to be looked at
}

// attended is an object with subscribers, or that has just lost the last.
type attended struct {
	subscribers int
	confNum     string // of the open conference, "" for none
	looked      bool   // whether there is one is known
	extended    time.Time
}

func newAttendance(b *Broker) *attendance {
	return &attendance{b: b, wake: make(chan struct{}, 1), rooms: map[string]*attended{}, due: map[string]struct{}{}}
}

// attend counts the session among the subscribers of the objects that it is subscribed
// to. The caller is one of its handler calls.
func (s *subscriber) attend() {
	var rooms, acting []string
	for _, l := range s.listeners {
		if l.room == "" || !l.subscribed() {
			continue
		}
		if !slices.Contains(rooms, l.room) {
			rooms = append(rooms, l.room)
		}
		if l.acts && !slices.Contains(acting, l.room) {
			acting = append(acting, l.room)
		}
	}
	for _, room := range rooms {
		if !slices.Contains(s.attending, room) {
			s.b.attendance.enter(room)
		}
	}
	for _, room := range s.attending {
		if !slices.Contains(rooms, room) {
			s.b.attendance.leave(room)
		}
	}
	s.attending = rooms
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acting = acting
}

// subscribed reports whether the listener has a subscription, and not only the memory
// of one.
func (l *listener) subscribed() bool {
	for _, sm := range l.seams {
		if sm.exact || len(sm.channels) > 0 {
			return true
		}
	}
	return len(l.patterns) > 0
}

// enter counts a subscriber of an object.
func (a *attendance) enter(room string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.rooms[room]
	if r == nil {
		r = &attended{}
		a.rooms[room] = r
	}
	if r.subscribers++; r.subscribers == 1 {
		a.ask(room)
	}
}

// leave is the opposite.
func (a *attendance) leave(room string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.rooms[room]
	if r == nil {
		return
	}
	if r.subscribers--; r.subscribers == 0 {
		a.ask(room)
	}
}

// opened: a conference of an object has been opened somewhere.
func (a *attendance) opened(room string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.rooms[room] != nil {
		a.ask(room)
	}
}

// recheck has all objects looked at: it is not known what was opened.
func (a *attendance) recheck() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for room := range a.rooms {
		a.ask(room)
	}
}

// ask makes an object due. The caller holds mu.
func (a *attendance) ask(room string) {
	a.due[room] = struct{}{}
	poke(a.wake)
}

// run keeps the store informed until ctx ends, and then says who was here last.
func (a *attendance) run(ctx context.Context) {
	tick := time.NewTicker(attendEvery)
	defer tick.Stop()
	again := time.NewTimer(attendAgain)
	again.Stop()
	defer again.Stop()
	for ctx.Err() == nil {
		select {
		case <-a.wake:
		case <-again.C:
		case <-tick.C:
			a.askOpen()
		case <-ctx.Done():
			continue
		}
		if !a.look(ctx, false) {
			again.Reset(attendAgain)
		}
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWait)
	defer cancel()
	a.askOpen()
	a.look(late, true)
}

// askOpen makes every object due that has an open conference.
func (a *attendance) askOpen() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for room, r := range a.rooms {
		if r.confNum != "" {
			a.ask(room)
		}
	}
}

// look tells the store of all that is due; false if some of it has to be tried again.
func (a *attendance) look(ctx context.Context, leaving bool) bool {
	a.mu.Lock()
	due := a.due
	a.due = map[string]struct{}{}
	a.mu.Unlock()
	places := make(chan struct{}, attendAtOnce)
	var wg sync.WaitGroup
	var failed sync.Map
	for room := range due {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			if err := a.note(ctx, room, leaving); err != nil {
				failed.Store(room, err)
			}
		})
	}
	wg.Wait()
	fine := true
	a.mu.Lock()
	defer a.mu.Unlock()
	failed.Range(func(room, err any) bool {
		if fine && ctx.Err() == nil {
			a.b.log.Warn("cannot note that an object has subscribers; it is tried again", zap.Error(err.(error)))
		}
		fine = false
		a.due[room.(string)] = struct{}{}
		return true
	})
	return fine
}

// note tells the store of one object.
func (a *attendance) note(ctx context.Context, room string, leaving bool) error {
	a.mu.Lock()
	r := a.rooms[room]
	here := r != nil && r.subscribers > 0
	idle := r == nil || !here && r.looked && r.confNum == ""
	extend := r != nil && time.Since(r.extended) > extendEvery
	if r != nil && idle {
		delete(a.rooms, room)
	}
	a.mu.Unlock()
	if idle {
		return nil
	}
	key := room[len(objectFeed):]
	conf, open, err := a.b.conferences.Watch(ctx, key, leaving || !here)
	if err != nil {
		return err
	}
	if open && extend {
		name := catchup.DocumentName{Key: sessionDataPrefix(key) + conf.ConfNum}
		if err := a.b.documents.Extend(ctx, name, a.b.conferences.Life(), false); err != nil {
			return err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	r.looked = true
	if r.confNum = ""; open {
		r.confNum = conf.ConfNum
	}
	if extend {
		r.extended = time.Now()
	}
	if r.subscribers == 0 && a.rooms[room] == r {
		delete(a.rooms, room)
	}
	return nil
}
