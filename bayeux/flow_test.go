package bayeux

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestNothingIsPushedBeforeTheFirstConnect(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		w.Run(`
			open a websocket
			` + hello("a") + listen("a", "/x") + `
			deliver /x 1
			deliver /x 2
			wait 10s
			quiet
			` + connects("a", "1") + `
			a< [{"channel":"/x","data":1,"id":"m1"},{"channel":"/x","data":2,"id":"m2"}]
			deliver /x 3
			a< [{"channel":"/x","data":3,"clientId":"$absent","successful":"$absent"}]
			# between two connects pushing goes on
			wait 45s
			a< {"id":"1","successful":true}
			deliver /x 4
			a< [{"data":4}]
		`)
	})
}

func TestAPollEndsWithWhatCame(t *testing.T) {
	for _, transport := range []string{"long-polling", "cross-origin-long-polling", "callback-polling"} {
		in(t, Options{}, func(t *testing.T, w *world) {
			w.Default = transport
			w.Run(`
				open a
				` + hello("a") + listen("a", "/x") + connects("a", "1") + `
				wait 30s
				deliver /x {"n":12345678901234567890}
				# deliveries first, the answer to the connect last
				a< [{"channel":"/x","data":{"n":12345678901234567890}},{"channel":"/meta/connect","id":"1","successful":true}]
				deliver /x 2
				deliver /x 3
				# with company a connect is not held
				a> [{"channel":"/meta/connect","clientId":"${a}","connectionType":"x","id":"0"},{"channel":"/meta/connect","clientId":"${a}","connectionType":"long-polling","id":"2"},{"channel":"/p","clientId":"${a}","data":1,"id":"3"}]
				a< [{"data":2},{"data":3},{"id":"3","successful":true},{"id":"0","successful":false},{"id":"2","successful":true}]
			`)
		})
	}
}

func TestTwoSessionsOnOneSocket(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		w.Run(`
			open a websocket
			` + hello("a") + listen("a", "/x") + connects("a", "1") + `
			a> {"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["websocket"]}
			a< {"successful":true,"clientId":"$=b"}
			a> {"channel":"/meta/subscribe","clientId":"${b}","subscription":"/y"}
			a< {"successful":true}
			a> {"channel":"/meta/connect","clientId":"${b}","connectionType":"websocket","id":"2"}
			deliver /x 1
			a< {"channel":"/x","data":1}
			deliver /y 2
			a< {"channel":"/y","data":2}
			# the first one's goodbye leaves the socket to the other
			a> {"channel":"/meta/disconnect","clientId":"${a}","id":"3"}
			a< [{"id":"3","successful":true},{"id":"1","successful":true,"advice":{"reconnect":"none"}}]
			deliver /y 3
			a< {"channel":"/y","data":3}
			a> {"channel":"/meta/disconnect","clientId":"${b}","id":"4"}
			a< [{"id":"4","successful":true},{"id":"2","advice":{"reconnect":"none"}}]
			a< closed 1000
		`)
	})
}

func TestTheQueueFollowsFromSocketToSocket(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		w.Run(`
			open a websocket
			` + hello("a") + listen("a", "/x") + connects("a", "1") + `
			wait 1s
			break a
			a< closed 0
			deliver /x 1
			deliver /x 2
			open a websocket
			# answered at once the first time on another socket, then held
			` + connects("a", "2") + `
			a< [{"data":1},{"data":2},{"id":"2","successful":true}]
			` + connects("a", "3") + `
			quiet
			# the late close of an old socket does not end the new one
			open b websocket
			` + strings.ReplaceAll(connects("b", "4"), "${b}", "${a}") + `
			b< {"id":"4","successful":true}
			a< {"id":"3","successful":true}
			break a
			a< closed 0
			deliver /x 3
			b< [{"data":3}]
		`)
		require.EqualValues(t, 1, w.server.Stats().Taken, "the one that went on while the other was open")
	})
}

// To and fro between two sockets, no wake-up is lost.
func TestASessionToAndFro(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		w.Run("open a websocket\n" + hello("a") + listen("a", "/x") + "open b websocket\n")
		for i := range 20 {
			// Both at once, without coming to rest between them.
			w.Run(fmt.Sprintf(`
				a>> [{"channel":"/meta/connect","clientId":"${a}","connectionType":"websocket","id":"a%d"}]
				b>> [{"channel":"/meta/connect","clientId":"${a}","connectionType":"websocket","id":"b%d"}]
				a>> [{"channel":"/meta/connect","clientId":"${a}","connectionType":"websocket","id":"c%d"}]
				a< *
				b< *
				deliver /x %d
				a< [{"data":%d}]
			`, i, i, i, i, i))
		}
	})
}

// decided.md 4, long-polling: an answer nobody got is sent again, and only then.
func TestAPollThatBreaksWhileItWaits(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		w.Run(`
			open a
			` + hello("a") + listen("a", "/x") + connects("a", "1") + `
			break a
			deliver /x 1
			` + connects("a", "2") + `
			a< [{"data":1},{"id":"2"}]
			` + connects("a", "3") + `
			quiet
		`)
		require.Zero(t, w.server.Stats().Resent)
	})
}

func TestAnAnswerThatDidNotArrive(t *testing.T) {
	lost := "open a\n" + hello("a") + listen("a", "/x") + connects("a", "1") + `
		wait 1s
		freeze a
		deliver /x 1
		wait 1s
		open b
	`
	for name, c := range map[string]struct {
		again  string
		resent int64
	}{
		"the same connect again": {connects("a", "1") + `a< [{"data":1},{"id":"1"}]`, 1},
		"the same connect on a socket": {`
			open c websocket
			c> {"channel":"/meta/connect","clientId":"${a}","connectionType":"websocket","id":"1"}
			c< [{"data":1},{"id":"1"}]`, 1},
		"timeout 0 and alone": {`
			b> {"channel":"/meta/connect","clientId":"${a}","connectionType":"long-polling","id":"2","advice":{"timeout":0}}
			b< [{"data":1},{"id":"2"}]`, 1},
		"timeout 0 with company": {`
			b> [{"channel":"/meta/connect","clientId":"${a}","connectionType":"long-polling","id":"2","advice":{"timeout":0}},{"channel":"/p","clientId":"${a}","data":1}]
			b< [{"channel":"/p","successful":true},{"id":"2"}]`, 0},
		"the next connect": {`
			b> {"channel":"/meta/connect","clientId":"${a}","connectionType":"long-polling","id":"2"}
			quiet`, 0},
		"the same id with other advice": {`
			b> [{"channel":"/meta/connect","clientId":"${a}","connectionType":"long-polling","id":"1","advice":{"timeout":1}}]
			wait 1ms
			b< [{"id":"1"}]`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, Options{}, func(t *testing.T, w *world) {
				// The requests of a go on with new connections.
				w.Run(lost + c.again)
				require.Equal(t, c.resent, w.server.Stats().Resent)
			})
		})
	}
}

// A client whose connects all look alike gets an answer a bounded number of times.
func TestResendsAreBounded(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		w.Run("open a\n" + hello("a") + listen("a", "/x") + "deliver /x 1\n")
		for range mostResends + 1 {
			w.Run(connects("a", "same") + `a< [{"data":1},{"id":"same"}]`)
		}
		w.Run(connects("a", "same") + "quiet")
		require.Equal(t, int64(mostResends), w.server.Stats().Resent)
	})
}

// One who numbers them and sends the same again means it, however often its network fails.
func TestResendsToWhoCounts(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		w.Run("open a\n" + hello("a") + listen("a", "/x") + "deliver /x 1\n" + connects("a", "1") + `a< [{"data":1},{"id":"1"}]
			deliver /x 2
		`)
		for range 3 * mostResends {
			w.Run(connects("a", "2") + `a< [{"data":2},{"id":"2"}]`)
		}
		w.Run(connects("a", "3") + "quiet")
	})
}

// decided.md 4, WebSocket: a pong acknowledges; without it, all is sent again.
func TestAPongAcknowledges(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		w.Run(`
			open a websocket
			` + hello("a") + listen("a", "/x") + connects("a", "1") + `
			deliver /x 1
			a< [{"data":1}]
			# pinged at once, so the pong is there
			deliver /x 2
			deliver /x 3
			a< {"data":2}
			a< {"data":3}
			wait 4s
			# these two not before 5 s have passed
			freeze a
			deliver /x 4
			wait 1s
			open b websocket
			b> {"channel":"/meta/connect","clientId":"${a}","connectionType":"websocket","id":"2"}
			b< [{"data":2},{"data":3},{"data":4},{"id":"2"}]
			wait 5s
			break b
			b< closed 0
			open b websocket
			b> {"channel":"/meta/connect","clientId":"${a}","connectionType":"websocket","id":"3"}
			b< [{"id":"3"}]
		`)
		require.Equal(t, int64(3), w.server.Stats().Resent)
	})
}

func TestWithoutPongsAllIsSentAgain(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		w.Run(`
			mute a
			open a websocket
			` + hello("a") + listen("a", "/x") + connects("a", "1"))
		var again []string
		for i := range 30 {
			w.Run(fmt.Sprintf("deliver /x %d\na< [{\"data\":%d}]\nwait 1s", i, i))
			again = append(again, fmt.Sprintf(`{"data":%d}`, i))
		}
		w.Run(`
			break a
			a< closed 0
			open b websocket
			b> {"channel":"/meta/connect","clientId":"${a}","connectionType":"websocket","id":"2"}
			b< [` + strings.Join(again, ",") + `,{"id":"2"}]
		`)
	})
}

func TestTakeoverBetweenTransports(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		gauge := func() map[string]int64 {
			g := w.server.Stats().Sessions
			for k, v := range g {
				if v == 0 {
					delete(g, k)
				}
			}
			return g
		}
		w.Run(`
			open a long-polling
			` + hello("a") + listen("a", "/x") + connects("a", "1"))
		require.Equal(t, map[string]int64{"long-polling": 1}, gauge())
		w.Run(`
			open b websocket
			b> {"channel":"/meta/connect","clientId":"${a}","connectionType":"websocket","id":"2"}
			a< [{"id":"1","successful":true}]
			b< [{"id":"2","successful":true}]
			b> {"channel":"/meta/connect","clientId":"${a}","connectionType":"websocket","id":"3"}
			deliver /x 1
			b< [{"data":1}]
		`)
		require.Equal(t, map[string]int64{"websocket": 1}, gauge())
		w.Run(`
			wait 1s
			` + connects("a", "4") + `
			b< [{"id":"3","successful":true}]
			deliver /x 2
			a< [{"data":2},{"id":"4"}]
			# the socket, alone now, stays
			b> []
			b< []
			open c eventsource ${a}
			deliver /x 3
			c< [{"data":3}]
			a> {"channel":"/meta/connect","clientId":"${a}","connectionType":"eventsource","id":"5"}
			a< {"id":"5","successful":true,"advice":{"reconnect":"retry","interval":45000,"timeout":0}}
			deliver /x 4
			c< [{"data":4}]
			` + connects("a", "6") + `
			c< closed 0
			deliver /x 5
			a< [{"data":5},{"id":"6"}]
		`)
		require.Equal(t, map[string]int64{"long-polling": 1}, gauge())
	})
}

func TestEventSource(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		w.Run(`
			open n eventsource nobody
			n< status 404
			open a
			` + hello("a") + listen("a", "/x") + `
			a> {"channel":"/meta/connect","clientId":"${a}","connectionType":"eventsource","id":"1"}
			a< {"id":"1","advice":{"reconnect":"retry","interval":45000,"timeout":0}}
			deliver /x "before"
			open e eventsource ${a}
			e< [{"data":"before"}]
			deliver /x 1
			e< [{"data":1}]
			wait 45s
			a> {"channel":"/meta/connect","clientId":"${a}","connectionType":"eventsource","id":"2"}
			a< {"id":"2"}
			deliver /x 2
			e< [{"data":2}]
			# a second stream takes over
			open f eventsource ${a}
			e< closed 0
			deliver /x 3
			f< [{"data":3}]
			# a closed stream leaves the session
			break f
			f< closed 0
			deliver /x 4
			open f eventsource ${a}
			f< [{"data":4}]
			a> {"channel":"/meta/disconnect","clientId":"${a}"}
			a< {"successful":true}
			f< closed 0
		`)
	})
}

// White space in data may hold line ends; they must not end an event.
func TestEventSourceFraming(t *testing.T) {
	d := func(data string) *Delivery { return NewDelivery(DeliveryFields{Channel: "/x", Data: []byte(data)}) }
	require.Equal(t, "data: [{\"channel\":\"/x\",\"data\":[1,\r\ndata: 2,\r\ndata: 3,\r\ndata: 4]}]\r\n\r\ndata: [{\"channel\":\"/x\",\"data\":5}]\r\n\r\n",
		string(events([]*Delivery{d("[1,\n2,\r3,\r\n4]"), d("5")})))
}

func TestAFullQueue(t *testing.T) {
	in(t, Options{Limits: Limits{QueueMessages: 3}}, func(t *testing.T, w *world) {
		w.Run("open a\n" + hello("a") + listen("a", "/x") + listen("a", "/kept/x"))
		w.Run(`
			deliver /x 1
			deliver /kept/x 2
			deliver /x 3
			# the oldest that is not kept goes
			deliver /x 4
			deliver /x 5
			# what is kept is not queued: the application comes back for it
			deliver /kept/x 6
			` + connects("a", "1") + `
			a< [{"data":2},{"data":4},{"data":5},{"id":"1"}]
		`)
		st := w.server.Stats()
		require.Equal(t, int64(2), st.Dropped["queue_full"])
		require.Equal(t, int64(1), st.Lagged)
		require.Equal(t, 1, w.app.lagging)
	})
}

// The window of a socket: as much may be under way as may be queued.
func TestTheWindowOfASocket(t *testing.T) {
	in(t, Options{Limits: Limits{QueueMessages: 10}}, func(t *testing.T, w *world) {
		w.Run("mute a\nopen a websocket\n" + hello("a") + listen("a", "/x") + connects("a", "1"))
		for i := range 10 {
			w.Run(fmt.Sprintf("deliver /x %d\na< [{\"data\":%d}]", i, i))
		}
		w.Run("deliver /x 10\nquiet\nwait 20s\nquiet\nbreak a\na< closed 0")
		require.Equal(t, 11, w.queued(t, "a"))
	})
}

func (w *world) queued(t *testing.T, name string) int {
	s, ok := w.server.Session(w.Value(name))
	require.True(t, ok)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.queue.len()
}

func TestPullers(t *testing.T) {
	for _, transport := range []string{"websocket", "long-polling", "eventsource"} {
		t.Run(transport, func(t *testing.T) {
			in(t, Options{}, func(t *testing.T, w *world) {
				one := &pages{channel: "/one", end: 3000, failAt: 1500}
				two := &pages{channel: "/two", end: 2500, failAt: -1}
				three := &pages{channel: "/three", end: 1, failAt: -1}
				for _, p := range []*pages{one, two, three} {
					w.app.pullers[p.channel] = func() Puller { return p }
				}
				w.Run("open a\n" + hello("a") + listen("a", "/one") + listen("a", "/two") + listen("a", "/three") + "wait 10s")
				require.Zero(t, one.asked+two.asked+three.asked, "nobody is there to pull")
				got := w.collect(t, transport, 5501)
				require.Equal(t, 3000, got["/one"])
				require.Equal(t, 2500, got["/two"])
				require.Equal(t, 1, got["/three"])
				require.False(t, one.twice || two.twice || three.twice, "pulled twice at once")
			})
		})
	}
}

// collect connects over a transport until n deliveries have come, each channel's in
// order, and returns how many of each.
func (w *world) collect(t *testing.T, transport string, n int) map[string]int {
	got := map[string]int{}
	heard := func(s *Session) { // the server's books, to keep the script short
		s.mu.Lock()
		defer s.mu.Unlock()
		require.LessOrEqual(t, s.out.queue.len(), 2*s.server.options.Limits.QueueMessages)
	}
	s, ok := w.server.Session(w.Value("a"))
	require.True(t, ok)
	switch transport {
	case "websocket":
		w.Begin("open b websocket\nb> {\"channel\":\"/meta/connect\",\"clientId\":\"${a}\",\"connectionType\":\"websocket\"}")
	case "eventsource":
		w.Begin("open b eventsource ${a}")
	}
	id := 0
	for total := 0; total < n; {
		switch transport {
		case "long-polling":
			id++
			w.Begin(fmt.Sprintf("open b\nb> {\"channel\":\"/meta/connect\",\"clientId\":\"${a}\",\"connectionType\":\"long-polling\",\"id\":%d}\nwait 1s", id))
		default:
			w.Begin("wait 1s")
		}
		heard(s)
		ms := w.Take("b")
		require.NotEmpty(t, ms)
		for _, m := range ms {
			channel, _ := m["channel"].(string)
			if strings.HasPrefix(channel, "/meta") {
				continue
			}
			require.Equal(t, fmt.Sprint(got[channel]), fmt.Sprint(m["data"]), channel)
			got[channel]++
			total++
		}
	}
	return got
}

func TestAPullThatPanicsIsTriedAgain(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		p := &pages{channel: "/r", end: 2, failAt: -1, panics: true}
		w.app.pullers["/r"] = func() Puller { return p }
		w.Run(`
			open a long-polling
			` + hello("a") + listen("a", "/r") + connects("a", "1") + `
			a< closed 0
			wait 1s
			` + connects("a", "1") + `
			a< [{"data":0},{"data":1},{"id":"1"}]
		`)
		require.Equal(t, int64(1), w.server.Stats().Panics)
	})
}

func TestAPullEndsWithItsConnection(t *testing.T) {
	for _, transport := range []string{"websocket", "long-polling"} {
		in(t, Options{}, func(t *testing.T, w *world) {
			p := &pages{channel: "/r", end: 1, failAt: -1, cancel: true}
			w.app.pullers["/r"] = func() Puller { return p }
			w.Run("open a " + transport + "\n" + hello("a") + listen("a", "/r") + connects("a", "1"))
			if transport == "websocket" {
				w.Run("break a\na< closed 0")
			} else {
				w.Run("break a")
			}
			p.mu.Lock()
			require.Equal(t, 1, p.asked)
			require.False(t, p.busy)
			p.cancel = false
			p.mu.Unlock()
			w.Run("open b\n" + strings.ReplaceAll(connects("b", "2"), "${b}", "${a}") + "b< [{\"data\":0},{\"id\":\"2\"}]")
		})
	}
}

func TestWaitingReplaysAreBounded(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		w.Run("open a\n" + hello("a"))
		s, _ := w.server.Session(w.Value("a"))
		for range waitingReplays + 2 {
			s.Replay(&pages{})
		}
		require.Equal(t, int64(2), w.server.Stats().Dropped["replays_full"])
		time.Sleep(time.Second)
	})
}
