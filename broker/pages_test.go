package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
)

// sheetOf is a page of the messages numbered from up to to.
func sheetOf(from, to uint64, whole bool) sheet {
	s := sheet{last: store.NewPosition(1, 1, to), whole: whole}
	for n := from; n <= to; n++ {
		s.deliveries = append(s.deliveries, bayeux.NewDelivery(bayeux.DeliveryFields{Channel: "/a", Data: fmt.Append(nil, n)}))
		s.at = append(s.at, store.NewPosition(1, 1, n))
	}
	return s
}

// rack is pages with a store behind them that takes a second for a page.
type rack struct {
	t     *testing.T
	pages *pages
	key   pageKey
	loads atomic.Int64
}

func newRack(t *testing.T) *rack {
	return &rack{t: t, pages: newPages(1 << 20), key: pageKey{log: store.LogName{Feed: "f", Path: "p"}, channel: "/a/catchup/1h", after: store.NewPosition(1, 1, 256)}}
}

func (s *rack) get(ctx context.Context, upTo uint64, answer sheet, fault error) (sheet, error) {
	return s.pages.get(ctx, s.key, store.NewPosition(1, 1, upTo), func() (sheet, error) {
		s.loads.Add(1)
		select {
		case <-time.After(time.Second):
			return answer, fault
		case <-ctx.Done():
			return sheet{}, ctx.Err()
		}
	})
}

// ask has n walks ask at once, and returns how often the store was read for them.
func (s *rack) ask(n int, upTo uint64, answer sheet, fault error) int64 {
	before := s.loads.Load()
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			got, err := s.get(s.t.Context(), upTo, answer, fault)
			require.ErrorIs(s.t, err, fault)
			if err == nil {
				require.True(s.t, got.serves(store.NewPosition(1, 1, upTo)))
			}
		})
	}
	all.Wait()
	return s.loads.Load() - before
}

func TestPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRack(t)
		whole := sheetOf(257, 512, true)
		require.EqualValues(t, 1, s.ask(50, 9000, whole, nil), "a herd reads a page once")
		time.Sleep(pageAge - time.Second)
		require.Zero(t, s.ask(2, 9000, whole, nil))
		time.Sleep(pageAge - time.Second)
		require.Zero(t, s.ask(2, 9000, whole, nil), "it is remembered while it is used")
		require.Positive(t, s.pages.held())
		time.Sleep(pageAge + time.Second)
		s.pages.sweep()
		require.Empty(t, s.pages.byKey)
		require.Zero(t, s.pages.held())
		require.EqualValues(t, 1, s.pages.read.Load())
		require.EqualValues(t, 53, s.pages.shared.Load())

		require.EqualValues(t, 1, s.ask(3, 300, sheetOf(257, 300, false), nil), "the end of a log is shared, too")
		require.Zero(t, s.ask(3, 280, sheet{}, nil), "with those who need less")
		require.EqualValues(t, 1, s.ask(3, 310, sheetOf(257, 310, false), nil), "who needs more reads it for all")
		require.Zero(t, s.ask(3, 300, sheet{}, nil))
		require.EqualValues(t, 1, s.ask(3, 9000, whole, nil))
		s.pages.forget(s.key.log)
		require.Zero(t, s.pages.held())

		require.EqualValues(t, 1, s.ask(3, 9000, whole, errors.New("away")), "what keeps the store from answering is told to all")
		require.EqualValues(t, 3, s.ask(3, 9000, whole, io.EOF), "that one has nothing is its own")
		require.Empty(t, s.pages.byKey)
	})
}

// A walk gets what is due to it of a page that has more.
func TestPageIsCut(t *testing.T) {
	s := sheetOf(1, 10, true)
	f := func(upTo uint64, want int) {
		t.Helper()
		require.Len(t, s.upTo(store.NewPosition(1, 1, upTo)), want)
	}
	f(0, 0)
	f(1, 1)
	f(7, 7)
	f(10, 10)
	f(99, 10)
}

// The first to ask may go away: another one reads then, and a page that is forgotten
// while it is read goes to those who had asked, and to nobody else.
func TestPagesUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRack(t)
		page := sheetOf(257, 512, true)
		gone, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		ask := func(ctx context.Context, want error) {
			all.Go(func() {
				_, err := s.get(ctx, 9000, page, nil)
				require.ErrorIs(t, err, want)
			})
			synctest.Wait()
		}
		ask(gone, context.Canceled)
		for range 3 {
			ask(t.Context(), nil)
		}
		ask(gone, context.Canceled)
		cancel()
		synctest.Wait()
		require.EqualValues(t, 2, s.loads.Load())
		s.pages.forget(s.key.log)
		ask(t.Context(), nil)
		require.EqualValues(t, 3, s.loads.Load())
		s.pages.heed(false)
		all.Wait()
		require.EqualValues(t, 3, s.loads.Load())
		require.Zero(t, s.pages.held())

		require.EqualValues(t, 1, s.ask(3, 9000, page, nil))
		require.Zero(t, s.pages.held(), "who does not hear of withdrawals remembers nothing")
		s.pages.heed(true)
		require.EqualValues(t, 1, s.ask(3, 9000, page, nil))
		require.Positive(t, s.pages.held())
	})
}

func TestPagesAreBounded(t *testing.T) {
	const most = 8 << 20
	p := newPages(most)
	big := sheet{deliveries: []*bayeux.Delivery{bayeux.NewDelivery(bayeux.DeliveryFields{Channel: "/a", Data: make([]byte, 1<<20)})}, at: make([]store.Position, 1), whole: true}
	get := func(n uint64) (loaded bool) {
		_, err := p.get(t.Context(), pageKey{after: store.NewPosition(1, 1, n)}, store.NewPosition(2, 1, n), func() (sheet, error) {
			loaded = true
			return big, nil
		})
		require.NoError(t, err)
		require.LessOrEqual(t, p.held(), most)
		return loaded
	}
	for n := range uint64(100) {
		require.True(t, get(n))
		require.False(t, get(0), "what is in use stays")
	}
	require.False(t, get(0))
	require.True(t, get(1), "what is not goes first")
	require.Len(t, p.byKey, p.order.Len())
	require.EqualValues(t, 101-7, p.evicted.Load())
}

// Herds with other intervals, other ends and other roots share what they can, and
// each gets exactly its own.
func TestHerd(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		view, control := x.root("gala", channels.ClassView), x.root("gala", channels.ClassControl)
		x.say("gala", "chat", numbers(1, 700)...)
		time.Sleep(time.Minute)
		x.say("gala", "chat", numbers(701, 1300)...)
		var early []*peer
		for range 5 {
			p := x.join("")
			p.subscribe(view + "/chat/catchup/1h")
			early = append(early, p)
		}
		x.say("gala", "chat", numbers(1301, 1700)...)
		late, other, last := x.join(""), x.join(""), x.join("")
		late.subscribe(view + "/chat/catchup/30s")
		other.subscribe(control + "/chat/catchup/1h")
		last.subscribe(view + "/chat/catchup/1h")
		require.Equal(t, on(view+"/chat/catchup/1h", numbers(1, 1700)...), last.poll())
		for _, p := range early {
			require.Equal(t, on(view+"/chat/catchup/1h", numbers(1, 1300)...), p.poll())
		}
		require.Equal(t, on(view+"/chat/catchup/30s", numbers(701, 1700)...), late.poll())
		require.Equal(t, on(control+"/chat/catchup/1h", numbers(1, 1700)...), other.poll())
		// 1,700 messages are seven pages: read for the last one, whose pages serve the
		// early ones, for the other root, and, from 701 on, for the other interval.
		require.EqualValues(t, 7+7+5, x.b.pages.read.Load())
		require.EqualValues(t, 5*6, x.b.pages.shared.Load())
	})
}

// What is withdrawn comes to nobody who asks afterwards, on the node that was asked to
// withdraw it, and on others once they have heard of it; the pages of others stay.
func TestWithdrawnFromPages(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		view := x.root("gala", channels.ClassView)
		x.say("gala", "chat", numbers(1, 300)...)
		x.say("gala", "other", numbers(1, 300)...)
		for _, channel := range []string{"/chat", "/other"} {
			p := x.join("")
			p.subscribe(view + channel + "/catchup/1h")
			require.Len(t, p.poll(), 300)
		}
		read := x.b.pages.read.Load()
		var log store.LogName
		for key := range x.b.pages.byKey {
			if key.channel == view+"/chat/catchup/1h" {
				log = key.log
			}
		}
		page, err := x.store.Read(t.Context(), log, store.Range{Limits: store.Limits{Age: time.Hour}}, 300, 1<<20)
		require.NoError(t, err)
		require.NoError(t, x.store.Redact(t.Context(), log, page.Entries[9].Position))
		x.b.rewrote(log)
		p := x.join("")
		p.subscribe(view + "/chat/catchup/1h")
		require.Equal(t, on(view+"/chat/catchup/1h", append(numbers(1, 9), numbers(11, 300)...)...), p.poll())
		require.EqualValues(t, read+2, x.b.pages.read.Load())
		p.subscribe(view + "/other/catchup/1h")
		require.Len(t, p.poll(), 300)
		require.EqualValues(t, read+2, x.b.pages.read.Load())

		require.NoError(t, x.store.Redact(t.Context(), log, page.Entries[0].Position))
		x.b.hearNotice(t.Context(), []byte(`{"rewrote":{"Feed":"`+log.Feed+`","Path":"`+log.Path+`"}}`))
		p = x.join("")
		p.subscribe(view + "/chat/catchup/1h")
		require.Equal(t, on(view+"/chat/catchup/1h", append(numbers(2, 9), numbers(11, 300)...)...), p.poll())
	})
}

// What retention takes is in no catch-up that begins afterwards, whatever is remembered.
func TestExpiredFromPages(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, func(o *Options, _ *bayeux.Options) { o.Limits.History = 400 })
		view := x.root("gala", channels.ClassView)
		x.say("gala", "chat", numbers(1, 400)...)
		p := x.join("")
		p.subscribe(view + "/chat/catchup/1h")
		require.Len(t, p.poll(), 400)
		x.say("gala", "chat", numbers(401, 500)...)
		p = x.join("")
		p.subscribe(view + "/chat/catchup/1h")
		require.Equal(t, on(view+"/chat/catchup/1h", numbers(101, 500)...), p.poll())
	})
}

// BenchmarkHerd has 50 late joiners read 10,000 messages each, as a transport does.
func BenchmarkHerd(b *testing.B) {
	for _, messages := range []int{100, 10_000} {
		b.Run(fmt.Sprint(messages, " messages"), func(b *testing.B) {
			x := newBench(b, nil)
			root := x.root("gala", channels.ClassView)
			for n := range messages {
				x.say("gala", "chat", map[string]any{"text": "a message of the usual length", "n": n})
			}
			p := x.join("")
			sub := x.b.subscribers[sessionKey(p.id)]
			pattern, err := channels.ParsePattern(root + "/chat/catchup/1h")
			require.NoError(b, err)
			target, err := x.b.subscription(context.Background(), pattern, asker{now: x.b.opt.Now()})
			require.NoError(b, err)
			l := sub.listener(&target)
			tp, err := x.b.hub.holdTopic(context.Background(), target)
			require.NoError(b, err)
			const joiners = 50
			b.ReportAllocs()
			for b.Loop() {
				flows := make([]*flow, joiners)
				for i := range flows {
					replay, _, err := catchup.NewReplay(context.Background(), x.store, tp.log, tp.limits, time.Now().Add(-time.Hour), tp.last)
					require.NoError(b, err)
					flows[i] = &flow{listener: l, topic: tp, given: true, replays: []replaying{{channel: pattern.String(), replay: replay, unread: new(unread)}}}
				}
				got := 0
				for open := true; open; {
					open = false
					for _, f := range flows {
						page, err := f.Pull(context.Background(), 1000)
						got += len(page)
						open = open || !errors.Is(err, io.EOF)
					}
				}
				require.Equal(b, joiners*messages, got)
			}
		})
	}
}
