package redis

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/storetest"
)

// What 100,000 sessions write (broker/remember.go): a record each time that 7/16 of its
// life of 690 s are over, or, of one that stays behind, each 30 s.
const (
	heldSessions = 100_000
	renewedEach  = 302 * time.Second
	behindEach   = 30 * time.Second
)

// BenchmarkSessionRecord is what a session's record costs the server: 1 KiB, written by
// compare-and-set with an end, by 64 goroutines. core% is the share of one core of
// Redis that 100,000 sessions take which keep up, behind% if all of them stay behind;
// the bound promised is 10 for the first.
func BenchmarkSessionRecord(b *testing.B) {
	r := storetest.StartRedis(b, "--appendonly", "no")
	s := openStore(b, r.URL)
	own := direct(b, r)
	data := bytes.Repeat([]byte("r"), 1<<10)
	const writers, rows = 64, 100
	versions := make([][rows]uint64, writers)
	put := func(w, row int) error {
		v, err := s.Put(ctx, "session", fmt.Sprintf("%040d", w*rows+row), store.Put{Data: data, TTL: 690 * time.Second, IfVersion: &versions[w][row]})
		versions[w][row] = v
		return err
	}
	for w := range writers {
		for row := range rows {
			require.NoError(b, put(w, row))
		}
	}
	before := serverCPU(b, own)
	b.ReportAllocs()
	b.ResetTimer()
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := w; i < b.N; i += writers {
				if err := put(w, i/writers%rows); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	writing.Wait()
	b.StopTimer()
	each := (serverCPU(b, own) - before).Seconds() / float64(b.N)
	b.ReportMetric(each*1e6, "redis-µs/op")
	b.ReportMetric(100*each*heldSessions/renewedEach.Seconds(), "core%")
	b.ReportMetric(100*each*heldSessions/behindEach.Seconds(), "behind%")
}
