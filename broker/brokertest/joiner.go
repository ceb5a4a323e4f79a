package brokertest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// joiner is one client that listens: it takes sessions one after the other, and in
// each subscribes in one of the orders. One goroutine owns it.
type joiner struct {
	run  *run
	n    int
	rng  *rand.Rand
	post *poster
	// faye repeats a connect that was not answered with its id; otherwise it asks
	// with a new one and timeout 0, as CometD does (decided.md 4).
	faye bool
	// changing: it goes from one transport to the other and back.
	changing bool
	stays    bool // to the end

	sessions []*Session
	lost     int // sessions that the broker did not know any more

	// of the session under way
	s        *Session
	clientID string
	next     int
	link     int // index in s.Links, -1: none
	steps    [][]want
	step     int
	pending  *request // the step's, unanswered
	connect  *request
	fails    bool // the last connect was not answered
	socket   *socket
	node     int // of the socket
	polling  bool
	polls    chan polled
	asks     chan polled
	newest   map[string]store.Position
	answered time.Duration // when anything last came
	heardAt  time.Time
	alive    time.Time // when the last connect that was answered was sent
	wild     bool      // by a pattern: it need not outlive the broker (what it missed may not be known)
	pauseTo  time.Time
	failures int // in a row, since anything came
	stepAt   time.Time
	changeAt time.Time
	leaveAt  time.Time
}

// request is a message that is repeated until it is answered.
type request struct {
	id    string
	body  []byte
	sent  time.Time
	until time.Time // when it counts as lost
	takes []int     // of a step: indexes in s.Takes
	// due holds the messages of a step that are not answered, with their takes.
	due map[string][]int
}

// polled is what became of an HTTP exchange.
type polled struct {
	ms   []message
	node int // that answered
	err  error
	of   *request
}

func newJoiner(r *run, n int) *joiner {
	rng := r.rng(uint64(100_000 + n))
	return &joiner{
		run: r, n: n, rng: rng, post: newPoster(r.fleet, n),
		faye: rng.IntN(2) == 0, changing: rng.IntN(3) > 0 && !r.Polling, stays: rng.IntN(2) == 0,
	}
}

// listen takes sessions until the end of the run, or of ctx.
func (j *joiner) listen(ctx context.Context) {
	defer j.post.close()
	for ctx.Err() == nil && (j.stays || j.run.end.Load() == nil) {
		if j.handshake(ctx) && j.live(ctx) {
			return
		}
		if !rest(ctx, retryPause+time.Duration(j.rng.Int64N(int64(retryPause)))) {
			return
		}
	}
}

func (j *joiner) handshake(ctx context.Context) bool {
	// As clients do, it counts its handshake and its connects together.
	ms, _, err := j.post.exchange(ctx, handshakeBody("1"), j.run.patience)
	if err != nil {
		return false
	}
	if j.clientID, err = handshaken(ms); err != nil {
		return false
	}
	now := time.Now()
	j.s = &Session{Name: fmt.Sprintf("joiner %d session %d", j.n, len(j.sessions)+1)}
	j.run.trace(j.s.Name, "is %s", j.clientID)
	j.sessions = append(j.sessions, j.s)
	j.wild = false
	j.link, j.next, j.step, j.steps = -1, 1, 0, j.plan()
	j.pending, j.connect, j.fails, j.polling = nil, nil, false, false
	// Room for what a session leaves behind when it ends.
	j.polls, j.asks = make(chan polled, 1), make(chan polled, 64)
	j.newest = map[string]store.Position{}
	j.heardAt, j.stepAt, j.alive = now, now, now
	j.answered = j.run.now()
	j.later(now)
	j.leaveAt = now.Add(24 * time.Hour)
	if !j.stays {
		j.leaveAt = now.Add(time.Second + time.Duration(j.rng.Int64N(int64(8*time.Second))))
	}
	return true
}

// later chooses when the transport changes next.
func (j *joiner) later(now time.Time) {
	j.changeAt = now.Add(24 * time.Hour)
	if j.changing {
		j.changeAt = now.Add(time.Duration(j.rng.Int64N(int64(5 * time.Second))))
	}
}

// fate is how a turn of a session ended.
type fate int

const (
	goesOn fate = iota
	sessionLost
	left
	finished // the end of the run
)

// live carries one session through; true at the end of the run.
func (j *joiner) live(ctx context.Context) bool {
	ends := goesOn
	sockets := j.rng.IntN(2) == 0 && !j.run.Polling
	for ends == goesOn {
		j.proceed(ctx, &sockets)
		ends = j.turn(ctx)
	}
	j.hangUp()
	j.unlink(ends == sessionLost)
	switch ends {
	case sessionLost:
		j.lost++
	case left:
		if j.rng.IntN(2) == 0 { // the others just vanish
			body := fmt.Appendf(nil, `[{"channel":"/meta/disconnect","clientId":%q,"id":"bye"}]`, j.clientID)
			_, _, _ = j.post.exchange(ctx, body, answerTime)
		}
	}
	return ends == finished
}

// proceed starts what is due: the link, the connect, the next subscription.
func (j *joiner) proceed(ctx context.Context, sockets *bool) {
	now := time.Now()
	if now.Before(j.pauseTo) {
		return
	}
	if j.connect == nil || j.fails && !j.polling {
		// Between two connects, or after a break: the transport may change.
		if now.After(j.changeAt) {
			*sockets = !*sockets
			j.later(now)
			if !*sockets {
				j.hangUp()
			}
		}
	}
	if *sockets && j.socket == nil && !j.polling {
		s, node, err := j.post.socket(ctx)
		if err != nil {
			j.backOff()
			if j.changing {
				*sockets = false
			}
			return
		}
		j.unlinkWhole()
		j.socket, j.node = s, node
	}
	if j.connect == nil || j.fails && !j.polling {
		j.ask(ctx)
	}
	if j.pending == nil && j.step < len(j.steps) && now.After(j.stepAt) {
		j.subscribe()
	}
	if j.pending != nil && j.pending.until.IsZero() {
		j.sendStep(ctx)
	}
}

// ask sends a connect over the link there is, new or again.
func (j *joiner) ask(ctx context.Context) {
	transport := "long-polling"
	if j.socket != nil {
		transport = "websocket"
	}
	if j.connect == nil || !j.faye {
		j.next++
		j.connect = &request{id: strconv.Itoa(j.next)}
	}
	advice := ""
	if j.fails && !j.faye {
		advice = `,"advice":{"timeout":0}`
	}
	j.fails = false
	j.connect.body = fmt.Appendf(nil, `[{"channel":"/meta/connect","clientId":%q,"connectionType":%q,"id":%q%s}]`, j.clientID, transport, j.connect.id, advice)
	patience := j.run.hold + j.run.slack
	j.connect.sent = time.Now()
	j.connect.until = j.connect.sent.Add(patience)
	if j.link < 0 {
		j.link = len(j.s.Links)
		j.s.Links = append(j.s.Links, Link{Transport: transport, From: j.run.now()})
	}
	j.run.trace(j.s.Name, "asks %s", j.connect.body)
	if j.socket != nil {
		if j.socket.send(j.connect.body) != nil {
			j.broken()
		}
		return
	}
	j.polling = true
	r, to := j.connect, j.polls
	j.run.tasks.Go(func() {
		ms, node, err := j.post.exchange(ctx, r.body, patience)
		to <- polled{ms, node, err, r}
	})
}

// turn waits for one thing to happen.
func (j *joiner) turn(ctx context.Context) fate {
	var frames chan []byte
	if j.socket != nil {
		frames = j.socket.frames
	}
	beat := time.NewTimer(50 * time.Millisecond)
	defer beat.Stop()
	select {
	case b, open := <-frames:
		if !open {
			j.broken()
			return goesOn
		}
		ms, err := parseMessages(b)
		if err != nil {
			j.run.trouble("%s: %v", j.s.Name, err)
			return goesOn
		}
		return j.take(ms, j.node)
	case p := <-j.polls:
		j.polling = false
		if p.err != nil {
			j.broken()
			return goesOn
		}
		return j.take(p.ms, p.node)
	case p := <-j.asks:
		if p.err != nil {
			if j.pending == p.of && !p.of.until.IsZero() {
				j.broken()
			}
			return goesOn
		}
		return j.take(p.ms, p.node)
	case <-ctx.Done():
		return finished
	case <-beat.C:
	}
	now := time.Now()
	switch {
	case j.socket != nil && (j.connect != nil && now.After(j.connect.until) || j.pending != nil && !j.pending.until.IsZero() && now.After(j.pending.until)):
		j.broken()
	case now.After(j.leaveAt), !j.stays && j.run.end.Load() != nil:
		return left
	case j.drained(now):
		j.s.Drained = true
		return finished
	}
	return goesOn
}

// broken: the link is gone; what was not answered is sent again on the next.
func (j *joiner) broken() {
	j.run.trace(j.s.Name, "has a broken link")
	j.hangUp()
	j.unlink(true)
	if j.connect != nil {
		j.fails = true
	}
	if j.pending != nil {
		j.pending.until = time.Time{}
	}
	j.backOff()
}

// mostDoubled is how often the pause before the next try is doubled.
const mostDoubled = 4

// backOff pauses before the next try, for longer the more have failed in a row, as clients
// do: a thousand of them would otherwise keep the nodes that are left from serving anybody.
func (j *joiner) backOff() {
	j.pauseTo = time.Now().Add(time.Duration(j.rng.Int64N(int64(retryPause << min(j.failures, mostDoubled)))))
	j.failures++
}

// hangUp ends the socket, after what it still holds.
func (j *joiner) hangUp() {
	if j.socket == nil {
		return
	}
	j.socket.close()
	for b := range j.socket.frames {
		if ms, err := parseMessages(b); err == nil {
			j.take(ms, j.node)
		}
	}
	j.socket.wait()
	j.socket = nil
	j.unlink(true)
	if j.pending != nil {
		j.pending.until = time.Time{}
	}
}

func (j *joiner) unlink(broken bool) {
	if j.link >= 0 {
		l := &j.s.Links[j.link]
		l.To, l.Broken = j.run.now(), broken
		j.link = -1
	}
}

// unlinkWhole ends a row of polls that goes over into a socket.
func (j *joiner) unlinkWhole() { j.unlink(j.fails) }

// take sees to what came.
func (j *joiner) take(ms []message, node int) fate {
	at := j.run.now()
	if len(ms) > 0 {
		j.s.Gap = max(j.s.Gap, at-j.answered)
		j.answered = at
		j.served(ms, node, at)
	}
	for i := range ms {
		m := &ms[i]
		j.run.trace(j.s.Name, "gets from node %d: %s %s %s", node, m.Channel, m.ID, m.Error)
		if !m.failed() {
			j.failures = 0
		}
		switch {
		case m.Successful == nil:
			j.receive(m, node, at)
		case m.unknown():
			if since := time.Since(j.alive); j.run.Durable && !j.wild && since < j.run.life {
				j.run.trouble("%s: %s, %v after its last connect, at %v", j.s.Name, m.Error[:4], since, at)
			}
			return sessionLost
		case m.Channel == "/meta/connect":
			if j.connect != nil && m.ID == j.connect.id {
				if m.failed() {
					j.backOff()
				} else {
					j.alive = j.connect.sent
				}
				j.connect, j.fails = nil, false
			}
		case m.Channel == "/meta/subscribe", m.Channel == "/meta/unsubscribe":
			j.subscribed(m, at)
		}
	}
	return goesOn
}

// served notes which node answered, after those that could not.
func (j *joiner) served(ms []message, node int, at time.Duration) {
	all := j.s.Served
	for _, u := range j.post.noted() {
		from := u.at.Sub(j.run.start)
		if n := len(all); n > 0 {
			from = max(from, all[n-1].From)
		}
		all = append(all, Served{From: min(from, at), Node: u.node, Asked: min(from, at), Maybe: true})
	}
	asked := at
	if j.connect != nil && slices.ContainsFunc(ms, func(m message) bool { return m.Channel == "/meta/connect" && m.ID == j.connect.id }) {
		asked = j.connect.sent.Sub(j.run.start)
	}
	maybe := !slices.ContainsFunc(ms, func(m message) bool { return m.Successful == nil || m.Channel == "/meta/connect" })
	if n := len(all); n == 0 || all[n-1].Node != node || all[n-1].Maybe && !maybe {
		all = append(all, Served{From: at, Node: node, Asked: asked, Maybe: maybe})
	}
	j.s.Served = all
}

func (j *joiner) receive(m *message, node int, at time.Duration) {
	k, err := m.kept()
	if err != nil {
		j.run.trouble("%s: %s: %v", j.s.Name, m.Channel, err)
		return
	}
	base, interval := splitTake(m.Channel)
	link := j.link
	if link < 0 {
		link = max(0, len(j.s.Links)-1) // a subscribe that was answered meanwhile
	}
	j.s.Receipts = append(j.s.Receipts, Receipt{
		Channel: base, Interval: interval, Replay: m.Ext.History.Replay,
		ID: k.ID, Publisher: k.Publisher, K: k.K, Sum: k.Sum, At: at, Link: link, Node: node,
	})
	if j.newest[base].Before(k.ID) {
		j.newest[base] = k.ID
	}
	j.heardAt = time.Now()
}

// quiet is how long nothing came when a session counts as having everything.
const quiet = 2 * time.Second

// drained reports whether the session has all that is going to come. One that
// should have more gets its time, and the checker tells.
func (j *joiner) drained(now time.Time) bool {
	end := j.run.end.Load()
	if end == nil || j.step < len(j.steps) {
		return false
	}
	if now.After(end.deadline) {
		return true
	}
	for i := range j.s.Takes {
		t := &j.s.Takes[i]
		if t.Interval == 0 && t.Answered < end.at && j.newest[t.Channel].Before(end.newest[t.Channel]) {
			return false
		}
	}
	return j.link >= 0 && now.Sub(j.heardAt) > quiet
}

// sortedIDs returns the ids of flights in the order in which they were sent.
func sortedIDs(flying map[string]flight) []string {
	ids := slices.Collect(maps.Keys(flying))
	slices.SortFunc(ids, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	return ids
}
