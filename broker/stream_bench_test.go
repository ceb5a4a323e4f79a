package broker

import (
	"context"
	"fmt"
	"testing"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/disk"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// counter is a peer that writes records as bytes and says when it has had so many.
type counter struct {
	left   int
	done   chan struct{}
	buf    []byte
	writer catchup.RecordWriter
}

func (c *counter) Records(all []catchup.Record) error {
	for i := range all {
		c.buf = c.writer.AppendJSON(c.buf[:0], &all[i])
	}
	if c.left -= len(all); c.left <= 0 {
		close(c.done)
		return errGone
	}
	return nil
}

func (c *counter) Poke(Poke) error { return nil }

// BenchmarkStreamReader reads a log of 100,000 records by a stream, from the store to
// JSON.
func BenchmarkStreamReader(b *testing.B) {
	const records = 100_000
	for _, backend := range []string{"memory", "disk"} {
		b.Run(backend, func(b *testing.B) {
			x := newStreams(b, func(o *Options) {
				if backend == "disk" {
					s, err := disk.Open(context.Background(), b.TempDir(), disk.Options{Log: zap.NewNop()})
					require.NoError(b, err)
					b.Cleanup(func() { require.NoError(b, s.Close()) })
					o.Store = s
				}
			})
			ctx := context.Background()
			x.root("show-7", 0)
			who := &Identity{App: x.app, Role: RoleServer}
			pubs := make([]Publication, 1000)
			for i := range pubs {
				pubs[i] = Publication{ObjectID: "show-7", Channel: "chat", Data: []byte(fmt.Sprintf(`{"text":"a message of some length, as people write them","n":%d}`, i))}
			}
			for range records / len(pubs) {
				require.NoError(b, x.b.PublishAll(ctx, who, pubs)[0].Err)
			}
			account := x.streamAccount()
			s := x.stream(StreamSpec{Name: "s"})
			b.ReportAllocs()
			b.ResetTimer()
			for b.Loop() {
				require.NoError(b, x.b.opt.Store.Seek(ctx, (&catchup.Stream{ID: s.ID}).Group("158"), store.Position{}))
				c := &counter{left: records, done: make(chan struct{})}
				require.NoError(b, x.b.ConnectStream(ctx, account, s.ID, "", c))
				<-c.done
			}
			b.ReportMetric(float64(b.N)*records/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// BenchmarkCopy is a publish over HTTP's way, of an account with streams and of one
// without.
func BenchmarkCopy(b *testing.B) {
	for _, streams := range []bool{false, true} {
		b.Run(fmt.Sprint("streams=", streams), func(b *testing.B) {
			x := newBench(b, func(o *Options, _ *bayeux.Options) {
				if streams {
					o.Accounts[0].CDN, o.Accounts[0].StreamToken = 158, streamToken
				}
			})
			x.root("show-7", 0)
			who := &Identity{App: x.app, Role: RoleServer}
			pub := []Publication{{ObjectID: "show-7", Channel: "chat", Data: []byte(`{"text":"a message of some length, as people write them","n":1}`)}}
			b.ReportAllocs()
			for b.Loop() {
				x.b.PublishAll(context.Background(), who, pub)
			}
		})
	}
}
