package storetest

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// payload is the 200 bytes that store.md §2.2 measures with.
var payload = func() []byte {
	b := make([]byte, 200)
	for i := range b {
		b[i] = byte('a' + i*7%26)
	}
	return b
}()

// Bench measures a backend: appends one at a time and many at once, these with copies,
// too, a page of 1,000, taken by a group and settled as well, a head, 500 heads, who of a
// feed of 100 logs spoke among 10,000 logs.
func Bench(b *testing.B, open Open) {
	b.Run("Append", func(b *testing.B) {
		s := open(b, time.Now)
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			i++
			if _, err := Append(s, name(fmt.Sprint(i%1000)), keep, store.Record{Data: payload}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("AppendParallel", func(b *testing.B) { benchAppend(b, open(b, time.Now), store.Record{Data: payload}) })
	b.Run("AppendWithCopy", func(b *testing.B) {
		benchAppend(b, open(b, time.Now), store.Record{Data: payload, Copy: &store.Copy{To: account, Limits: keep}})
	})
	b.Run("TakeAndSettle", func(b *testing.B) { benchTake(b, open(b, time.Now)) })
	b.Run("ReadPage", func(b *testing.B) {
		s := open(b, time.Now)
		fill(b, s, 5000)
		b.ReportAllocs()
		b.SetBytes(1000 * int64(len(payload)))
		for b.Loop() {
			p, err := s.Read(ctx, name("full"), store.Range{Limits: keep}, 1000, 1<<20)
			if err != nil || len(p.Entries) != 1000 {
				b.Fatal(len(p.Entries), err)
			}
		}
	})
	b.Run("Head", func(b *testing.B) {
		s := open(b, time.Now)
		fill(b, s, 5000)
		b.ReportAllocs()
		for b.Loop() {
			if h, err := s.Head(ctx, name("full"), keep); err != nil || h.Last.IsZero() {
				b.Fatal(h, err)
			}
		}
	})
	b.Run("Many", func(b *testing.B) { benchMany(b, open) })
}

// benchAppend measures many publishers in many logs. Copies have arrived when it is over.
func benchAppend(b *testing.B, s store.Store, r store.Record) {
	names := make([]store.LogName, 10_000)
	for i := range names {
		names[i] = name(fmt.Sprint(i))
	}
	var next atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(64)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := int(next.Add(1)*7919) % len(names)
			if _, err := Append(s, names[i], keep, r); err != nil {
				b.Error(err)
				return
			}
		}
	})
	for {
		lag, err := s.Lag(ctx)
		if err != nil {
			b.Fatal(err)
		}
		if lag.Waiting == 0 {
			return
		}
		runtime.Gosched()
	}
}

// benchTake measures a group that takes pages of 1,000 small records and settles them.
func benchTake(b *testing.B, s store.Store) {
	fill(b, s, 100_000)
	g := store.GroupName{Log: name("full"), Name: "stream"}
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		got, err := s.Take(ctx, g, keep, "a", 1000, 1<<20)
		if err == nil && len(got.Entries) == 0 {
			err = s.Seek(ctx, g, store.Position{})
		}
		if err == nil {
			err = s.Settle(ctx, g, places(got.Entries))
		}
		if err != nil {
			b.Fatal(err)
		}
		n += len(got.Entries)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}

// benchMany measures what asks for many logs at once.
func benchMany(b *testing.B, open Open) {
	s := open(b, time.Now)
	var logs []store.LogName
	for i := range 10_000 {
		log := store.LogName{Feed: feedOf(i / 100), Path: fmt.Sprint(i % 100)}
		logs = append(logs, log)
		if _, err := Append(s, log, keep, store.Record{Data: payload}); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("Heads", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if h, err := s.Heads(ctx, logs[:500]); err != nil || h[499].IsZero() {
				b.Fatal(h, err)
			}
		}
	})
	b.Run("Spoke", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if l, more, err := s.Spoke(ctx, feedOf(7), time.Time{}, 1000); err != nil || len(l) != 100 || more {
				b.Fatal(len(l), more, err)
			}
		}
	})
}

func fill(b *testing.B, s store.Store, n int) {
	records := make([]store.Record, 100)
	for i := range records {
		records[i].Data = payload
	}
	for range n / len(records) {
		if _, err := Append(s, name("full"), keep, records...); err != nil {
			b.Fatal(err)
		}
	}
}
