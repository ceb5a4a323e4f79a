package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/bayeux/client"
)

// both runs a conversation in a bubble over each transport. The client is closed
// at its end; a bubble fails when goroutines are left.
func both(t *testing.T, run func(t *testing.T, f *fake, c *client.Client), change ...func(*client.Options)) {
	for _, transport := range []string{client.WebSocket, client.LongPolling} {
		t.Run(transport, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startFake(t)
				o := f.options(transport)
				for _, c := range change {
					c(&o)
				}
				c, err := client.New(o)
				require.NoError(t, err)
				defer func() { _ = c.Close(context.Background()) }() // where run fails
				run(t, f, c)
				require.NoError(t, c.Close(t.Context()))
			})
		})
	}
}

// box collects what a handler is given.
type box struct {
	mu  sync.Mutex
	all []client.Message
}

func (b *box) put(m client.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = append(b.all, m)
}

func (b *box) messages() []client.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all
}

// data returns the data of all messages, once everything is quiet.
func (b *box) data() []string {
	synctest.Wait()
	all := []string{}
	for _, m := range b.messages() {
		all = append(all, string(m.Data))
	}
	return all
}

func TestRoundTrip(t *testing.T) {
	both(t, func(t *testing.T, f *fake, c *client.Client) {
		var got box
		sub, err := c.Subscribe(t.Context(), "/chat/room", got.put)
		require.NoError(t, err)
		require.Nil(t, sub.CatchUp())
		ack, err := c.Publish(t.Context(), "/chat/room", map[string]int{"n": 1})
		require.NoError(t, err)
		require.NotEmpty(t, ack.ID)
		_, err = c.Publish(t.Context(), "/chat/room", json.RawMessage(`{"big":12345678901234567890, "html":"<"}`))
		require.NoError(t, err)
		require.Equal(t, []string{`{"n":1}`, `{"big":12345678901234567890,"html":"\u003c"}`}, got.data())
		m := got.messages()[0]
		require.Equal(t, "/chat/room", m.Channel)
		require.Equal(t, positionID(7, 0), m.ID)
		require.Equal(t, m.ID, m.History.ID)
		require.Equal(t, int64(1700000000123), m.History.TS.UnixMilli())
		require.False(t, m.History.Replay)
		require.Equal(t, client.Connected, c.State())

		require.NoError(t, sub.Unsubscribe(t.Context()))
		require.NoError(t, sub.Err())
		f.deliver("/chat/room", `2`)
		require.Len(t, got.data(), 2)
	})
}

func TestDataStaysByteForByte(t *testing.T) {
	both(t, func(t *testing.T, f *fake, c *client.Client) {
		raw := `{"a": 12345678901234567890, "b":"<&>"}`
		_, err := c.Publish(t.Context(), "/x/y", json.RawMessage(raw))
		require.NoError(t, err)
		require.Equal(t, raw, string(f.of("/x/y")[0].Data))
	})
}

func TestRefusals(t *testing.T) {
	both(t, func(t *testing.T, f *fake, c *client.Client) {
		var refusal *client.Error
		_, err := c.Subscribe(t.Context(), "/forbidden/a", func(client.Message) {})
		require.ErrorAs(t, err, &refusal)
		require.Equal(t, &client.Error{Code: 403, Args: []string{"/forbidden/a"}, Text: "Forbidden channel"}, refusal)
		_, err = c.Publish(t.Context(), "/forbidden/b", 1)
		require.ErrorAs(t, err, &refusal)
		require.Equal(t, []string{"/forbidden/b"}, refusal.Args)
		_, err = c.Publish(t.Context(), "/x", json.RawMessage(`{`))
		require.ErrorContains(t, err, "not valid json")
		_, err = c.Publish(t.Context(), "/x", func() {})
		require.ErrorContains(t, err, "client: publish: data")
		require.Equal(t, int64(2), c.Stats().Refused)
	})
}

func TestPatterns(t *testing.T) {
	both(t, func(t *testing.T, f *fake, c *client.Client) {
		var one, deep, exact box
		for ch, b := range map[string]*box{"/a/*": &one, "/**": &deep, "/a/b": &exact} {
			_, err := c.Subscribe(t.Context(), ch, b.put)
			require.NoError(t, err)
		}
		f.deliver("/a/b", `1`)
		f.deliver("/a/b/c", `2`)
		f.deliver("/x/b", `3`)
		require.Equal(t, []string{`1`}, one.data())
		require.Equal(t, []string{`1`, `2`, `3`}, deep.data())
		require.Equal(t, []string{`1`}, exact.data())
	})
}

func TestCatchUpAcknowledged(t *testing.T) {
	both(t, func(t *testing.T, f *fake, c *client.Client) {
		for i := range 3 {
			f.deliver("/x/all", fmt.Sprint(i))
		}
		var first, second box
		sub, err := c.Subscribe(t.Context(), "/x/all/catchup/999h", first.put)
		require.NoError(t, err)
		require.Equal(t, &client.CatchUp{Messages: 3, Truncated: true}, sub.CatchUp())
		require.Equal(t, []string{"0", "1", "2"}, first.data())
		require.Equal(t, "/x/all/catchup/999h", first.messages()[0].Channel)

		// A second subscriber is given the whole past, the first nothing twice.
		_, err = c.Subscribe(t.Context(), "/x/all/catchup/999h", second.put)
		require.NoError(t, err)
		require.Equal(t, []string{"0", "1", "2"}, second.data())
		require.Len(t, first.data(), 3)
	})
}

func TestBrokenLinkResumesTheSession(t *testing.T) {
	both(t, func(t *testing.T, f *fake, c *client.Client) {
		var got box
		_, err := c.Subscribe(t.Context(), "/x/y", got.put)
		require.NoError(t, err)
		id := c.SessionID()
		f.deliver("/x/y", `1`)
		require.Equal(t, []string{`1`}, got.data())
		time.Sleep(time.Second)
		f.pipe.setRefuse(true)
		f.breakLinks()
		time.Sleep(5 * time.Second)
		require.NotEqual(t, client.Connected, c.State())
		f.deliver("/x/y", `2`)
		f.pipe.setRefuse(false)
		time.Sleep(time.Minute)
		require.Equal(t, client.Connected, c.State())
		require.Equal(t, []string{`1`, `2`}, got.data())
		require.Equal(t, id, c.SessionID())
		require.Len(t, f.of("/meta/handshake"), 1)
		require.Len(t, f.of("/meta/subscribe"), 1)
	})
}

func TestLostSessionIsRenewed(t *testing.T) {
	both(t, func(t *testing.T, f *fake, c *client.Client) {
		var past, live box
		for i := range 3 {
			f.deliver("/x/y", fmt.Sprint(i))
		}
		_, err := c.Subscribe(t.Context(), "/x/y", live.put)
		require.NoError(t, err)
		_, err = c.Subscribe(t.Context(), "/x/y/catchup/6h", past.put)
		require.NoError(t, err)
		f.deliver("/x/y", `3`)
		require.Equal(t, []string{"0", "1", "2"}, past.data())
		require.Equal(t, []string{"3"}, live.data())

		f.forget()
		f.deliver("/x/y", `4`) // reaches nobody: only the replay has it
		f.breakLinks()
		time.Sleep(time.Minute)
		f.deliver("/x/y", `5`)
		require.Equal(t, []string{"0", "1", "2", "4"}, past.data())
		require.Equal(t, []string{"3", "5"}, live.data())
		require.Len(t, f.of("/meta/handshake"), 2)
		subs := f.of("/meta/subscribe")
		require.Len(t, subs, 4)
		require.Equal(t, "/x/y/catchup/6h", subs[2].Subscription, "the past comes before the live")
		require.Equal(t, int64(4), c.Stats().Repeats)
	})
}

func TestLiveChannelIsMendedAfterALostSession(t *testing.T) {
	both(t, func(t *testing.T, f *fake, c *client.Client) {
		f.deliver("/x/y", `"before it subscribed"`)
		var got, silent, all box
		_, err := c.Subscribe(t.Context(), "/x/y", got.put)
		require.NoError(t, err)
		_, err = c.Subscribe(t.Context(), "/x/silent", silent.put)
		require.NoError(t, err)
		_, err = c.Subscribe(t.Context(), "/x/*", all.put)
		require.NoError(t, err)
		f.deliver("/x/y", `1`)
		synctest.Wait()
		f.forget()
		f.deliver("/x/y", `2`)
		f.breakLinks()
		time.Sleep(time.Minute)
		f.deliver("/x/y", `3`)
		require.Equal(t, []string{"1", "2", "3"}, got.data())
		require.Equal(t, "/x/y", got.messages()[1].Channel)
		require.Equal(t, []string{"1", "3"}, all.data(), "patterns are not mended")
		require.Empty(t, silent.data())
		subs := f.of("/meta/subscribe")
		require.Len(t, subs, 7)
		require.Regexp(t, `^/x/y/catchup/6\ds$`, subs[3].Subscription)
	})
}

func TestPublishIsSentAgainWithItsID(t *testing.T) {
	both(t, func(t *testing.T, f *fake, c *client.Client) {
		require.NoError(t, c.Connect(t.Context()))
		n := 0
		f.setHook(func(m, _ *msg) do {
			if m.Channel == "/x/y" {
				if n++; n == 1 {
					return cut
				}
			}
			return answer
		})
		_, err := c.Publish(t.Context(), "/x/y", 1)
		require.NoError(t, err)
		sent := f.of("/x/y")
		require.Len(t, sent, 2)
		require.Equal(t, sent[0], sent[1])
		f.mu.Lock()
		require.Len(t, f.history["/x/y"], 1)
		f.mu.Unlock()
		require.Equal(t, int64(1), c.Stats().Resent)
	})
}

func TestPublishOnALostSessionGoesToTheNext(t *testing.T) {
	both(t, func(t *testing.T, f *fake, c *client.Client) {
		require.NoError(t, c.Connect(t.Context()))
		synctest.Wait()
		f.forget()
		_, err := c.Publish(t.Context(), "/x/y", 1)
		require.NoError(t, err)
		require.Equal(t, "session2", c.SessionID())
		require.Equal(t, int64(1), c.Stats().UnknownSessionCalls)
	})
}

func TestALostPollIsRepeatedAsItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		c, err := client.New(f.options(client.LongPolling))
		require.NoError(t, err)
		require.NoError(t, c.Connect(t.Context()))
		synctest.Wait()
		f.breakLinks()
		time.Sleep(5 * time.Second)
		sent := f.of("/meta/connect")
		require.GreaterOrEqual(t, len(sent), 2)
		require.Equal(t, sent[0], sent[1])
		require.NoError(t, c.Close(t.Context()))
	})
}

func TestRepeatsAreDroppedNotTheOld(t *testing.T) {
	both(t, func(t *testing.T, f *fake, c *client.Client) {
		var got box
		_, err := c.Subscribe(t.Context(), "/x/y", got.put)
		require.NoError(t, err)
		send := func(n uint64, data string) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.sendLocked(msg{Channel: "/x/y", ID: positionID(1, n), Data: json.RawMessage(data)})
		}
		for _, n := range []uint64{5, 9, 5, 7, 9, 8, 6, 7} {
			send(n, fmt.Sprint(n))
		}
		require.Equal(t, []string{"5", "9", "7", "8", "6"}, got.data())
		// Ids that are no positions need not be unique.
		for range 2 {
			f.mu.Lock()
			f.sendLocked(msg{Channel: "/x/y", ID: "1", Data: json.RawMessage(`"plain"`)})
			f.mu.Unlock()
		}
		require.Len(t, got.data(), 7)
	})
}

func TestAdvice(t *testing.T) {
	refuse := func(advice *adviceJSON, text string) func(m, r *msg) do {
		return func(m, r *msg) do {
			if m.Channel == "/meta/handshake" {
				no := false
				r.Successful, r.Error, r.Advice = &no, text, advice
			}
			return answer
		}
	}
	t.Run("none stops", func(t *testing.T) {
		both(t, func(t *testing.T, f *fake, c *client.Client) {
			f.setHook(refuse(&adviceJSON{Reconnect: "none"}, "403::Bad token"))
			_, err := c.Publish(t.Context(), "/x/y", 1)
			require.ErrorIs(t, err, client.ErrStopped)
			var refusal *client.Error
			require.ErrorAs(t, err, &refusal)
			require.Equal(t, "Bad token", refusal.Text)
			<-c.Done()
			require.Equal(t, client.Closed, c.State())
			require.ErrorIs(t, c.Err(), client.ErrStopped)
			require.ErrorIs(t, c.Connect(t.Context()), client.ErrStopped)
			require.Len(t, f.of("/meta/handshake"), 1)
		})
	})
	t.Run("interval is kept", func(t *testing.T) {
		both(t, func(t *testing.T, f *fake, c *client.Client) {
			f.setHook(refuse(&adviceJSON{Reconnect: "handshake", Interval: 60000}, "503::Service unavailable"))
			ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
			defer cancel()
			require.ErrorIs(t, c.Connect(ctx), context.DeadlineExceeded)
			require.Len(t, f.of("/meta/handshake"), 3)
		})
	})
	t.Run("no interval is no hot loop", func(t *testing.T) {
		both(t, func(t *testing.T, f *fake, c *client.Client) {
			f.setHook(refuse(&adviceJSON{Reconnect: "handshake"}, "500::Internal server error"))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			require.ErrorIs(t, c.Connect(ctx), context.DeadlineExceeded)
			n := len(f.of("/meta/handshake"))
			require.Greater(t, n, 4)
			require.Less(t, n, 14)
		})
	})
	t.Run("a connect answered with none ends the client", func(t *testing.T) {
		both(t, func(t *testing.T, f *fake, c *client.Client) {
			f.setHook(func(m, r *msg) do {
				if m.Channel == "/meta/connect" {
					no := false
					r.Successful, r.Error, r.Advice = &no, "403::Kicked", &adviceJSON{Reconnect: "none"}
				}
				return answer
			})
			if err := c.Connect(t.Context()); err != nil { // it may end before we look
				require.ErrorIs(t, err, client.ErrStopped)
			}
			<-c.Done()
			require.ErrorIs(t, c.Err(), client.ErrStopped)
		})
	})
}

func TestSubscriptionLostOnRenewal(t *testing.T) {
	both(t, func(t *testing.T, f *fake, c *client.Client) {
		sub, err := c.Subscribe(t.Context(), "/x/y", func(client.Message) {})
		require.NoError(t, err)
		tries := 0
		f.setHook(func(m, r *msg) do {
			if m.Channel == "/meta/subscribe" {
				no := false
				r.Successful, r.Error = &no, "403:/x/y:Forbidden channel"
				if tries++; tries == 1 { // what may pass is tried again
					r.Error = "503::Service unavailable"
				}
			}
			return answer
		})
		f.forget()
		f.breakLinks()
		<-sub.Done()
		var refusal *client.Error
		require.ErrorAs(t, sub.Err(), &refusal)
		require.Equal(t, 403, refusal.Code)
		require.Equal(t, 2, tries)
		require.Equal(t, client.Connected, c.State())
	})
}

func TestStatesAreTold(t *testing.T) {
	var mu sync.Mutex
	var states []client.State
	both(t, func(t *testing.T, f *fake, c *client.Client) {
		states = nil
		require.NoError(t, c.Connect(t.Context()))
		synctest.Wait()
		f.forget()
		f.breakLinks()
		time.Sleep(time.Minute)
		require.NoError(t, c.Close(t.Context()))
		require.Equal(t, []client.State{client.Connecting, client.Connected, client.Waiting, client.Connecting}, states[:4])
		require.Equal(t, []client.State{client.Connected, client.Closed}, states[len(states)-2:])
	}, func(o *client.Options) {
		o.OnState = func(s client.State, _ error) {
			mu.Lock()
			defer mu.Unlock()
			states = append(states, s)
		}
	})
}

func TestClose(t *testing.T) {
	both(t, func(t *testing.T, f *fake, c *client.Client) {
		var got box
		sub, err := c.Subscribe(t.Context(), "/x/y", got.put)
		require.NoError(t, err)
		f.setHook(func(m, _ *msg) do {
			if m.Channel == "/x/z" {
				return swallow
			}
			return answer
		})
		waiting := make(chan error, 1)
		go func() {
			_, err := c.Publish(context.Background(), "/x/z", 1)
			waiting <- err
		}()
		synctest.Wait()
		require.NoError(t, c.Close(t.Context()))
		require.ErrorIs(t, <-waiting, client.ErrClosed)
		require.Len(t, f.of("/meta/disconnect"), 1)
		<-sub.Done()
		require.ErrorIs(t, sub.Err(), client.ErrClosed)
		_, err = c.Publish(t.Context(), "/x/y", 1)
		require.ErrorIs(t, err, client.ErrClosed)
		require.ErrorIs(t, c.Err(), client.ErrClosed)
	})
	unused, err := client.New(client.Options{URL: "ws://nowhere/faye"})
	require.NoError(t, err)
	require.NoError(t, unused.Close(t.Context()))
	_, err = unused.Subscribe(t.Context(), "/x", func(client.Message) {})
	require.ErrorIs(t, err, client.ErrClosed)
}

func TestCallsEndWithTheirContext(t *testing.T) {
	both(t, func(t *testing.T, f *fake, c *client.Client) {
		f.pipe.setRefuse(true)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err := c.Subscribe(ctx, "/x/y", func(client.Message) {})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Greater(t, f.pipe.dialed(), 1)
		_, err = c.Publish(ctx, "/x/y", 1)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		f.pipe.setRefuse(false)
		time.Sleep(time.Minute)
		require.Empty(t, f.of("/x/y"), "a publish that was given up is not sent later")
		require.Empty(t, f.of("/meta/subscribe"))
	})
}

func TestMaxCalls(t *testing.T) {
	both(t, func(t *testing.T, f *fake, c *client.Client) {
		f.setHook(func(m, _ *msg) do {
			if m.Channel == "/x/z" {
				return swallow
			}
			return answer
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		errs := make(chan error, 3)
		for range 3 {
			go func() { _, err := c.Publish(ctx, "/x/z", 1); errs <- err }()
		}
		for range 3 {
			require.ErrorIs(t, <-errs, context.DeadlineExceeded)
		}
		require.Len(t, f.of("/x/z"), 2)
	}, func(o *client.Options) { o.MaxCalls = 2 })
}

func TestSlowHandlerHoldsTheServerUp(t *testing.T) {
	both(t, func(t *testing.T, f *fake, c *client.Client) {
		release := make(chan struct{})
		var got box
		_, err := c.Subscribe(t.Context(), "/x/y", func(m client.Message) { <-release; got.put(m) })
		require.NoError(t, err)
		for i := range 50 {
			f.deliver("/x/y", fmt.Sprint(i))
			synctest.Wait()
		}
		require.Positive(t, c.Stats().InboxFull)
		require.Less(t, c.Stats().Received, int64(50))
		close(release)
		time.Sleep(2 * time.Minute)
		require.Len(t, got.data(), 50)
	}, func(o *client.Options) { o.MaxInbox = 4 })
}

func TestHandlerMayPublish(t *testing.T) {
	both(t, func(t *testing.T, f *fake, c *client.Client) {
		var errs []error
		n := 0
		_, err := c.Subscribe(t.Context(), "/ping/a", func(client.Message) {
			_, err := c.Publish(t.Context(), "/pong/a", 1)
			errs = append(errs, err)
			n++
		})
		require.NoError(t, err)
		for range 10 {
			f.deliver("/ping/a", `1`)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, 10, n)
		require.NoError(t, errors.Join(errs...))
	}, func(o *client.Options) { o.MaxInbox = 4 })
}

func TestTokenAndHeader(t *testing.T) {
	both(t, func(t *testing.T, f *fake, c *client.Client) {
		require.NoError(t, c.Connect(t.Context()))
		require.JSONEq(t, `{"token":"a\"b"}`, string(f.of("/meta/handshake")[0].Ext))
	}, func(o *client.Options) {
		o.Token = `a"b`
		o.Header = http.Header{"X-Test": {"1"}}
	})
}

func TestSilentServerIsLeft(t *testing.T) {
	both(t, func(t *testing.T, f *fake, c *client.Client) {
		f.setHook(func(m, _ *msg) do {
			if m.Channel == "/meta/connect" {
				return swallow
			}
			return answer
		})
		require.NoError(t, c.Connect(t.Context()))
		time.Sleep(2 * time.Minute)
		require.Greater(t, c.Stats().Links, int64(1))
	})
}

func TestOptions(t *testing.T) {
	_, err := client.New(client.Options{URL: "ftp://x", Transport: "pigeon", MinRetry: -1, MaxCalls: -1})
	for _, part := range []string{"url", "transport", "durations", "bounds"} {
		require.ErrorContains(t, err, "client: options: "+part)
	}
}
