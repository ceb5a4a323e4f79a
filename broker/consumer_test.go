package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/stretchr/testify/require"
)

const streamToken = "6f46db36dd6543d2b82d91698fcd0896"

// newStreams is a bench whose account has streams.
func newStreams(t testing.TB, change func(*Options)) *bench {
	t.Helper()
	x := newBench(t, func(o *Options, _ *bayeux.Options) {
		o.Accounts[0].CDN, o.Accounts[0].StreamToken = 158, streamToken
		if change != nil {
			change(o)
		}
	})
	return x
}

// consumer is a peer of a stream: it takes what is written, or waits while it is held.
type consumer struct {
	x      *bench
	cancel context.CancelFunc
	ended  chan error

	mu      sync.Mutex
	events  []string // "type log_id" of data, "connection type", in order
	records []map[string]any
	ids     []string
	pokes   []Poke
	hold    chan struct{} // not nil: writes wait until it is closed
	broken  error         // what writes return
}

func (c *consumer) write() error {
	c.mu.Lock()
	hold := c.hold
	c.mu.Unlock()
	if hold != nil {
		<-hold
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broken
}

func (c *consumer) Records(all []catchup.Record) error {
	if err := c.write(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var w catchup.RecordWriter
	for i := range all {
		var m map[string]any
		if err := json.Unmarshal(w.AppendJSON(nil, &all[i]), &m); err != nil {
			return err
		}
		if all[i].Connection {
			c.events = append(c.events, "connection "+string(all[i].Type))
			continue
		}
		c.events = append(c.events, fmt.Sprint(m["type"], " ", m["log_id"]))
		c.records = append(c.records, m)
		c.ids = append(c.ids, all[i].Position.String())
	}
	return nil
}

func (c *consumer) Poke(p Poke) error {
	if err := c.write(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pokes = append(c.pokes, p)
	return nil
}

// take returns the events so far, and forgets them.
func (c *consumer) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.events
	c.events, c.ids = nil, nil
	return all
}

// seen is what has come so far, and was not taken.
func (c *consumer) seen() *consumer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &consumer{events: slices.Clone(c.events), records: slices.Clone(c.records), ids: slices.Clone(c.ids), pokes: slices.Clone(c.pokes)}
}

func (c *consumer) lastID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ids[len(c.ids)-1]
}

func (x *bench) streamAccount() *StreamAccount {
	x.t.Helper()
	a := x.b.StreamAccount(streamToken)
	require.NotNil(x.t, a)
	return a
}

func (x *bench) stream(spec StreamSpec) StreamView {
	x.t.Helper()
	s, err := x.b.CreateStream(context.Background(), x.streamAccount(), spec)
	require.NoError(x.t, err)
	return s
}

// connect begins to read a stream.
func (x *bench) connect(stream, lastEventID string) *consumer {
	return x.connectTo(x.b, stream, lastEventID)
}

func (x *bench) connectTo(b *Broker, stream, lastEventID string) *consumer {
	c := &consumer{x: x, ended: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	go func() { c.ended <- b.ConnectStream(ctx, x.streamAccount(), stream, lastEventID, c) }()
	synctest.Wait()
	return c
}

// leave is the peer's going.
func (c *consumer) leave() {
	c.x.t.Helper()
	c.cancel()
	require.NoError(c.x.t, <-c.ended)
	synctest.Wait()
}

// requireSettled sees to it that a stream has nothing for who connects now.
func (x *bench) requireSettled(stream string) {
	x.t.Helper()
	c := x.connect(stream, "")
	require.Empty(x.t, c.take())
	c.leave()
}

// file posts records of a type, with these log ids.
func (x *bench) file(kind string, ids ...string) {
	x.t.Helper()
	for _, id := range ids {
		x.fileText(fmt.Sprintf(`{"type":%q,"log_id":%q}`, kind, id))
	}
}

func (x *bench) fileText(text string) {
	x.t.Helper()
	_, err := x.b.PostRecords(context.Background(), &Identity{App: x.app, Role: RoleServer}, []RecordPost{{Data: []byte(text)}})
	require.NoError(x.t, err)
	x.settle()
}

func (x *bench) membersOf(stream string) int {
	x.t.Helper()
	s, err := x.b.Stream(context.Background(), x.streamAccount(), stream)
	require.NoError(x.t, err)
	return s.Members
}

func events(kind string, ids ...string) []string {
	all := []string{}
	for _, id := range ids {
		all = append(all, kind+" "+id)
	}
	return all
}

// pass lets time go by, and everything happen that is due then.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
