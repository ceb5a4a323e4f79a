package redis

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/gobelin-broker/gobelin/store"
)

const (
	// leaseTime is how long after its last word a pump is taken for dead, leaseEach how
	// often it renews its lease, and how often the others look whether it is free.
	leaseTime = 3 * time.Second
	leaseEach = time.Second
	// sweepEach is how often all outboxes are looked at, whoever was woken: messages of
	// pub/sub are lost at times.
	sweepEach = 2 * time.Second
	// pumpPause is how long a pump waits before it tries again what was refused, longer
	// from one time to the next up to maxPumpPause.
	pumpPause    = 50 * time.Millisecond
	maxPumpPause = time.Second
	// maxWaiting and maxWaitingBytes bound what is read of an outbox at once.
	maxWaiting      = 1000
	maxWaitingBytes = 4 << 20
	// maxMove bounds the copies of one call, besides maxCallBytes.
	maxMove = 200
)

// pump brings copies from the outboxes into their logs (decided.md 22). Of all the nodes'
// pumps the one that has the lease works.
//
//	append.lua ─► outbox ─► waiting.lua ─► move.lua ─► log
//	    └─ wake ─► pump        └──────────── moved.lua ◄─┘
//
// It may stop anywhere: move.lua leaves out what is in the log already, by a mark that it
// writes in the same step as the copies, and refuses a pump that has lost its lease, by
// the fence in the mark.
type pump struct {
	s    *Store
	who  string
	woke chan struct{} // holds one token while hot has something new

	// owned by run
	fence   int64
	floor   int64     // a fence that was seen
	renewed time.Time // before the lease was last renewed
	pause   time.Duration
	said    time.Time

	mu  sync.Mutex
	hot [partitions]bool // guarded by mu; outboxes in which something may wait
}

func newPump(s *Store) *pump {
	who := binary.BigEndian.AppendUint64(nil, rand.Uint64())
	return &pump{s: s, who: hex.EncodeToString(who), woke: make(chan struct{}, 1)}
}

// run pumps while it has the lease, until ctx ends.
func (p *pump) run(ctx context.Context) {
	each := time.NewTicker(leaseEach)
	defer each.Stop()
	for {
		if p.lease(ctx) {
			p.work(ctx)
		}
		select {
		case <-ctx.Done():
			p.release()
			return
		case <-each.C:
		}
	}
}

// lease takes the lease or renews it, and returns whether it has it.
func (p *pump) lease(ctx context.Context) bool {
	now := time.Now()
	fence, err := p.ask(ctx, leaseTime)
	switch {
	case err != nil: // what it has it keeps while others cannot have it
		return p.fence > 0 && time.Since(p.renewed) < leaseTime
	case fence < 0:
		p.fence = 0
		return false
	}
	p.fence, p.floor, p.renewed = fence, max(p.floor, fence), now
	return true
}

// release gives the lease up, so that another pump need not wait for its end.
func (p *pump) release() {
	ctx, cancel := context.WithTimeout(context.Background(), ioTimeout)
	defer cancel()
	if p.fence > 0 {
		_, _ = p.ask(ctx, 0) // or it ends by itself
	}
}

// ask runs lease.lua, with its text: once a second that costs less than to find out that
// the server does not know it.
func (p *pump) ask(ctx context.Context, life time.Duration) (int64, error) {
	s := p.s
	if err := s.open(); err != nil {
		return 0, err
	}
	client, err := s.primary(ctx, s.keys.pump())
	if err != nil {
		return 0, err
	}
	fence, err := leaseScript.Eval(ctx, client, []string{s.keys.pump()}, p.who, life.Milliseconds(), p.floor).Int64()
	s.judge(ctx, err)
	return fence, err
}

// work pumps until the lease is lost or ctx ends.
func (p *pump) work(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var listening sync.WaitGroup
	defer listening.Wait()
	wake := p.s.client.Subscribe(ctx, p.s.keys.wake())
	defer wake.Close()
	listening.Go(func() {
		for m := range wake.Channel() {
			p.heat(m.Payload)
		}
	})
	sweep := time.NewTimer(0)
	defer sweep.Stop()
	retry := time.NewTimer(0)
	defer retry.Stop()
	renew := time.NewTicker(leaseEach)
	defer renew.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-renew.C:
		case <-sweep.C:
			p.sweep(ctx)
			sweep.Reset(sweepEach)
		case <-p.woke:
		case <-retry.C:
		}
		for on := true; on && ctx.Err() == nil; {
			if time.Since(p.renewed) >= leaseEach/2 && !p.lease(ctx) {
				return
			}
			on = p.flight(ctx)
			if p.fence == 0 {
				return
			}
		}
		if p.pause > 0 {
			retry.Reset(p.pause)
		}
	}
}

// heat notes that something waits in an outbox.
func (p *pump) heat(outbox string) {
	for i := range partitions {
		if p.s.keys.outbox(i) == outbox {
			p.mu.Lock()
			p.hot[i] = true
			p.mu.Unlock()
			select {
			case p.woke <- struct{}{}:
			default:
			}
		}
	}
}

// sweep looks into all outboxes.
func (p *pump) sweep(ctx context.Context) {
	if p.s.open() != nil {
		return
	}
	counts, err := p.s.outboxes(ctx)
	p.s.judge(ctx, err)
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, n := range counts {
		if n > 0 {
			p.hot[i] = true
		}
	}
}

// take returns the outboxes in which something may wait, and forgets them.
func (p *pump) take() (parts []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, hot := range p.hot {
		if hot {
			parts = append(parts, i)
		}
	}
	p.hot = [partitions]bool{}
	return parts
}

// flight moves what it finds in the outboxes, at most some of each. It returns whether to
// go on at once; what was refused sets pause.
func (p *pump) flight(ctx context.Context) (on bool) {
	parts := p.take()
	if len(parts) == 0 || p.s.open() != nil {
		p.again(parts)
		return false
	}
	found, err := p.s.waitingIn(ctx, parts, "0", maxWaiting, maxWaitingBytes)
	moves := p.moves(parts, found)
	if moveErr := p.send(ctx, moves); moveErr != nil {
		err = moveErr
	}
	left, movedErr := p.clear(ctx, moves)
	if movedErr != nil {
		err = movedErr
	}
	p.again(left)
	for i, part := range parts {
		if found[i] == nil {
			p.again([]int{part})
		}
	}
	if err == nil {
		p.pause = 0
		return len(left) > 0
	}
	p.pause = min(max(2*p.pause, pumpPause), maxPumpPause)
	p.say(err)
	return false
}

// again notes that something waits still.
func (p *pump) again(parts []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, i := range parts {
		p.hot[i] = true
	}
}

// say logs that copies wait, seldom.
func (p *pump) say(err error) {
	if cause(err) == "canceled" || time.Since(p.said) < sayEvery {
		return
	}
	p.said = time.Now()
	p.s.log.Warn("redis: copies for streams wait: their log did not take them", zap.Error(storeError(err)))
}

// move is copies of one partition on their way to one log.
type move struct {
	part    int
	to      store.LogName
	limits  store.Limits
	copies  []waiting
	bytes   int
	outcome string // first byte of what move.lua said, "p" where that is a position
}

// moves sorts what was found by logs: the oldest of each, as many as fit into one call.
func (p *pump) moves(parts []int, found [][]any) (moves []*move) {
	for i, part := range parts {
		byLog := make(map[store.LogName]*move)
		ended := make(map[store.LogName]bool)
		for j := 0; j+1 < len(found[i]); j += 2 {
			id, _ := found[i][j].(string)
			text, _ := found[i][j+1].(string)
			w, err := decodeWaiting(id, text)
			if err != nil {
				p.s.log.Error("redis: an outbox holds what is no copy", zap.String("id", id))
				continue
			}
			m := byLog[w.to]
			if m == nil {
				m = &move{part: part, to: w.to, limits: w.limits}
				byLog[w.to] = m
				moves = append(moves, m)
			}
			if m.limits != w.limits || len(m.copies) == maxMove || m.bytes > 0 && m.bytes+len(w.data) > maxCallBytes {
				ended[w.to] = true
			}
			if !ended[w.to] { // what follows keeps its place
				m.copies = append(m.copies, w)
				m.bytes += len(w.data)
			}
		}
	}
	return moves
}
