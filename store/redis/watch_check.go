package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

const (
	// checkEach is how often the counters are compared with what was heard.
	checkEach = 2 * time.Second
	// checkAgain is the pause after one over which a line broke, and twice that after the
	// next: where lines break all the time there has to be one between two breaks.
	checkAgain = 50 * time.Millisecond
	// underway is how long a message may be on its way after its counter was read.
	underway = 200 * time.Millisecond
	// checkTimeout bounds one check.
	checkTimeout = 5 * time.Second
	// countBatch is how many counters one MGET reads.
	countBatch = 500
	// flagLife is how long messages go to the channels of partitions when nobody
	// renews the flag for it. Each head check does.
	flagLife = 30 * time.Second
)

// look is a channel in a head check.
type look struct {
	ch    *channel
	seen  uint64 // before its counter was read
	count uint64
}

// run checks every so often whether all that was said was heard.
func (e *ears) run(ctx context.Context) {
	again := checkAgain
	for {
		// What fails is tried again, and told by Announced and by Health.
		whole, err := e.check(ctx)
		pause := checkEach
		if err == nil && !whole {
			pause, again = again, min(2*again, checkEach)
		} else {
			again = checkAgain
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// check compares the counters of all channels with what came. A message lost as the
// last one shows in nothing else. When all was handed over or declared missed, the
// time at which it began is announced; whole is false where a line was broken meanwhile.
func (e *ears) check(ctx context.Context) (whole bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	began, _, err := e.s.times(ctx) // before all else: what is committed later is not judged
	if err != nil {
		return false, err
	}
	breaks, sound := e.snapshot()
	channels := make([]*channel, len(e.looks))
	for i := range e.looks {
		channels[i] = e.looks[i].ch
	}
	some := wides(channels)
	flags, err := e.s.raise(ctx, some)
	if err != nil {
		return false, err
	}
	counts, err := e.s.counts(ctx, channels)
	if err != nil {
		return false, err
	}
	for i := range e.looks {
		e.looks[i].count = counts[i]
	}
	missing := e.compare()
	e.lowered(some, flags, missing)
	if e.behind() {
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(underway):
		}
		e.declare(missing)
	}
	for a := range missing {
		a.again()
	}
	now, fine := e.breaks()
	if whole = sound && fine && now == breaks; whole {
		e.announce(began.UnixMilli())
	}
	return whole, nil
}

// announce never goes back: only the head check calls it.
func (e *ears) announce(ms int64) { e.announced.Store(max(ms, e.announced.Load())) }

// snapshot notes what was heard so far, and reports whether all lines listen.
func (e *ears) snapshot() (breaks uint64, sound bool) {
	e.looks = e.looks[:0]
	sound = true
	for _, l := range e.lines {
		l.mu.Lock()
		breaks += l.breaks
		sound = sound && l.broken == nil
		for _, ch := range l.channels {
			if ch.live && ch.settled {
				e.looks = append(e.looks, look{ch: ch, seen: ch.seen()})
			} else if ch.live || ch.lost {
				sound = false // it was announced to watchers as live, and is not sure to be
			}
		}
		l.mu.Unlock()
	}
	return breaks, sound
}

// breaks returns how often lines broke so far, and whether all are in order.
func (e *ears) breaks() (breaks uint64, fine bool) {
	fine = true
	for _, l := range e.lines {
		l.mu.Lock()
		breaks += l.breaks
		fine = fine && l.broken == nil
		l.mu.Unlock()
	}
	return breaks, fine
}

// compare finds the counters that are behind what was heard before they were read:
// Redis lost them, and with them who knows what. It returns the watches to tell.
func (e *ears) compare() (missing map[*watch]struct{}) {
	missing = make(map[*watch]struct{})
	for i := range e.looks {
		look := &e.looks[i]
		if look.count >= look.seen {
			continue
		}
		l := look.ch.line
		l.mu.Lock()
		if look.ch.settled && look.ch.live {
			look.ch.restart()
			look.ch.floor, look.ch.settled = look.count, true
			add(missing, look.ch)
		}
		l.mu.Unlock()
	}
	return missing
}

// behind reports whether anything was said that has not been heard.
func (e *ears) behind() bool {
	for i := range e.looks {
		if e.looks[i].open() {
			return true
		}
	}
	return false
}

// open reports whether the channel has not got as far as its counter was.
func (k *look) open() bool {
	k.ch.line.mu.Lock()
	defer k.ch.line.mu.Unlock()
	return k.ch.live && k.ch.settled && k.ch.seen() < k.count
}

// declare gives up what is still not heard.
func (e *ears) declare(missing map[*watch]struct{}) {
	for i := range e.looks {
		look := &e.looks[i]
		if !look.open() {
			continue
		}
		look.ch.line.mu.Lock()
		look.ch.floor = max(look.ch.floor, look.count)
		add(missing, look.ch)
		look.ch.line.mu.Unlock()
	}
}

// lowered finds flags that were gone meanwhile, however briefly: what was said then
// did not reach the channels of partitions, and is not counted.
func (e *ears) lowered(some []*channel, flags []string, missing map[*watch]struct{}) {
	for i, ch := range some {
		ch.line.mu.Lock()
		if ch.flag != flags[i] {
			ch.flag = flags[i]
			add(missing, ch)
		}
		ch.line.mu.Unlock()
	}
}

// add is called with the line's mu held.
func add(missing map[*watch]struct{}, ch *channel) {
	for _, a := range ch.watches {
		missing[a] = struct{}{}
	}
}

// wides returns those of the channels that carry all of a partition.
func wides(channels []*channel) []*channel {
	var some []*channel
	for _, ch := range channels {
		if ch.feed == "" {
			some = append(some, ch)
		}
	}
	return some
}

// raise sets the flags of partitions, or renews them, and returns their values. Each
// setting has a value of its own, so that everybody sees that there was one.
func (s *Store) raise(ctx context.Context, some []*channel) (flags []string, err error) {
	if len(some) == 0 {
		return nil, nil
	}
	flags = make([]string, len(some))
	set := make([]*goredis.StatusCmd, len(some))
	renewed := make([]*goredis.BoolCmd, len(some))
	_, _ = s.client.Pipelined(ctx, func(p goredis.Pipeliner) error {
		for i, ch := range some {
			flags[i] = rand.Text()
			key := s.keys.wideFlag(ch.p)
			set[i] = p.SetArgs(ctx, key, flags[i], goredis.SetArgs{Mode: "NX", Get: true, TTL: flagLife})
			renewed[i] = p.PExpire(ctx, key, flagLife)
		}
		return nil
	})
	for i := range some {
		switch old, err := set[i].Result(); {
		case err == nil:
			flags[i] = old
		case !errors.Is(err, goredis.Nil):
			return nil, err
		}
		if there, err := renewed[i].Result(); err != nil {
			return nil, err
		} else if !there {
			flags[i] = rand.Text() // it went in between: whatever comes next is another
		}
	}
	return flags, nil
}

// counts reads the counters of channels, which in a cluster come partition by
// partition; absent ones are 0.
func (s *Store) counts(ctx context.Context, channels []*channel) ([]uint64, error) {
	counts := make([]uint64, 0, len(channels))
	if len(channels) == 0 {
		return counts, nil
	}
	var answers []*goredis.StringSliceCmd
	_, err := s.client.Pipelined(ctx, func(p goredis.Pipeliner) error {
		for rest := channels; len(rest) > 0; {
			n := 1
			for n < len(rest) && n < countBatch && (!s.cluster || rest[n].p == rest[0].p) {
				n++
			}
			args := make([]any, n+1)
			args[0] = "mget"
			for i, ch := range rest[:n] {
				args[i+1] = ch.counter
			}
			answers = append(answers, goredis.NewStringSliceCmd(ctx, args...))
			_ = p.Process(ctx, answers[len(answers)-1])
			rest = rest[n:]
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, a := range answers {
		for _, v := range a.Val() {
			n, _ := strconv.ParseUint(v, 10, 64)
			counts = append(counts, n)
		}
	}
	if len(counts) != len(channels) {
		return nil, errors.New("counters: not as many as were asked for")
	}
	return counts, nil
}
