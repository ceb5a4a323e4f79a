package brokertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/store/storetest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	soakChannels = 10
	// soakHold is how long a connect is held, and half of how long a session outlives the
	// last one.
	soakHold = 2 * time.Second
	// soakKept is how many messages a channel keeps: so much that a run soon has them.
	soakKept = 1000
	// soakLeft is within what all that visitors had must be gone: the lives of sessions
	// that ended without a word, and the time a busy machine takes.
	soakLeft = 2 * time.Minute
)

// soak is a broker that is never left alone.
type soak struct {
	t      *testing.T
	node   *Node
	redis  *storetest.Redis // nil: a disk store
	seed   uint64
	guests int
	visits atomic.Int64
	// expired counts sessions that ended under a guest: on a machine that stands still for
	// their life, they do.
	expired atomic.Int64

	mu     sync.Mutex
	faults []error // guarded by mu
}

// TestSoak: security.md §5.3, R11. People come, listen, catch up, talk and leave, with a
// word, without, or by breaking the connection. When all have left, the broker holds what
// it held when the ones before them had left. SOAK_MINUTES makes the long form, in which
// nothing may grow meanwhile; SOAK_GUESTS are there at once; STORE=disk is without Redis.
func TestSoak(t *testing.T) {
	minutes := fromEnv(t, "SOAK_MINUTES", 0)
	s := newSoak(t)
	warm, length, every := 4*time.Second, 6*time.Second, 500*time.Millisecond
	if minutes > 0 {
		warm, length, every = time.Minute, time.Duration(minutes)*time.Minute, 10*time.Second
	}
	s.wave(warm, every)
	before := s.empty(nil)
	seen := s.wave(length, every)
	after := s.empty(&before)
	t.Logf("%d visits, of which %d expired; with nobody there:\n%v\n%v", s.visits.Load(), s.expired.Load(), before, after)
	require.Less(t, s.expired.Load(), s.visits.Load()/10+5)
	if minutes > 0 {
		for _, one := range []struct {
			name   string
			figure func(footprint) float64
		}{
			{"goroutines", func(f footprint) float64 { return f.goroutines }},
			{"heap", func(f footprint) float64 { return f.heap }},
			{"descriptors", func(f footprint) float64 { return f.files }},
			{"keys", func(f footprint) float64 { return f.keys }},
		} {
			is := trendOf(seen, one.figure)
			t.Logf("%-12s %v", one.name, is)
			assert.False(t, is.grows(), "%s grow: %v", one.name, is)
		}
	}
	ended, cancel := context.WithTimeout(t.Context(), orderly)
	defer cancel()
	require.NoError(t, s.node.Stop(ended))
	said, err := s.node.Troubles()
	require.NoError(t, err)
	require.Empty(t, said)
}

func newSoak(t *testing.T) *soak {
	t.Helper()
	s := &soak{t: t, seed: uint64(fromEnv(t, "SOAK_SEED", int(rand.Uint32()))), guests: fromEnv(t, "SOAK_GUESTS", 30)}
	t.Logf("again with SOAK_SEED=%d", s.seed)
	env := []string{
		"GOBELIN_BAYEUX_TIMEOUT=" + soakHold.String(), "GOBELIN_BAYEUX_MAX_INTERVAL=" + soakHold.String(),
		fmt.Sprint("GOBELIN_LIMITS_HISTORY=", soakKept),
		"GOGC=25", // what is left of the heap is seen soon
	}
	binary, dir := RealBinary(t), t.TempDir()
	config, err := writeKeys(dir)
	require.NoError(t, err)
	if os.Getenv("STORE") == "disk" {
		s.node, err = NewNode(binary, dir, env...)
	} else {
		s.redis = storetest.StartRedis(t)
		s.node, err = NewSharedNode(binary, dir, config, s.redis.URL, env...)
	}
	require.NoError(t, err)
	t.Cleanup(s.node.Close)
	require.NoError(t, s.node.Start(t.Context()))
	return s
}

// wave lets guests come and go for d, and looks at the broker so often meanwhile. It
// returns when the last has left.
func (s *soak) wave(d, every time.Duration) []footprint {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), d)
	defer cancel()
	token, err := s.node.Token(s.t.Context())
	require.NoError(s.t, err)
	var coming sync.WaitGroup
	for i := range s.guests {
		rng := rand.New(rand.NewPCG(s.seed, uint64(i)))
		coming.Go(func() {
			for rest(ctx, time.Duration(rng.IntN(200))*time.Millisecond) {
				channel := fmt.Sprint("/soak/", s.visits.Add(1)%soakChannels)
				if err := s.visit(s.t.Context(), rng, channel, token); errors.Is(err, errExpired) {
					s.expired.Add(1)
				} else if err != nil {
					s.fault(err)
				}
			}
		})
	}
	begun := time.Now()
	var seen []footprint
	for rest(ctx, every) {
		f := s.look()
		f.at = time.Since(begun)
		if n := len(seen); n > 0 {
			f.said = (f.received - seen[n-1].received) / (f.at - seen[n-1].at).Seconds()
		}
		seen = append(seen, f)
		if len(seen)%6 == 0 {
			s.t.Log(f)
		}
	}
	coming.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Empty(s.t, s.faults)
	return seen
}

func (s *soak) look() footprint {
	s.t.Helper()
	f, err := s.node.footprint(s.t.Context(), s.redis)
	require.NoError(s.t, err)
	return f
}

func (s *soak) fault(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults) < 10 {
		s.faults = append(s.faults, err)
	}
}

// empty waits until nobody is there and it is as before, and returns that; with nil
// before, until it has stopped getting less.
func (s *soak) empty(before *footprint) footprint {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), soakLeft)
	defer cancel()
	f, same := s.look(), 0
	for rest(ctx, 200*time.Millisecond) {
		last := f
		f = s.look()
		switch {
		case f.sessions > 0:
		case before != nil:
			if f.lasting = s.lasting(); f.within(before) {
				return f
			}
		case f.goroutines < last.goroutines || f.files < last.files:
			same = 0
		default:
			if same++; same == 5 {
				f.lasting = s.lasting()
				return f
			}
		}
	}
	require.Zero(s.t, f.sessions)
	require.Fail(s.t, "more is there than before", "with nobody there:\n%v before\n%v now", before, f)
	return f
}

// lasting counts the keys on Redis that are not kept for a while whatever happens: nonces
// and samples of viewers for minutes, attempts for a day, and a row for every minute.
func (s *soak) lasting() float64 {
	s.t.Helper()
	if s.redis == nil {
		return 0
	}
	text, err := s.redis.Command("KEYS", "*")
	require.NoError(s.t, err)
	n := 0.0
	for key := range strings.Lines(text) {
		if !strings.Contains(key, "}:n:") && !strings.Contains(key, "viewer") && !strings.Contains(key, "attempt") {
			n++
		}
	}
	return n
}

// What may be there more than before, when nobody is: what the runtime keeps, and what is
// remembered of those who left, which is bounded and not the same each time.
const (
	moreGoroutines = 5
	moreFiles      = 5
	moreHeap       = 4 << 20
	moreKeys       = 5
)

func (f footprint) within(before *footprint) bool {
	return f.goroutines <= before.goroutines+moreGoroutines && f.files <= before.files+moreFiles &&
		f.heap <= before.heap+moreHeap && f.lasting <= before.lasting+moreKeys
}

// visit is one guest from coming to leaving.
func (s *soak) visit(ctx context.Context, rng *rand.Rand, channel, token string) error {
	post := newPoster(straight(s.node.Address()), 0)
	defer post.close()
	g := &soakGuest{rng: rng, post: post, channel: channel, stay: time.Duration(rng.IntN(2000)) * time.Millisecond}
	switch rng.IntN(5) {
	case 0:
		post.token = token
		// Answers to the same key are kept for a day: there are few.
		key := fmt.Sprint(g.channel, rng.IntN(2))
		body := fmt.Appendf(nil, `{"messages":[{"channel":%[1]q,"data":%[2]q},{"channel":%[1]q,"data":2}]}`, g.channel, key)
		answer, _, err := post.post(ctx, "/v1/publish", key, body, patient)
		if err != nil {
			return fmt.Errorf("%w: %s", err, answer)
		}
		return nil
	case 1, 2:
		return g.poll(ctx)
	}
	return g.listen(ctx)
}

// soakGuest is one session.
type soakGuest struct {
	rng     *rand.Rand
	post    *poster
	channel string
	stay    time.Duration
	id      string
}

// wishes asks for the past and for what comes, and says something.
func (g *soakGuest) wishes() []byte {
	b := fmt.Appendf(nil, `[{"channel":"/meta/subscribe","clientId":%[1]q,"subscription":[%[2]q,"%[3]s/catchup/20s"],"id":"s"}`, g.id, g.channel, g.channel)
	for i := range g.rng.IntN(4) {
		b = fmt.Appendf(b, `,{"channel":%q,"clientId":%q,"data":{"text":"what people say to each other"},"id":"p%d"}`, g.channel, g.id, i)
	}
	return append(b, ']')
}

func (g *soakGuest) connect(transport string) []byte {
	return fmt.Appendf(nil, `[{"channel":"/meta/connect","clientId":%q,"connectionType":%q,"id":"c%d"}]`, g.id, transport, g.rng.Uint32())
}

func (g *soakGuest) goodbye() []byte {
	return fmt.Appendf(nil, `[{"channel":"/meta/disconnect","clientId":%q,"id":"d"}]`, g.id)
}

// errExpired: the broker does not know the session any more.
var errExpired = errors.New("brokertest: soak: session expired")

// successful returns an error if one of the answers says no.
func successful(ms []message) error {
	for i := range ms {
		if ms[i].unknown() {
			return errExpired
		}
		if ms[i].failed() {
			return errors.New(ms[i].Channel + ": " + ms[i].Error)
		}
	}
	return nil
}

// poll is a visit over long-polling.
func (g *soakGuest) poll(ctx context.Context) error {
	ask := func(body []byte) error {
		ms, _, err := g.post.exchange(ctx, body, patient)
		if err == nil && g.id == "" {
			g.id, err = handshaken(ms)
		}
		if err == nil {
			err = successful(ms)
		}
		return err
	}
	err := ask(handshakeBody("h"))
	if err == nil {
		err = ask(g.wishes())
	}
	for end := time.Now().Add(g.stay); err == nil && time.Now().Before(end); {
		err = ask(g.connect("long-polling"))
	}
	if err != nil {
		return err
	}
	switch g.rng.IntN(3) {
	case 0: // gone without a word
		return nil
	case 1: // gone while it waits
		gone, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		_, _, _ = g.post.exchange(gone, g.connect("long-polling"), answerTime) // fails or not
		return nil
	}
	return ask(g.goodbye())
}

// listen is a visit over a WebSocket.
func (g *soakGuest) listen(ctx context.Context) error {
	s, _, err := g.post.socket(ctx)
	if err != nil {
		return err
	}
	defer func() {
		s.close()
		for range s.frames {
		}
		s.wait()
	}()
	if err := s.send(handshakeBody("h")); err != nil {
		return err
	}
	leave, late := time.NewTimer(g.stay), time.NewTimer(g.stay+patient)
	defer leave.Stop()
	defer late.Stop()
	for {
		select {
		case b, more := <-s.frames:
			if !more {
				return errors.New("the broker has closed a WebSocket")
			}
			if over, err := g.take(s, b); over || err != nil {
				return err
			}
		case <-leave.C:
			switch g.rng.IntN(3) {
			case 0:
				return nil
			case 1:
				if c, ok := s.conn.(*net.TCPConn); ok {
					_ = c.SetLinger(0) // a reset
				}
				return nil
			}
			if g.id == "" {
				return nil
			}
			if err := s.send(g.goodbye()); err != nil {
				return err
			}
		case <-late.C:
			return errors.New("a WebSocket is not answered")
		}
	}
}

// take reads one frame and says what it calls for. over: the goodbye was answered.
func (g *soakGuest) take(s *socket, frame []byte) (over bool, err error) {
	ms, err := parseMessages(frame)
	if err == nil {
		err = successful(ms)
	}
	for i := range ms {
		if err != nil {
			return false, err
		}
		switch ms[i].Channel {
		case "/meta/handshake":
			g.id = ms[i].ClientID
			if err = s.send(g.wishes()); err == nil {
				err = s.send(g.connect("websocket"))
			}
		case "/meta/connect":
			err = s.send(g.connect("websocket"))
		case "/meta/disconnect":
			return true, nil
		}
	}
	return false, err
}
