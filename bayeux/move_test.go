package bayeux

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAPollHereAPollThere(t *testing.T) {
	across(t, Options{}, func(t *testing.T, w *talk) {
		w.Run("open a\n" + hello("a") + listen("a", "/x") + connects("a", "1") + `
			deliver /x 1
			a< [{"data":1},{"id":"1"}]
			deliver /x 2
			at two
			open b
			` + whose("b", "a", "2") + `
			b< [{"data":2},{"id":"2"}]
			` + whose("b", "a", "3") + `
			deliver /x 3
			b< [{"data":3},{"id":"3"}]
			# and back, where the first request was
			` + connects("a", "4") + `
			deliver /x 4
			a< [{"data":4},{"id":"4"}]
		`)
		require.Equal(t, 1, w.one.Sessions())
		require.Zero(t, w.two.Sessions())
		for _, v := range []*Server{w.one, w.two} {
			st := v.Stats()
			require.Equal(t, int64(1), st.Ended[ReasonMoved])
			require.Equal(t, int64(1), st.Resumed)
			require.Zero(t, st.Ended[ReasonKicked])
		}
		require.Equal(t, []string{ReasonMoved, ReasonMoved}, w.closed)
		require.Empty(t, w.one.closing)
	})
}

// decided.md 4, when the connect that tells comes to another server.
func TestAnAnswerThatDidNotArriveElsewhere(t *testing.T) {
	for name, c := range map[string]string{
		"the same connect again": whose("b", "a", "1") + `b< [{"data":1},{"id":"1"}]
			` + whose("b", "a", "2") + `b< [{"data":2},{"id":"2"}]`,
		"the same connect on a socket": `
			open c websocket
			` + whose("c", "a", "1") + `
			c< [{"data":1},{"data":2},{"id":"1"}]`,
		"timeout 0 and alone": `
			b> {"channel":"/meta/connect","clientId":"${a}","connectionType":"long-polling","id":"2","advice":{"timeout":0}}
			b< [{"data":1},{"data":2},{"id":"2"}]`,
		"timeout 0 with company": `
			b> [{"channel":"/meta/connect","clientId":"${a}","connectionType":"long-polling","id":"2","advice":{"timeout":0}},{"channel":"/p","clientId":"${a}","data":1}]
			b< [{"data":2},{"channel":"/p","successful":true},{"id":"2"}]`,
		"the next connect": whose("b", "a", "2") + `b< [{"data":2},{"id":"2"}]`,
		"the same id with other advice": `
			b> {"channel":"/meta/connect","clientId":"${a}","connectionType":"long-polling","id":"1","advice":{"timeout":9}}
			b< [{"data":2},{"id":"1"}]`,
		// It cannot tell.
		"a stream": `
			open c eventsource ${a}
			c< [{"data":2}]`,
	} {
		t.Run(name, func(t *testing.T) {
			across(t, Options{}, func(t *testing.T, w *talk) {
				w.Run("open a\n" + hello("a") + listen("a", "/x") + connects("a", "1") + `
					wait 1s
					freeze a
					deliver /x 1
					wait 1s
					deliver /x 2
					at two
					open b
					` + c)
			})
		})
	}
}

// The bound on resends holds over servers, too.
func TestResendsAreBoundedElsewhere(t *testing.T) {
	across(t, Options{}, func(t *testing.T, w *talk) {
		w.Run("open a\nat two\nopen b\n" + hello("a") + listen("a", "/x") + "deliver /x 1\n")
		for i := range mostResends + 1 {
			w.Run(whose(string("ab"[i%2]), "a", "same") + string("ab"[i%2]) + `< [{"data":1},{"id":"same"}]`)
		}
		w.Run(whose("b", "a", "same") + "quiet")
	})
	// As for who counts.
	across(t, Options{}, func(t *testing.T, w *talk) {
		w.Run("open a\nat two\nopen b\n" + hello("a") + listen("a", "/x") + "deliver /x 1\n" +
			whose("a", "a", "1") + `a< [{"data":1},{"id":"1"}]` + "\ndeliver /x 2\n")
		for i := range 3 * mostResends {
			w.Run(whose(string("ab"[i%2]), "a", "2") + string("ab"[i%2]) + `< [{"data":2},{"id":"2"}]`)
		}
		w.Run(whose("b", "a", "3") + "quiet")
	})
}

func TestASocketHereAPollThere(t *testing.T) {
	across(t, Options{}, func(t *testing.T, w *talk) {
		w.Run("mute a\nopen a websocket\n" + hello("a") + listen("a", "/x") + connects("a", "1") + `
			a> {"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["websocket"]}
			a< {"successful":true,"clientId":"$=c"}
			` + whose("a", "c", "c1") + strings.ReplaceAll(listen("a", "/y"), "${a}", "${c}") + `
			deliver /x 1
			a< [{"data":1}]
			deliver /x 2
			a< [{"data":2}]
			at two
			open b long-polling
			` + whose("b", "a", "2") + `
			# the held connect is answered, and without pongs all comes again
			a< {"id":"1","successful":true,"clientId":"${a}","advice":{"reconnect":"retry","interval":0,"timeout":45000}}
			b< [{"data":1},{"data":2},{"id":"2"}]
			deliver /x 3
			# the other session of the socket lives on
			deliver /y 4
			a< [{"data":4}]
			# and the first one may come back to it
			` + connects("a", "3") + `
			a< [{"data":3},{"id":"3","successful":true}]
			deliver /x 5
			a< [{"data":5}]
		`)
		require.Equal(t, 2, w.one.Sessions())
	})
}

func TestAHeldPollIsReleased(t *testing.T) {
	across(t, Options{}, func(t *testing.T, w *talk) {
		w.Run("open a\n" + hello("a") + listen("a", "/x") + connects("a", "1") + `
			at two
			open b
			` + whose("b", "a", "2") + `
			a< {"id":"1","successful":true,"clientId":"${a}","advice":{"reconnect":"retry","interval":0,"timeout":45000}}
			quiet
			deliver /x 1
			b< [{"data":1},{"id":"2"}]
		`)
	})
}

func TestReleaseDuringAWriteToAStalledSocket(t *testing.T) {
	across(t, Options{}, func(t *testing.T, w *talk) {
		w.Run("open a websocket\n" + hello("a") + listen("a", "/x") + connects("a", "1") + "deaf a\ndeliver /x 0\na< [{\"data\":0}]")
		w.deliver("/x", `"`+strings.Repeat("x", 400<<10)+`"`)
		synctest.Wait() // the writer is stuck in it
		w.deliver("/x", "2")
		start := time.Now()
		w.Run("at two\nopen b\n" + whose("b", "a", "2") + `b< [{"data":0},{"channel":"/x"},{"data":2},{"id":"2"}]`)
		require.Equal(t, start, time.Now(), "the takeover waited for the write")
	})
}

func TestReleaseDuringASubscribe(t *testing.T) {
	across(t, Options{}, func(t *testing.T, w *talk) {
		w.Run("open a\n" + hello("a"))
		w.Begin(`a> {"channel":"/meta/subscribe","clientId":"${a}","subscription":"/slow","id":"s"}`)
		<-w.inside
		w.Begin("at two\nopen b\n" + whose("b", "a", "2") + "quiet")
		require.Equal(t, 1, w.one.Sessions(), "it waits")
		close(w.gate)
		w.Run(`
			a< {"id":"s","successful":true}
			deliver /slow 1
			b< [{"data":1},{"id":"2"}]
		`)
	})
}

func TestReleaseGivesUpWithItsContext(t *testing.T) {
	across(t, Options{}, func(t *testing.T, w *talk) {
		w.Run("open a\n" + hello("a") + connects("a", "1"))
		w.Begin(`a> {"channel":"/meta/subscribe","clientId":"${a}","subscription":"/slow","id":"s"}`)
		<-w.inside
		s, _ := w.one.Session(w.Value("a"))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.Release(ctx, Ordinal{})
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, Left{}, s.Left())
		close(w.gate)
		// It lives on as before.
		w.Run(`
			a< {"id":"s","successful":true}
			deliver /slow 1
			a< [{"data":1},{"id":"1"}]
		`)
		_, err = s.Release(t.Context(), Ordinal{})
		require.NoError(t, err)
		_, err = s.Release(t.Context(), Ordinal{})
		require.ErrorIs(t, err, ErrNoSession, "twice")
		require.ErrorIs(t, func() error { _, err := s.Carry(t.Context(), &Message{kind: kindDisconnect}); return err }(), ErrNoSession)
	})
}

// A pull under way is cancelled; the replay goes on elsewhere with what it missed.
func TestReleaseDuringAReplay(t *testing.T) {
	for _, transport := range []string{"websocket", "long-polling", "eventsource"} {
		across(t, Options{}, func(t *testing.T, w *talk) {
			p := &pages{channel: "/r", end: 2500, failAt: -1, cancel: true}
			w.pages["/r"] = p
			w.Begin("open a\n" + hello("a") + listen("a", "/r"))
			switch transport {
			case "eventsource":
				w.Begin("open c eventsource ${a}")
			default:
				w.Begin("open c " + transport + "\n" + whose("c", "a", "1"))
			}
			synctest.Wait()
			p.mu.Lock()
			require.True(t, p.busy)
			p.cancel = false
			p.mu.Unlock()
			w.Begin("at two\nopen b\n" + whose("b", "a", "2"))
			next := 0
			for id := 3; next < 2500; id++ {
				for _, m := range w.Take("b") {
					if m["channel"] == "/r" {
						require.Equal(t, fmt.Sprint(next), fmt.Sprint(m["data"]))
						next++
					}
				}
				w.Begin(whose("b", "a", fmt.Sprint(id)))
			}
			require.False(t, p.twice)
		})
	}
}

// slowPages returns a page although it was cancelled.
type slowPages struct{ pages }

func (p *slowPages) Pull(ctx context.Context, limit int) ([]*Delivery, error) {
	if p.next > 0 {
		return nil, io.EOF
	}
	<-ctx.Done()
	return p.pages.Pull(context.WithoutCancel(ctx), min(limit, 3))
}

func TestACancelledPullThatReturnsAPage(t *testing.T) {
	across(t, Options{}, func(t *testing.T, w *talk) {
		w.pages["/r"] = &slowPages{pages{channel: "/r", end: 4, failAt: -1}}
		w.Run("open a\n" + hello("a") + listen("a", "/r") + connects("a", "1") + `
			at two
			open b
			` + whose("b", "a", "2") + `
			a< {"id":"1","successful":true}
			b< [{"data":0},{"data":1},{"data":2},{"id":"2"}]
		`)
	})
}

func TestAStreamHereItsConnectsThere(t *testing.T) {
	across(t, Options{}, func(t *testing.T, w *talk) {
		w.Run("open a\n" + hello("a") + listen("a", "/x") + `
			open e eventsource ${a}
			at two
			open b
			wait 40s
			b> {"channel":"/meta/connect","clientId":"${a}","connectionType":"eventsource","id":"1"}
			b< {"id":"1","clientId":"${a}","successful":true,"advice":{"reconnect":"retry","interval":45000,"timeout":0}}
			wait 60s
			# it was kept, and its stream goes on
			deliver /x 1
			e< [{"data":1}]
			# a stream elsewhere takes it over
			open f eventsource ${a}
			e< closed 0
			deliver /x 2
			f< [{"data":2}]
			open g eventsource aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
			g< status 404
		`)
		require.Equal(t, 1, w.two.Sessions())
	})
}

func TestHandOff(t *testing.T) {
	across(t, Options{}, func(t *testing.T, w *talk) {
		w.Run("open p\n" + hello("p") + listen("p", "/x") + connects("p", "1"))
		for i := range 4 {
			name := fmt.Sprintf("s%d", i)
			w.Run("open " + name + " websocket\n" + hello(name) + connects(name, "1"))
		}
		w.Run("open e\n" + hello("e") + "open f eventsource ${e}")
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		done := make(chan struct{})
		go func() { defer close(done); w.one.HandOff(ctx) }()
		w.Begin(`
			p< [{"id":"1","successful":true,"advice":{"reconnect":"retry","interval":"$time:500..5000","timeout":45000}}]
			f< closed 0
			# who comes is served as always, and may come back
			open n websocket
			n> {"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["websocket"]}
			n< {"successful":true}
			deliver /x 1
			` + connects("p", "2") + `
			p< [{"data":1},{"id":"2","successful":true}]
			wait 15s
		`)
		<-done
		for i := range 4 {
			w.Begin(fmt.Sprintf("s%d< [{\"id\":\"1\",\"successful\":true,\"advice\":{\"reconnect\":\"retry\",\"interval\":\"$time:500..5000\"}}]\ns%d< closed 1001", i, i))
		}
		require.Equal(t, int64(6), w.one.Stats().Ended[ReasonMoved])
		require.Equal(t, 2, w.one.Sessions())
		require.Empty(t, w.one.closing)
	})
}

// What is delivered between the end and the Close is not lost.
func TestLeftHoldsWhatCameDuringTheEnd(t *testing.T) {
	across(t, Options{Limits: Limits{QueueMessages: 3}}, func(t *testing.T, w *talk) {
		w.Run("open a\n" + hello("a") + listen("a", "/x"))
		s, _ := w.one.Session(w.Value("a"))
		w.deliver("/x", "1")
		s.turn.Lock()
		s.Close(ReasonMoved)
		w.deliver("/x", "2")
		require.Len(t, s.Left().Queued, 2)
		queued, arrived := s.Progress()
		require.Equal(t, [2]uint64{2, 0}, [2]uint64{queued, arrived})
		d := NewDelivery(DeliveryFields{Channel: "/x", Kept: true})
		require.True(t, s.Deliver(d))
		require.False(t, s.Deliver(d), "full, as ever")
		s.yield()
		s.settle()
		require.Equal(t, Left{}, s.Left())
		require.True(t, s.Deliver(d))
		queued, _ = s.Progress()
		require.Equal(t, uint64(3), queued)
	})
}

func TestShutdownTellsWhatIsLeft(t *testing.T) {
	across(t, Options{}, func(t *testing.T, w *talk) {
		w.Run("mute a\nopen a websocket\n" + hello("a") + listen("a", "/x") + connects("a", "1") + "deliver /x 1\na< [{\"data\":1}]")
		r := w.home(w.Value("a"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.NoError(t, w.one.Shutdown(ctx))
		require.Equal(t, ReasonShutdown, r.reason)
		require.Len(t, append(r.left.Sent, r.left.Queued...), 1)
		w.Begin("a< *\nat two\nopen b\n" + whose("b", "a", "2") + `b< [{"data":1},{"id":"2"}]`)
	})
}

// A connect that comes again is answered on its last connection only: a client that
// reads another would seem to have what came by the last.
func TestARepeatedConnectCutsTheFirst(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		w.Run("open a\n" + hello("a") + listen("a", "/x") + connects("a", "1") + `
			open b
			` + whose("b", "a", "1") + `
			a< closed 0
			deliver /x 1
			b< [{"data":1},{"id":"1"}]
		`)
		// Another connect is no repetition.
		w.Run(connects("a", "2") + whose("b", "a", "3") + `
			a< {"id":"2","successful":true}
			deliver /x 2
			b< [{"data":2},{"id":"3"}]
		`)
	})
}

// What a poll took and has not begun to write cannot have arrived.
func TestAConnectDuringAnAnswer(t *testing.T) {
	v := NewServer(newApp(), Options{})
	s := v.newSession(Peer{}, nil)
	s.handler = &user{app: newApp(), session: s}
	v.remember(s)
	first := &poll{session: s, m: &Message{ID: []byte(`"1"`)}, woken: make(chan struct{}, 1), answer: make(chan *Advice, 1)}
	second := &poll{session: s, m: &Message{ID: []byte(`"2"`)}, woken: make(chan struct{}, 1), answer: make(chan *Advice, 1)}
	_, ok := s.attach(arrival{m: &Message{ID: []byte(`"1"`), AdviceTimeout: -1}, link: first, hold: time.Hour, alone: true})
	require.True(t, ok)
	s.Deliver(delivery(128))
	first.took, _, _ = s.take(nil, first, 0, 1000)
	require.Len(t, first.took, 1)
	_, ok = s.attach(arrival{m: &Message{ID: []byte(`"2"`), AdviceTimeout: -1}, link: second, hold: time.Hour, alone: true})
	require.True(t, ok)
	require.Equal(t, polled{}, s.answers(first))
	second.took, _, _ = s.take(nil, second, 0, 1000)
	require.Len(t, second.took, 1)
	require.Equal(t, polled{carries: true}, s.answers(second))
	require.NoError(t, v.Shutdown(context.Background()))
}

func TestWireIsSmallAndStrange(t *testing.T) {
	v := NewServer(newApp(), Options{})
	s := v.newSession(Peer{}, nil)
	connect := &Message{kind: kindConnect, AdviceTimeout: -1}
	f := func(left string, m *Message, arrived, known bool) {
		t.Helper()
		a, k := s.TakeUp([]byte(left), false, m)
		require.Equal(t, arrived, a, left)
		require.Equal(t, known, k, left)
	}
	for _, bad := range []string{"", "x", "[]", `{"last":-1}`, `{"polled":1}`} {
		f(bad, connect, false, true)
	}
	f(`{}`, connect, false, true)
	f(`{"polled":true}`, connect, true, true)
	f(`{"polled":true}`, &Message{kind: kindSubscribe}, false, false)
	f(`{}`, &Message{kind: kindSubscribe}, false, true)
	f(`{"polled":true,"newest":7,"rising":true}`, &Message{kind: kindConnect, ID: []byte("6"), AdviceTimeout: -1}, false, false)
	f(`{"polled":true,"newest":7,"rising":true}`, &Message{kind: kindConnect, ID: []byte("8"), AdviceTimeout: -1}, true, true)
	big, err := json.Marshal(wire{Last: 1<<64 - 1, Polled: true, Resends: 1 << 62})
	require.NoError(t, err)
	require.Less(t, len(big), 1024)
	require.NoError(t, v.Shutdown(context.Background()))
}

// A client that polls both servers in turn while a third party publishes hears all
// once, in order: each of its connects tells that the answer before has arrived.
func TestToAndFroBetweenServers(t *testing.T) {
	const all = 300
	across(t, Options{Limits: Limits{QueueMessages: 50}}, func(t *testing.T, w *talk) {
		w.Begin("open a\n" + hello("a") + listen("a", "/x") + "at two\nopen b\n")
		var publisher sync.WaitGroup
		publisher.Go(func() {
			for i := range all {
				w.deliver("/x", fmt.Sprint(i))
				if i%7 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		})
		next := 0
		for id := 0; next < all; id++ {
			name := string("ab"[id%2])
			w.Begin(whose(name, "a", fmt.Sprint(id)) + "wait 1ms\n")
			for _, m := range w.Take(name) {
				if m["channel"] == "/x" {
					require.Equal(t, fmt.Sprint(next), fmt.Sprint(m["data"]))
					next++
				}
			}
			if id%20 == 19 {
				w.deliver("/z", "0") // lets who was full follow
			}
			require.Less(t, id, 10*all)
		}
		publisher.Wait()
	})
}

// Releases, connects, deliveries and ends from all sides at once.
func TestMovesFromAllSides(t *testing.T) {
	f := newFleet(Options{})
	s := make([]string, 8)
	for i := range s {
		session := f.nodes[0].server.newSession(Peer{Transport: "long-polling"}, nil)
		require.NoError(t, session.admit(func() (SessionHandler, error) { return f.nodes[0].Handshake(t.Context(), session, nil) }))
		f.nodes[0].server.remember(session)
		f.homes[session.ID()].subs["/x"] = true
		s[i] = session.ID()
	}
	var all sync.WaitGroup
	for _, id := range s {
		for at, n := range f.nodes {
			all.Go(func() {
				for i := range 50 {
					m := &Message{ClientID: id, kind: kindConnect, ChannelText: "/meta/connect", ConnectionType: "long-polling", AdviceTimeout: 0, ID: fmt.Appendf(nil, "%d", 2*i+at)}
					x := &request{server: n.server, alone: true}
					n.server.dispatch(t.Context(), x, Peer{}, m)
					n.server.collect(t.Context(), t.Context(), x)
					sub := &Message{ClientID: id, kind: kindSubscribe, ChannelText: "/meta/subscribe", Subscription: []string{"/y"}, rawSubscription: []byte(`"/y"`)}
					n.server.dispatch(t.Context(), x, Peer{}, sub)
				}
			})
		}
	}
	all.Go(func() {
		for i := range 500 {
			f.deliver("/x", fmt.Sprint(i))
		}
	})
	all.Wait()
	for _, id := range s {
		require.NotNil(t, f.home(id), "somebody has it")
	}
	require.Equal(t, len(s), f.nodes[0].server.Sessions()+f.nodes[1].server.Sessions())
	for _, n := range f.nodes {
		n.server.HandOff(t.Context())
		require.NoError(t, n.server.Shutdown(t.Context()))
		require.Zero(t, n.server.Sessions())
		require.Empty(t, n.server.closing)
	}
}
