package redis

import (
	"slices"
	"sync/atomic"
)

// channel is one pub/sub channel: of a feed, or of all feeds of a partition. Its
// messages are numbered by a counter in Redis, which tells whether one was lost.
//
//	asked ──confirmed──► unsettled ──counter read──► live ──connection breaks──► asked again
type channel struct {
	line    *line
	name    string
	counter any    // its key, boxed once: the head check sends it every time
	feed    string // "" for all of a partition
	p       int    // partition

	// done is the number of the last message that was handed over.
	done atomic.Uint64

	// guarded by line.mu

	watches []*watch // never changed in place
	queued  bool     // in line.changed
	asked   bool     // the last thing sent about it was SUBSCRIBE
	pending int      // SUBSCRIBEs not confirmed
	leaving int      // UNSUBSCRIBEs not confirmed
	live    bool     // subscribed and settled
	lost    bool     // was live until the connection broke, and is not yet again
	settled bool     // floor is known
	got     uint64   // number of the last message received since the confirmation
	floor   uint64   // up to here watchers know that they must read
	flag    string   // of a partition: the value of wideFlag when it was last seen
}

// receive notes a message and reports whether one before it was lost; line.mu is
// held. Numbers up to floor may come or not: Ready said so. One that is not above the
// last means that Redis lost the counter, and with it who knows what.
func (ch *channel) receive(seq uint64) (missed bool) {
	if ch.settled {
		missed = seq <= ch.got || seq > max(ch.got, ch.floor)+1
	}
	if seq <= ch.got {
		ch.floor = 0
	}
	ch.got = seq
	return missed
}

// restart forgets the numbers: what comes now is of a new subscription; line.mu is held.
func (ch *channel) restart() {
	ch.got, ch.floor, ch.settled = 0, 0, false
	ch.done.Store(0)
}

// seen returns up to which number everything was handed over or declared missed;
// line.mu is held.
func (ch *channel) seen() uint64 { return max(ch.done.Load(), ch.floor) }

// join adds a watch, whose mu is held, to a channel. It returns false if the line
// is closed.
func (l *line) join(a *watch, name, counter string, p int, feed string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	ch := l.channels[name]
	if ch == nil {
		ch = &channel{line: l, name: name, counter: counter, feed: feed, p: p}
		l.channels[name] = ch
	}
	ch.watches = append(slices.Clip(ch.watches), a)
	a.channels = append(a.channels, ch)
	if !ch.live {
		a.down++
	}
	l.change(ch)
	return true
}

// leave takes a watch off a channel.
func (l *line) leave(a *watch, ch *channel) {
	l.mu.Lock()
	defer l.mu.Unlock()
	left := make([]*watch, 0, len(ch.watches))
	for _, b := range ch.watches {
		if b != a {
			left = append(left, b)
		}
	}
	ch.watches = left
	if len(left) == 0 {
		l.change(ch)
	}
}

// change has the connection look whether the channel is subscribed as it should be;
// mu is held.
func (l *line) change(ch *channel) {
	if ch.queued || (len(ch.watches) > 0) == ch.asked {
		return
	}
	ch.queued = true
	l.changed = append(l.changed, ch)
	l.wakeUp()
}

// ask decides what is to be sent about changed channels, and forgets those that
// nobody wants; mu is held.
func (l *line) ask() (subscribe, unsubscribe []string) {
	for _, ch := range l.changed {
		ch.queued = false
		switch wanted := len(ch.watches) > 0; {
		case wanted && !ch.asked:
			ch.asked = true
			ch.pending++
			subscribe = append(subscribe, ch.name)
		case !wanted && ch.asked:
			ch.asked, ch.live, ch.lost, ch.settled = false, false, false, false
			ch.leaving++
			unsubscribe = append(unsubscribe, ch.name)
		case !wanted && ch.pending == 0 && ch.leaving == 0:
			delete(l.channels, ch.name)
		}
	}
	l.changed = l.changed[:0]
	return subscribe, unsubscribe
}

// confirmed notes that a subscription began.
func (l *line) confirmed(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ch := l.channels[name]
	if ch == nil {
		l.recover() // the probe, which goes first
		return
	}
	ch.pending = max(ch.pending-1, 0)
	if ch.pending == 0 && ch.asked {
		ch.restart()
		l.settling = append(l.settling, ch)
		l.wakeUp()
	}
}

// ended notes that a subscription ended, and reports whether we had asked for that.
func (l *line) ended(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	ch := l.channels[name]
	if ch == nil || ch.leaving == 0 {
		return false
	}
	ch.leaving--
	if ch.leaving == 0 && ch.pending == 0 && !ch.asked && len(ch.watches) == 0 {
		delete(l.channels, name)
	}
	return true
}

// message hands over what came on a channel.
func (l *line) message(name, payload string) {
	l.mu.Lock()
	ch := l.channels[name]
	l.mu.Unlock()
	if ch == nil { // the probe, or what was under way when nobody listened any more
		return
	}
	seq, tails, err := decodeLive([]byte(payload), ch.feed)
	if err != nil {
		// If it was in the place of one of ours, its number is missing.
		l.odd(name, err)
		return
	}
	l.s.clock.saw(tails[len(tails)-1].Position.MS())
	l.mu.Lock()
	missed := ch.receive(seq)
	watches := ch.watches
	l.mu.Unlock()
	for _, a := range watches {
		if missed {
			a.again()
		}
		a.entries(tails)
	}
	ch.done.Store(seq)
}

// settle makes channels live whose counters were read after their confirmation:
// what came before that will be read by the watchers, what comes after is numbered.
func (l *line) settle(channels []*channel, counts []uint64, flags []string) {
	var up, again []*watch
	l.mu.Lock()
	for i, ch := range channels {
		if !ch.asked || ch.pending > 0 {
			continue
		}
		ch.floor, ch.settled = max(counts[i], ch.got), true
		if ch.feed == "" {
			ch.flag = flags[i]
		}
		if ch.live {
			again = append(again, ch.watches...)
			continue
		}
		ch.live, ch.lost = true, false
		up = append(up, ch.watches...)
	}
	l.mu.Unlock()
	for _, a := range up {
		a.up()
	}
	for _, a := range again {
		a.again()
	}
}

// unlive takes all channels down, as nothing is subscribed any more, and returns
// the watches of each that was live; mu is held.
func (l *line) unlive() (down []*watch) {
	for name, ch := range l.channels {
		if ch.live {
			ch.live, ch.lost = false, true
			down = append(down, ch.watches...)
		}
		ch.asked, ch.pending, ch.leaving, ch.queued = false, 0, 0, false
		ch.restart()
		if len(ch.watches) == 0 {
			delete(l.channels, name)
		}
	}
	l.changed, l.settling = nil, nil
	return down
}
