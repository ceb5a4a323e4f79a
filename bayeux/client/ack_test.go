package client_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/bayeux/client"
	"github.com/gobelin-broker/gobelin/channels"
)

// everybody is an application where everybody hears everything, numbered, with ids
// that say nothing of repeats.
type everybody struct {
	mu       sync.Mutex
	sessions []*bayeux.Session
	next     int
}

func (e *everybody) Handshake(_ context.Context, s *bayeux.Session, _ *bayeux.Message) (bayeux.SessionHandler, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sessions = append(e.sessions, s)
	return listener{}, nil
}

func (e *everybody) Publish(_ context.Context, _ bayeux.Peer, _ *bayeux.Message, done func(bayeux.Ack, error)) {
	done(bayeux.Ack{}, nil)
}

func (e *everybody) deliver() {
	e.mu.Lock()
	defer e.mu.Unlock()
	d := bayeux.NewDelivery(bayeux.DeliveryFields{Channel: "/x", ID: fmt.Sprint("m", e.next), Data: fmt.Append(nil, e.next)})
	e.next++
	for _, s := range e.sessions {
		s.Deliver(d)
	}
}

type listener struct{}

func (listener) Subscribe(context.Context, *bayeux.Message, []channels.Pattern) ([]byte, error) {
	return nil, nil
}

func (listener) Unsubscribe(context.Context, *bayeux.Message, []channels.Pattern) error { return nil }

func (listener) Publish(_ context.Context, _ *bayeux.Message, done func(bayeux.Ack, error)) {
	done(bayeux.Ack{}, nil)
}
func (listener) Connect(context.Context, *bayeux.Message) error { return nil }
func (listener) Close(string)                                   {}

// With the ack extension nothing is lost and nothing comes twice, whenever the link
// breaks; a client that does not ask for it hears as ever.
func TestAckExtension(t *testing.T) {
	const messages = 600
	for _, transport := range []string{client.WebSocket, client.LongPolling} {
		t.Run(transport, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				app := &everybody{}
				server := bayeux.NewServer(app, bayeux.Options{})
				pipe := newPipes()
				web := &http.Server{Handler: server}
				var serving sync.WaitGroup
				serving.Go(func() { _ = web.Serve(pipe) })
				c, err := client.New(client.Options{
					URL: "http://fake/faye", Transport: transport, Dial: pipe.dial, Ack: true,
					MinRetry: 5 * time.Millisecond, MaxRetry: 20 * time.Millisecond,
				})
				require.NoError(t, err)
				var got box
				_, err = c.Subscribe(t.Context(), "/x", got.put)
				require.NoError(t, err)
				for i := range messages {
					app.deliver()
					time.Sleep(time.Duration(i%7) * time.Millisecond)
					if i%3 == 0 {
						pipe.closeAll()
					}
				}
				time.Sleep(time.Minute)
				var want []string
				for i := range messages {
					want = append(want, fmt.Sprint(i))
				}
				require.Equal(t, want, got.data())
				require.Greater(t, c.Stats().Links, int64(40))
				require.Equal(t, int64(1), c.Stats().Handshakes)
				require.Positive(t, server.Stats().Resent, "no answer was lost, so nothing was shown")
				require.NoError(t, c.Close(t.Context()))
				require.NoError(t, server.Shutdown(t.Context()))
				require.NoError(t, web.Close())
				serving.Wait()
			})
		})
	}
}

// A server without the extension, and a client with it.
func TestAckExtensionNotGranted(t *testing.T) {
	both(t, func(t *testing.T, f *fake, c *client.Client) {
		var got box
		_, err := c.Subscribe(t.Context(), "/x", got.put)
		require.NoError(t, err)
		f.deliver("/x", "1")
		require.Equal(t, []string{"1"}, got.data())
		require.JSONEq(t, `{"token":"t\"1","ack":true}`, string(f.of("/meta/handshake")[0].Ext))
		for _, m := range f.of("/meta/connect") {
			require.Nil(t, m.Ext)
		}
	}, func(o *client.Options) { o.Ack, o.Token = true, `t"1` })
}
