package brokertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// publisher sends numbered messages without pause and writes down what became of
// each. One goroutine owns it.
type publisher struct {
	run  *run
	n    int
	rng  *rand.Rand
	post *poster
	all  []Publication

	// of those with a session
	clientID string
	next     int
	socket   *socket
	flying   map[string]flight // by message id, over WebSocket
	touched  time.Time         // last connect
}

// flight is a publish that waits for its answer.
type flight struct {
	index int // in all
	body  []byte
	tries int
}

func newPublisher(r *run, n int) *publisher {
	p := &publisher{run: r, n: n, rng: r.rng(uint64(1000 + n)), post: newPoster(r.fleet, n), flying: map[string]flight{}}
	p.post.token = r.token
	return p
}

// begin notes a new message and returns its data; its index is the last.
func (p *publisher) begin() []byte {
	k := len(p.all)
	data := newPayload(p.rng, p.n, k)
	p.all = append(p.all, Publication{
		Publisher: p.n, K: k, Channel: p.run.channels[p.rng.IntN(len(p.run.channels))], Sum: sum(data), Sent: p.run.now(),
	})
	return data
}

// settle notes an answer.
func (p *publisher) settle(index int, id string, outcome Outcome) {
	one := &p.all[index]
	if one.Outcome != Unknown {
		return
	}
	one.Outcome, one.Answered = outcome, p.run.now()
	if outcome == OK {
		position, err := store.ParsePosition(id)
		if err != nil {
			p.run.trouble("publisher %d: message %d is acknowledged as %q", p.n, one.K, id)
		}
		one.ID = position
	}
}

// took notes how long an attempt took that was answered.
func (p *publisher) took(begun time.Time) {
	d := int64(time.Since(begun))
	for most := p.run.slowest.Load(); d > most && !p.run.slowest.CompareAndSwap(most, d); most = p.run.slowest.Load() {
	}
}

// pace waits for the next message's time; false at the end.
func (p *publisher) pace(ctx context.Context) bool {
	return rest(ctx, p.run.every/2+time.Duration(p.rng.Int64N(int64(p.run.every))))
}

// rest waits for d; false when ctx ended.
func rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// overHTTP publishes by /v1/publish, and repeats with the same Idempotency-Key
// until the outcome is known. until ends new messages, ctx the rest.
func (p *publisher) overHTTP(until, ctx context.Context) {
	defer p.post.close()
	for p.pace(until) {
		first := len(p.all)
		body := []byte(`{"messages":[`)
		for i := range 1 + p.rng.IntN(3) {
			data := p.begin()
			if i > 0 {
				body = append(body, ',')
			}
			body = fmt.Appendf(body, `{"channel":%q,"data":%s}`, p.all[first+i].Channel, data)
		}
		body = append(body, "]}"...)
		key := fmt.Sprintf("torture-%d-%d-%d", p.run.seed, p.n, first)
		for !p.batch(ctx, key, body, first) && rest(ctx, retryPause) {
		}
	}
}

const retryPause = 100 * time.Millisecond

// batch makes one attempt; true when every outcome is known.
func (p *publisher) batch(ctx context.Context, key string, body []byte, first int) bool {
	begun := time.Now()
	b, _, err := p.post.post(ctx, "/v1/publish", key, body, p.run.patience)
	if err == nil {
		p.took(begun)
	}
	if err != nil {
		var status statusError
		if errors.As(err, &status) && status < 500 && status != 429 {
			p.run.trouble("publisher %d: /v1/publish answers %v: %s", p.n, status, b)
			return true
		}
		return false
	}
	var answer struct {
		Results []struct {
			Result int    `json:"result"`
			ID     string `json:"id"`
		} `json:"results"`
	}
	if err := json.Unmarshal(b, &answer); err != nil || len(answer.Results) != len(p.all)-first {
		p.run.trouble("publisher %d: /v1/publish answers %s", p.n, b)
		return true
	}
	known := true
	for i, one := range answer.Results {
		if one.ID != "" {
			p.settle(first+i, one.ID, OK)
		} else {
			known = false // the store had trouble; the key makes it safe to ask again
		}
	}
	return known
}

// overPolling publishes by POST within a session, one at a time. An answer that
// was lost is asked for again only if the run trusts decided.md 5.
func (p *publisher) overPolling(until, ctx context.Context) {
	defer p.post.close()
	for p.pace(until) {
		if !p.session(ctx) {
			continue
		}
		data := p.begin()
		index := len(p.all) - 1
		body := p.publishBody(index, data)
		for tries := 0; ; tries++ {
			begun := time.Now()
			ms, _, err := p.post.exchange(ctx, body, p.run.patience)
			if err == nil {
				p.took(begun)
				p.answers(ms, map[string]flight{strconv.Itoa(p.next): {index: index, tries: tries}})
				break
			}
			if !p.run.RetryPublish || !rest(ctx, retryPause) {
				break
			}
		}
	}
}

func (p *publisher) publishBody(index int, data []byte) []byte {
	p.next++
	return fmt.Appendf(nil, `[{"channel":%q,"clientId":%q,"id":"%d","data":%s}]`, p.all[index].Channel, p.clientID, p.next, data)
}

// session sees to it that there is one and that it stays.
func (p *publisher) session(ctx context.Context) bool {
	if p.clientID == "" {
		ms, _, err := p.post.exchange(ctx, handshakeBody("h"), p.run.patience)
		if err != nil {
			return false
		}
		if p.clientID, err = handshaken(ms); err != nil {
			return false
		}
		p.touched = time.Time{}
	}
	if time.Since(p.touched) > time.Second {
		p.next++
		body := fmt.Appendf(nil, `[{"channel":"/meta/connect","clientId":%q,"connectionType":"long-polling","advice":{"timeout":0},"id":"%d"}]`, p.clientID, p.next)
		ms, _, err := p.post.exchange(ctx, body, p.run.patience)
		if err != nil {
			return false
		}
		for i := range ms {
			if ms[i].unknown() {
				p.clientID = ""
				return false
			}
		}
		p.touched = time.Now()
	}
	return true
}

// answers notes the answers to publishes in flight, by their ids.
func (p *publisher) answers(ms []message, flying map[string]flight) {
	for i := range ms {
		m := &ms[i]
		f, ours := flying[m.ID]
		if m.Successful == nil || !ours {
			if m.unknown() {
				p.clientID = ""
			}
			continue
		}
		delete(flying, m.ID)
		switch {
		case !m.failed():
			p.settle(f.index, m.Ext.History.ID, OK)
		case m.Error == "504::Outcome unknown":
		case f.tries > 0:
			// The first attempt's fate is not what this one was told.
		default:
			p.settle(f.index, "", Refused)
		}
	}
}

// overSocket publishes over WebSocket, several in flight at once.
func (p *publisher) overSocket(until, ctx context.Context) {
	defer p.post.close()
	defer func() { p.hangUp() }()
	for p.pace(until) {
		if !p.session(ctx) || p.socket == nil && !p.dial(ctx) {
			continue
		}
		p.listen(0)
		if p.socket == nil || len(p.flying) >= mostFlying {
			continue
		}
		data := p.begin()
		index := len(p.all) - 1
		body := p.publishBody(index, data)
		p.flying[strconv.Itoa(p.next)] = flight{index: index, body: body}
		if p.socket.send(body) != nil {
			p.hangUp()
		}
	}
	for end := time.Now().Add(2 * p.run.patience); len(p.flying) > 0 && time.Now().Before(end) && ctx.Err() == nil; {
		if p.socket == nil && (!p.run.RetryPublish || !p.session(ctx) || !p.dial(ctx)) {
			if !p.run.RetryPublish {
				return
			}
			rest(ctx, retryPause)
			continue
		}
		p.listen(retryPause)
	}
}

const mostFlying = 16

// dial opens the socket and, where that is safe, sends what was not answered again.
func (p *publisher) dial(ctx context.Context) bool {
	s, _, err := p.post.socket(ctx)
	if err != nil {
		return false
	}
	p.socket = s
	if !p.run.RetryPublish {
		clear(p.flying)
		return true
	}
	for _, id := range sortedIDs(p.flying) {
		f := p.flying[id]
		f.tries++
		p.flying[id] = f
		if s.send(f.body) != nil {
			p.hangUp()
			return false
		}
	}
	return true
}

// listen takes what has come, and waits for at most d for something.
func (p *publisher) listen(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		select {
		case b, open := <-p.socket.frames:
			if !open {
				p.hangUp()
				return
			}
			if ms, err := parseMessages(b); err == nil {
				p.answers(ms, p.flying)
			} else {
				p.run.trouble("publisher %d: %v", p.n, err)
			}
		case <-t.C:
			return
		}
	}
}

// hangUp ends the socket, after what it still holds.
func (p *publisher) hangUp() {
	if p.socket == nil {
		return
	}
	p.socket.close()
	for b := range p.socket.frames {
		if ms, err := parseMessages(b); err == nil {
			p.answers(ms, p.flying)
		}
	}
	p.socket.wait()
	p.socket = nil
}
