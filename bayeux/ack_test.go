package bayeux

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// acksHello is hello with the ack extension, as CometD's client asks for it.
func acksHello(name string) string {
	return strings.NewReplacer("NAME", name).Replace(`
		NAME> {"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["websocket","long-polling","callback-polling"],"id":"h","ext":{"ack":true}}
		NAME< {"channel":"/meta/handshake","id":"h","successful":true,"clientId":"$=NAME","ext":{"ack":true}}
	`)
}

// acks is a connect over the connection of one name, for the session of another, that
// has had answer n.
func acksOf(over, name, id string, n int, more string) string {
	return fmt.Sprintf(`
		%s> {"channel":"/meta/connect","clientId":"${%s}","connectionType":"long-polling","id":"%s","ext":{"ack":%d}%s}
	`, over, name, id, n, more)
}

// numberOf returns ext.ack of a message; 0: it has none.
func numberOf(m map[string]any) int {
	ext, _ := m["ext"].(map[string]any)
	n, _ := ext["ack"].(json.Number)
	i, _ := n.Int64()
	return int(i)
}

// bayeux-cometd.md §2.1: deliveries leave only with answers to connects, which have
// numbers.
func TestAckExtension(t *testing.T) {
	both(t, Options{}, "open a\nopen b\n"+acksHello("a")+listen("a", "/x")+hello("b")+`
		deliver /x 1
		quiet
		`+acksOf("a", "a", "1", 0, "")+`
		a< [{"channel":"/x","data":1},{"channel":"/meta/connect","id":"1","successful":true,"ext":{"ack":1},"advice":{"reconnect":"retry","interval":0,"timeout":45000}}]
		deliver /x 2
		quiet
		deliver /x 3
		quiet
		`+acksOf("a", "a", "2", 1, "")+`
		a< [{"data":2},{"data":3},{"id":"2","ext":{"ack":2}}]
		`+acksOf("a", "a", "3", 2, "")+`
		quiet
		deliver /x 4
		a< [{"data":4},{"id":"3","ext":{"ack":3}}]
		# with nothing to bring it is held as any other, and has a number, too
		`+acksOf("a", "a", "4", 3, "")+`
		wait 45s
		a< [{"id":"4","successful":true,"ext":{"ack":4}}]
		`+acksOf("a", "a", "5", 4, `,"advice":{"timeout":0}`)+`
		a< [{"id":"5","successful":true,"ext":{"ack":5}}]
	`, func(t *testing.T, w *world) { require.Zero(t, w.server.Stats().Resent) })
}

// What is not known to have arrived goes again, alone and under its number, and no
// connect is held meanwhile.
func TestAckExtensionSendsAgain(t *testing.T) {
	both(t, Options{}, "open a\n"+acksHello("a")+listen("a", "/x")+`
		deliver /x 1
		deliver /x 2
		`+acksOf("a", "a", "1", 0, "")+`
		a< [{"data":1},{"data":2},{"id":"1","ext":{"ack":1}}]
		deliver /x 3
		`+acksOf("a", "a", "2", 0, "")+`
		a< [{"data":1},{"data":2},{"id":"2","ext":{"ack":1}}]
		`+acksOf("a", "a", "2", 0, "")+`
		a< [{"data":1},{"data":2},{"id":"2","ext":{"ack":1}}]
		`+acksOf("a", "a", "3", 1, "")+`
		a< [{"data":3},{"id":"3","ext":{"ack":2}}]
		# one that says nothing has had nothing
		a> {"channel":"/meta/connect","clientId":"${a}","connectionType":"long-polling","id":"4"}
		a< [{"data":3},{"id":"4","ext":{"ack":2}}]
		# numbers that were never given, and what is no number
		`+acksOf("a", "a", "5", 900, "")+`
		deliver /x 5
		a< [{"data":5},{"id":"5","ext":{"ack":901}}]
		a> {"channel":"/meta/connect","clientId":"${a}","connectionType":"long-polling","id":"6","ext":{"ack":"901"}}
		a< [{"data":5},{"id":"6","ext":{"ack":901}}]
		a> {"channel":"/meta/connect","clientId":"${a}","connectionType":"long-polling","id":"7","ext":{"ack":-7}}
		a< [{"data":5},{"id":"7","ext":{"ack":901}}]
		a> {"channel":"/meta/connect","clientId":"${a}","connectionType":"long-polling","id":"8","ext":{"ack":1e99}}
		deliver /x 6
		a< [{"data":6},{"id":"8","ext":{"ack":4503599627370497}}]
	`, func(t *testing.T, w *world) { require.Equal(t, int64(7), w.server.Stats().Resent) })
}

// A handshake with ext.ack false, or anything but true: nothing is said of it.
func TestAckExtensionOff(t *testing.T) {
	for _, ack := range []string{"false", "null", "1", `"true"`, "{}"} {
		both(t, Options{}, `
			open a
			a> {"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["websocket"],"ext":{"ack":`+ack+`}}
			a< {"successful":true,"clientId":"$=a","ext":"$absent"}
			`+listen("a", "/x")+acksOf("a", "a", "1", 3, "")+`
			deliver /x 1
			a< *
			`+acksOf("a", "a", "2", 3, `,"advice":{"timeout":0}`)+`
			a< *
		`, func(t *testing.T, w *world) {
			s, ok := w.server.Session(w.Value("a"))
			require.True(t, ok)
			require.False(t, s.acks.on)
			require.Empty(t, s.Left().Wire, "nothing is said of a session that lives")
		})
	}
}

// The link dies in each way while an answer is under way.
func TestAckExtensionOnADeadLink(t *testing.T) {
	for _, first := range []string{"websocket", "long-polling"} {
		for _, second := range []string{"websocket", "long-polling"} {
			for _, how := range []string{"break", "freeze"} {
				t.Run(first+" "+how+" "+second, func(t *testing.T) {
					in(t, Options{}, func(t *testing.T, w *world) {
						w.Begin("open a " + first + "\nopen b " + second + "\n" + acksHello("a") + listen("a", "/x") + acksOf("a", "a", "1", 0, "") + `
							wait 1s
							` + how + ` a
							deliver /x 1
							deliver /x 2
							wait 1s
							` + acksOf("b", "a", "2", 0, `,"advice":{"timeout":0}`))
						had, number := []string{}, 0
						for i := 3; len(had) < 2; i++ {
							for _, m := range w.Take("b") {
								if m["channel"] == "/x" {
									had = append(had, fmt.Sprint(m["data"]))
								}
								number = max(number, numberOf(m))
							}
							w.Begin(acksOf("b", "a", fmt.Sprint(i), number, `,"advice":{"timeout":0}`))
							require.Less(t, i, 9)
						}
						require.Equal(t, []string{"1", "2"}, had)
						w.Begin("b< *\nwait 1ms")
						w.Begin(acksOf("b", "a", "99", 50, "") + "deliver /x 3\nb< [{\"data\":3},{\"id\":\"99\"}]")
					})
				})
			}
		}
	}
}

// Two connects at once (CometD's issue 511): one brings what there is, the other nothing
// and no number.
func TestAckExtensionConcurrentConnects(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		w.Run("open a\nopen b\n" + acksHello("a") + listen("a", "/x") + acksOf("a", "a", "1", 0, "") + acksOf("b", "a", "2", 0, "") + `
			a< [{"id":"1","successful":true,"ext":"$absent"}]
			deliver /x 1
			b< [{"data":1},{"id":"2","ext":{"ack":1}}]
			# in one request, with something unacknowledged: it comes once
			` + `a> [{"channel":"/meta/connect","clientId":"${a}","connectionType":"long-polling","id":"3","ext":{"ack":0}},{"channel":"/meta/connect","clientId":"${a}","connectionType":"long-polling","id":"4","ext":{"ack":0}}]
			a< [{"data":1},{"id":"3","ext":"$absent"},{"id":"4","ext":{"ack":1}}]
		`)
	})
}

// Messages queued before the first connect (CometD's issue 521) come with it, once.
func TestAckExtensionQueuesDuringTheHandshake(t *testing.T) {
	both(t, Options{}, "open a\n"+acksHello("a")+`
		a> [{"channel":"/meta/subscribe","clientId":"${a}","subscription":"/x","id":"s"},{"channel":"/x","clientId":"${a}","data":1,"id":"p"}]
		a< *
		deliver /x 2
		quiet
		`+acksOf("a", "a", "1", 0, `,"advice":{"timeout":0}`)+`
		a< [{"data":1},{"data":2},{"id":"1","ext":{"ack":1}}]
	`, nil)
}

// What waits for a client that is away is bounded as for any other: what is kept lags,
// what is not makes room (decided.md 13).
func TestAckExtensionIsBounded(t *testing.T) {
	in(t, Options{Limits: Limits{QueueMessages: 3}}, func(t *testing.T, w *world) {
		w.Run("open a\n" + acksHello("a") + listen("a", "/x") + listen("a", "/kept/y") + `
			deliver /x 1
			` + acksOf("a", "a", "1", 0, "") + `
			a< [{"data":1},{"ext":{"ack":1}}]
			deliver /x 2
			deliver /kept/y 3
			deliver /x 4
			deliver /x 5
			deliver /kept/y 6
			` + acksOf("a", "a", "2", 0, "") + `
			a< [{"data":1},{"ext":{"ack":1}}]
			` + acksOf("a", "a", "3", 1, "") + `
			a< [{"data":3},{"data":4},{"data":5},{"ext":{"ack":2}}]
		`)
		require.Equal(t, int64(1), w.server.Stats().Dropped["queue_full"])
		require.Equal(t, int64(1), w.server.Stats().Lagged)
	})
}

// An answer is bounded in bytes; the rest comes with the next.
func TestAnswersAreBounded(t *testing.T) {
	big := `"` + strings.Repeat("x", 700) + `"`
	script := func(connect func(id string, n int) string) string {
		return listen("a", "/x") + "deliver /x " + big + "\ndeliver /x " + big + "\ndeliver /x 3\n" +
			connect("1", 0) + `a< [{"channel":"/x"},{"id":"1"}]` + connect("2", 1) + `a< [{"channel":"/x"},{"data":3},{"id":"2"}]`
	}
	o := Options{Limits: Limits{Response: 1000}}
	t.Run("long-polling", func(t *testing.T) {
		in(t, o, func(t *testing.T, w *world) {
			w.Run("open a\n" + hello("a") + script(func(id string, _ int) string { return connects("a", id) }))
		})
	})
	both(t, o, "open a\n"+acksHello("a")+script(func(id string, n int) string { return acksOf("a", "a", id, n, "") }), nil)
}

// A replay of any length goes through answers, each acknowledged.
func TestAckExtensionReplays(t *testing.T) {
	for _, transport := range []string{"websocket", "long-polling"} {
		in(t, Options{Limits: Limits{QueueMessages: 200}}, func(t *testing.T, w *world) {
			w.app.pullers["/r"] = func() Puller { return &pages{channel: "/r", end: 2500, failAt: 1500} }
			w.Begin("open a " + transport + "\n" + acksHello("a") + listen("a", "/r") + acksOf("a", "a", "0", 0, ""))
			next, number, lost := 0, 0, 0
			for id := 1; next < 2500; id++ {
				require.Less(t, id, 100)
				begin := next
				answered := false
				for _, m := range w.Take("a") {
					if m["channel"] == "/r" {
						require.Equal(t, fmt.Sprint(next), fmt.Sprint(m["data"]))
						next++
						continue
					}
					if n := numberOf(m); n > 0 {
						if answered = true; id%3 == 0 { // as if it had been lost
							next = begin
							lost++
							continue
						}
						number = n
					}
				}
				if answered {
					w.Begin(acksOf("a", "a", fmt.Sprint(id), number, ""))
				} else {
					w.Begin("wait 1s")
				}
			}
			require.Positive(t, lost)
		})
	}
}

// A stream cannot acknowledge; what it did not write comes with the next connect.
func TestAckExtensionAndAStream(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		w.Run("open a\n" + acksHello("a") + listen("a", "/x") + `
			deliver /x 1
			` + acksOf("a", "a", "1", 0, "") + `
			a< [{"data":1},{"ext":{"ack":1}}]
			open e eventsource ${a}
			e< [{"data":1}]
			deliver /x 2
			e< [{"data":2}]
			` + acksOf("a", "a", "2", 1, "") + `
			e< closed 0
			deliver /x 3
			a< [{"data":3},{"id":"2","ext":{"ack":2}}]
		`)
	})
}

// The answer to a disconnect and to a held connect (bayeux-cometd.md §0.6).
func TestAckExtensionDisconnects(t *testing.T) {
	for _, transport := range []string{"websocket", "long-polling"} {
		in(t, Options{}, func(t *testing.T, w *world) {
			w.Begin("open a " + transport + "\n" + acksHello("a") + acksOf("a", "a", "1", 0, "") + `
				a> {"channel":"/meta/disconnect","clientId":"${a}","id":"2"}
				wait 1ms
			`)
			if transport == "websocket" {
				w.Begin("a< [{\"id\":\"2\",\"successful\":true},{\"id\":\"1\",\"successful\":true,\"ext\":\"$absent\",\"advice\":{\"reconnect\":\"none\"}}]\na< closed 1000")
				return
			}
			got := map[any]map[string]any{}
			for _, m := range w.Take("a") {
				got[m["channel"]] = m
			}
			require.Equal(t, true, got["/meta/disconnect"]["successful"])
			held := got["/meta/connect"]
			require.Equal(t, true, held["successful"])
			require.NotContains(t, held, "ext")
			require.Equal(t, "none", held["advice"].(map[string]any)["reconnect"])
		})
	}
}

// The numbers go along to another server, and what was sent is told by them alone.
func TestAckExtensionMoves(t *testing.T) {
	for name, c := range map[string]struct {
		had  int
		then string
	}{
		"the answer arrived":         {1, `b< [{"data":2},{"id":"2","ext":{"ack":2}}]`},
		"the answer did not arrive":  {0, `b< [{"data":1},{"id":"2","ext":{"ack":1}}]` + acksOf("b", "a", "3", 1, "") + `b< [{"data":2},{"id":"3","ext":{"ack":2}}]`},
		"a number from a later life": {40, `b< [{"data":2},{"id":"2","ext":{"ack":41}}]`},
	} {
		for _, transport := range []string{"websocket", "long-polling"} {
			t.Run(name+" "+transport, func(t *testing.T) {
				across(t, Options{}, func(t *testing.T, w *talk) {
					w.Run("open a " + transport + "\n" + acksHello("a") + listen("a", "/x") + `
						deliver /x 1
						` + acksOf("a", "a", "1", 0, "") + `
						a< [{"data":1},{"ext":{"ack":1}}]
						deliver /x 2
						at two
						open b ` + transport + `
						` + acksOf("b", "a", "2", c.had, "") + c.then + `
						` + acksOf("b", "a", "4", 41, "") + `
						deliver /x 3
						b< [{"data":3},{"id":"4"}]
					`)
				})
			})
		}
	}
}

// A server that was lost wrote down what was about to go, so the number says what of it
// arrived; one that had nothing to write is known by the number alone.
func TestAckExtensionAfterACrash(t *testing.T) {
	for _, transport := range []string{"websocket", "long-polling"} {
		for had, then := range map[int]string{
			1: `b< [{"data":3},{"data":4},{"id":"2","ext":{"ack":1048578}}]`,
			0: `b< [{"data":1},{"data":2},{"id":"2","ext":{"ack":1}}]` + acksOf("b", "a", "3", 1, "") + `b< [{"data":3},{"data":4},{"id":"3","ext":{"ack":1048578}}]`,
		} {
			t.Run(fmt.Sprintf("%s %d", transport, had), func(t *testing.T) {
				across(t, Options{}, func(t *testing.T, w *talk) {
					w.Run("open a " + transport + "\n" + acksHello("a") + listen("a", "/x") + `
						deliver /x 1
						deliver /x 2
						` + acksOf("a", "a", "1", 0, "") + `
						a< [{"data":1},{"data":2},{"ext":{"ack":1}}]
						deliver /x 3
					`)
					w.crash(w.Value("a"))
					w.Run(`
						a< *
						deliver /x 4
						at two
						open b ` + transport + `
						` + acksOf("b", "a", "2", had, "") + then)
				})
			})
		}
	}
	across(t, Options{}, func(t *testing.T, w *talk) {
		w.Run("open a\n" + acksHello("a") + listen("a", "/x") + acksOf("a", "a", "1", 0, `,"advice":{"timeout":0}`) + `
			a< [{"ext":{"ack":1}}]
		`)
		w.crash(w.Value("a"))
		w.Run(`
			at two
			open b
			` + acksOf("b", "a", "2", 1, "") + `
			deliver /x 1
			b< [{"data":1},{"id":"2","ext":{"ack":1048577}}]
			` + acksOf("b", "a", "3", 1, "") + `
			b< [{"data":1},{"id":"3","ext":{"ack":1048577}}]
		`)
	})
	// What had no news has a number, too, which nobody wrote down. An answer to a late copy
	// must not have the one that the client has had of those.
	across(t, Options{}, func(t *testing.T, w *talk) {
		at := `,"advice":{"timeout":0}`
		w.Run("open a\n" + acksHello("a") + listen("a", "/x") + `
			deliver /x 1
			` + acksOf("a", "a", "1", 0, "") + `
			a< [{"data":1},{"ext":{"ack":1}}]
			` + acksOf("a", "a", "2", 1, at) + `
			a< [{"ext":{"ack":2}}]
			` + acksOf("a", "a", "3", 2, at) + `
			a< [{"ext":{"ack":3}}]
		`)
		w.crash(w.Value("a"))
		w.Run(`
			at two
			open late
			open b
			deliver /x 2
			` + acksOf("late", "a", "2", 1, at) + `
			late< [{"data":2},{"id":"2","ext":{"ack":1048578}}]
			` + acksOf("b", "a", "4", 3, "") + `
			b< [{"data":2},{"id":"4","ext":{"ack":1048578}}]
		`)
	})
}

// A server that is told, when it writes down what is about to go, that the session lives
// elsewhere brings nothing.
func TestAckExtensionIsFenced(t *testing.T) {
	for _, transport := range []string{"websocket", "long-polling"} {
		in(t, Options{}, func(t *testing.T, w *world) {
			w.Run("open a " + transport + "\n" + acksHello("a") + listen("a", "/kept") + listen("a", "/x") + acksOf("a", "a", "1", 0, ""))
			w.app.fenced = true
			w.Run(`
				deliver /kept 1
				a< [{"id":"1","successful":true,"ext":"$absent"}]
			`)
			require.Equal(t, []string{ReasonMoved}, w.reasons())
		})
	}
}

// looking is a handler whose Batch lasts until it is let go.
type looking struct {
	SessionHandler
	at chan chan struct{}
}

func (h *looking) Batch(context.Context) {
	done := make(chan struct{})
	h.at <- done
	<-done
}

// TestTwoNoteAtOnce: while one looks nothing is pulled, though another has looked; and what
// went out after a look was not seen by it.
func TestTwoNoteAtOnce(t *testing.T) {
	v := NewServer(newApp(), Options{})
	s := v.newSession(Peer{}, nil)
	h := &looking{SessionHandler: &user{app: newApp(), session: s}, at: make(chan chan struct{})}
	s.handler, s.acks = h, acks{on: true, last: 5, batch: 5}
	v.remember(s)
	look := func() <-chan bool {
		noted := make(chan bool, 1)
		go func() { noted <- s.note(context.Background()) }()
		return noted
	}
	state := func() (paused int, noted bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.replays.paused, s.acks.noted
	}
	first := look()
	before := <-h.at
	second := look()
	require.Eventually(t, func() bool { paused, _ := state(); return paused == 2 }, 30*time.Second, time.Millisecond)
	s.mu.Lock()
	s.acks.went = true
	s.mu.Unlock()
	close(before)
	require.True(t, <-first)
	after := <-h.at
	paused, noted := state()
	require.Equal(t, 1, paused)
	require.False(t, noted)
	close(after)
	require.True(t, <-second)
	paused, noted = state()
	require.Zero(t, paused)
	require.True(t, noted)
	require.NoError(t, v.Shutdown(context.Background()))
}
