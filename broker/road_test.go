package broker

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/memory"
	"github.com/stretchr/testify/require"
)

// newFrailBench is a bench on a store that can be hurt.
func newFrailBench(t testing.TB) (*bench, *frail) {
	var s *frail
	x := newBench(t, func(o *Options, _ *bayeux.Options) {
		s = newFrail(o.Store.(*memory.Store))
		o.Store = s
	})
	return x, s
}

// watched returns the feeds that are watched, with their holders.
func (x *bench) watched() map[string]int {
	all := x.b.hub.roads
	all.mu.Lock()
	defer all.mu.Unlock()
	feeds := map[string]int{}
	for name, r := range all.byFeed {
		feeds[name] = r.holders
	}
	return feeds
}

// Only feeds with listeners are watched; while all open channels are, none of theirs
// is watched besides; without holders a road lingers and then ends.
func TestRoads(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x, s := newFrailBench(t)
		p := x.join("")
		require.Empty(t, x.watched())
		require.True(t, p.subscribe("/open/a").ok())
		require.True(t, p.subscribe("/open/b").ok())
		require.Equal(t, map[string]int{"c/open": 2}, x.watched())
		require.True(t, p.subscribe("/open/*").ok())
		require.Equal(t, map[string]int{"c/open": 3}, x.watched(), "a wildcard with a fixed first segment")
		root := x.root("gala", channels.ClassView)
		require.True(t, p.subscribe(root+"/**").ok())
		require.True(t, p.subscribe(root+"/chat").ok())
		require.Len(t, x.watched(), 3, "what the object shares with others, too")
		require.Equal(t, 2, s.count(&s.watches))
		for _, name := range []string{"/open/a", "/open/b", "/open/*", root + "/**", root + "/chat"} {
			p.unsubscribe(name)
		}
		for feed, holders := range x.watched() {
			// What was heard by name goes on for a while (catchup.KeepCover).
			require.LessOrEqual(t, holders, 2, feed)
		}
		require.True(t, p.subscribe("/open/a").ok())
		require.Equal(t, 2, s.count(&s.watches), "the road was still there")
		require.True(t, x.post(p, p.message("/meta/disconnect", ""))[0].ok())
		time.Sleep(roadLinger / 2)
		require.Len(t, x.watched(), 3)
		time.Sleep(roadLinger)
		require.Empty(t, x.watched())
		require.Empty(t, s.watching())
	})
}

// While a wildcard hears all open channels there is one road for them.
func TestRoadWide(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		everything, err := channels.ParsePattern("/**")
		require.NoError(t, err)
		x := newBench(t, func(o *Options, _ *bayeux.Options) {
			o.Open = []OpenPrefix{{Pattern: everything, Publish: "anyone", History: time.Hour}}
		})
		p, q := x.join(""), x.join("")
		require.True(t, p.subscribe("/narrow/a").ok())
		require.True(t, q.subscribe("/**").ok())
		require.True(t, p.subscribe("/other/a").ok())
		require.Equal(t, map[string]int{"c/narrow": 1, "c/": 2}, x.watched())
		require.True(t, p.publish("/narrow/a", "1", "").ok())
		require.True(t, p.publish("/other/a", "2", "").ok())
		require.Equal(t, []string{"/narrow/a 1", "/other/a 2"}, q.poll(), "once, though it is announced twice")
		require.Equal(t, []string{"/narrow/a 1", "/other/a 2"}, p.poll())
		q.unsubscribe("/**")
		require.True(t, p.subscribe("/late/a").ok())
		require.Equal(t, map[string]int{"c/narrow": 1, "c/": 1, "c/late": 1}, x.watched())
	})
}

// A topic that only a road kept up to date goes with it: who comes later begins anew.
func TestRoadForgets(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		p := x.join("")
		root := x.root("gala", channels.ClassView)
		require.True(t, p.subscribe(root+"/**").ok())
		x.say("gala", "chat", 1)
		p.unsubscribe(root + "/**")
		time.Sleep(2 * roadLinger)
		p.poll()
		x.say("gala", "chat", 2, 3)
		require.True(t, p.subscribe(root+"/chat").ok())
		x.say("gala", "chat", 4)
		require.Equal(t, on(root+"/chat", 4), p.poll())
	})
}

// Who needs a road waits for its Ready, but not for ever.
func TestRoadWait(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x, s := newFrailBench(t)
		s.set(func() { s.slow = time.Second })
		p := x.join("")
		began := time.Now()
		require.True(t, p.subscribe("/open/a").ok())
		require.Equal(t, time.Second, time.Since(began))
		s.set(func() { s.slow = 5 * time.Second })
		for _, name := range []string{x.root("gala", channels.ClassView) + "/chat", x.root("gala", channels.ClassView) + "/**"} {
			r := p.subscribe(name)
			require.Equal(t, "503::Service unavailable", r.Error)
		}
		time.Sleep(5 * time.Second)
		require.True(t, p.subscribe(x.root("gala", channels.ClassView)+"/chat").ok())
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := x.b.hub.hold(ctx, "o/nobody", nil)
		require.Error(t, err)
		require.Zero(t, x.watched()["o/nobody"])
	})
}

// After a break only what has moved is read, in few calls, and channels that a
// wildcard did not know are found.
func TestMend(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x, s := newFrailBench(t)
		p := x.join("")
		root := x.root("gala", channels.ClassView)
		require.True(t, p.subscribe(root+"/**").ok())
		for n := range 600 {
			x.say("gala", fmt.Sprint("c", n), 1)
		}
		require.Len(t, p.poll(), 600)
		time.Sleep(2 * time.Second)
		s.breaks()
		x.say("gala", "c7", 2)
		x.say("gala", "new", 1, 2)
		require.Empty(t, p.poll())
		s.set(func() { s.reads, s.headers = 0, 0 })
		s.mend()
		synctest.Wait()
		require.ElementsMatch(t, append(on(root+"/new", 1, 2), root+"/c7 2"), p.poll())
		require.LessOrEqual(t, s.count(&s.headers), 2)
		require.LessOrEqual(t, s.count(&s.reads), 2)
		x.say("gala", "c7", 3)
		require.Equal(t, on(root+"/c7", 3), p.poll())
	})
}

// A store that does not answer is asked again; until then nothing counts as handed on.
func TestMendAgain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x, s := newFrailBench(t)
		p := x.join("")
		require.True(t, p.subscribe("/open/a").ok())
		x.join("").publish("/open/a", "1", "")
		time.Sleep(3 * time.Second)
		s.set(func() { s.failing = store.ErrUnavailable })
		s.breaks()
		broke := x.store.Now().UnixMilli()
		x.join("").publish("/open/a", "2", "")
		s.mend()
		time.Sleep(5 * time.Second)
		require.LessOrEqual(t, x.b.fanned.Load(), broke)
		require.Equal(t, []string{"/open/a 1"}, p.poll())
		s.set(func() { s.failing = nil })
		time.Sleep(5 * time.Second)
		require.Equal(t, []string{"/open/a 2"}, p.poll())
		require.Greater(t, x.b.fanned.Load(), broke)
	})
}

// Where it cannot be told what wildcards missed, their sessions end, and no others.
func TestMendTooMany(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x, s := newFrailBench(t)
		p, q := x.join(""), x.join("")
		require.True(t, p.subscribe("/open/*").ok())
		require.True(t, q.subscribe("/open/a").ok())
		s.breaks()
		s.set(func() { s.hidden = true })
		s.mend()
		synctest.Wait()
		r := x.post(p, p.message("/meta/connect", `,"connectionType":"long-polling"`))[0]
		require.Equal(t, "401:"+p.id+":Unknown client", r.Error)
		require.Equal(t, "handshake", r.Advice["reconnect"])
		require.Empty(t, q.poll())
		require.EqualValues(t, 1, total(x.b.metrics.lostWildcards))
	})
}

// The fan-out has come no further than what was announced.
func TestFanned(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x, s := newFrailBench(t)
		p := x.join("")
		require.True(t, p.subscribe("/open/a").ok())
		time.Sleep(3 * time.Second)
		s.set(func() { s.lossy = 100 })
		x.join("").publish("/open/a", "1", "")
		lost := x.store.Now().UnixMilli()
		time.Sleep(10 * time.Second)
		require.LessOrEqual(t, x.b.fanned.Load(), lost, "what has that ms is read again")
		s.mend()
		time.Sleep(3 * time.Second)
		require.Greater(t, x.b.fanned.Load(), lost)
		require.Equal(t, []string{"/open/a 1"}, p.poll())
	})
}

// Neither is a session with wildcards resumed of which nobody can tell what it missed.
func TestResumeUnknown(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x, s := newFrailBench(t)
		p := x.join("")
		require.True(t, p.subscribe("/open/*").ok())
		time.Sleep(3 * time.Second)
		s.set(func() { s.hidden = true })
		x.restart(true)
		r := x.post(p, p.message("/meta/connect", `,"connectionType":"long-polling"`))[0]
		require.Equal(t, "401:"+p.id+":Unknown client", r.Error)
		require.Empty(t, x.watched()["c/open"])
	})
}

// The watermark moves on though feeds break all the time, so that the death of a node
// brings no more again than otherwise; but not past what nobody could look for.
func TestWatermarkUnderBreaks(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x, s := newFrailBench(t)
		p := x.join("")
		require.True(t, p.subscribe("/open/a").ok())
		// breaks lets feeds break every 40 ms, in the midst of each repair, and returns how far
		// the watermark has come since.
		breaks := func(d time.Duration, headsFail bool) time.Duration {
			begun := x.store.Now()
			for n := 0; x.store.Now().Sub(begun) < d; n++ {
				s.set(func() {
					s.failing = nil
					if headsFail {
						s.failing = store.ErrUnavailable
					}
					s.onHeads = func() { s.breaks() }
				})
				s.mend()
				time.Sleep(40 * time.Millisecond)
				if n%10 == 0 {
					require.True(t, x.join("").publish("/open/a", "1", "").ok())
				}
			}
			return time.UnixMilli(x.b.fanned.Load()).Sub(begun)
		}
		require.Greater(t, breaks(10*time.Second, false), 7*time.Second-10*time.Millisecond)
		require.Less(t, breaks(10*time.Second, true), 2*time.Second)
		s.set(func() { s.failing, s.onHeads = nil, nil })
		s.mend()
		time.Sleep(4 * time.Second)
		require.Greater(t, time.UnixMilli(x.b.fanned.Load()), x.store.Now().Add(-3*time.Second))
		require.Len(t, p.poll(), 50)
	})
}
