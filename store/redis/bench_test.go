package redis

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/storetest"
)

// payload is the 200 bytes that store.md §3.1 measures with.
var payload = []byte(strings.Repeat("gobelins weave. ", 13)[:200])

func BenchmarkContract(b *testing.B) {
	r := storetest.StartRedis(b, "--appendonly", "no")
	storetest.Bench(b, func(t testing.TB, _ func() time.Time) store.Store { return openStore(t, r.URL) })
}

// serverCPU returns the time that a server has computed.
func serverCPU(b *testing.B, own *goredis.Client) time.Duration {
	b.Helper()
	info, err := own.Info(ctx, "cpu").Result()
	require.NoError(b, err)
	var sum float64
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_user" || name == "used_cpu_sys" {
			v, err := strconv.ParseFloat(value, 64)
			require.NoError(b, err)
			sum += v
		}
	}
	return time.Duration(sum * float64(time.Second))
}

const (
	benchLogs       = 10_000
	benchPublishers = 1024
)

func benchName(i int) store.LogName {
	i %= benchLogs
	return store.LogName{Feed: fmt.Sprint("object/", i), Path: "chat"}
}

// publishers calls publish from many goroutines until the benchmark is over, each
// with its turn.
func publishers(b *testing.B, n int, publish func(i int) error) {
	b.Helper()
	var next atomic.Int64
	var publishing sync.WaitGroup
	for range n {
		publishing.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= b.N {
					return
				}
				if err := publish(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	publishing.Wait()
}

// BenchmarkPublishCost is what a publish costs the server: our whole way, beside
// the script sent by hand in pipelines, and beside the least script that keeps,
// trims and announces (store.md §3.1).
func BenchmarkPublishCost(b *testing.B) {
	r := storetest.StartRedis(b, "--appendonly", "no")
	own := direct(b, r)
	measure := func(name string, run func(b *testing.B, s *Store)) float64 {
		var per float64
		b.Run(name, func(b *testing.B) {
			s := openStore(b, r.URL)
			byHand(b, s, benchLogs, 0) // the logs are there
			b.ReportAllocs()
			b.ResetTimer()
			before := serverCPU(b, own)
			run(b, s)
			b.StopTimer()
			per = float64(serverCPU(b, own)-before) / float64(time.Microsecond) / float64(b.N)
			b.ReportMetric(per, "redis-µs/publish")
		})
		return per
	}
	ours := measure("Ours", func(b *testing.B, s *Store) {
		publishers(b, benchPublishers, func(i int) error {
			_, err := storetest.Append(s, benchName(i*7919), keep, store.Record{Data: payload})
			return err
		})
	})
	copied := measure("OursWithCopy", func(b *testing.B, s *Store) {
		publishers(b, benchPublishers, func(i int) error {
			_, err := storetest.Append(s, benchName(i*7919), keep, store.Record{Data: payload, Copy: &store.Copy{To: account, Limits: keep}})
			return err
		})
		for waitingOf(b, s) > 0 {
			runtime.Gosched()
		}
	})
	script := measure("Script", func(b *testing.B, s *Store) { byHand(b, s, b.N, 7919) })
	least := measure("Least", func(b *testing.B, s *Store) { byLeast(b, s, b.N) })
	b.Logf("Redis CPU per publish: ours %.1f µs, the script by hand %.1f µs (ratio %.2f), the least script %.1f µs (ratio %.2f), with a copy, there and moved, %.1f µs (ratio %.2f)",
		ours, script, ours/script, least, ours/least, copied, copied/ours)
}

// byHand sends the append script in pipelines of maxFlight.
func byHand(b *testing.B, s *Store, n, stride int) {
	b.Helper()
	require.NoError(b, appendScript.Load(ctx, s.client).Err())
	for i := 0; i < n; {
		pipe := s.client.Pipeline()
		for range min(n-i, maxFlight) {
			c := &call{log: benchName(i * max(stride, 1)), limits: keep}
			c.join(&submit{records: []store.Record{{Data: payload}}, bytes: len(payload)})
			_ = pipe.Process(ctx, goredis.NewCmd(ctx, c.command(s, false)...))
			i++
		}
		_, err := pipe.Exec(ctx)
		require.NoError(b, err)
	}
}

// leastScript is position, record, trim, expiry and announcement, and no more.
var leastScript = goredis.NewScript(`
local meta = redis.call('GET', KEYS[1])
local time = redis.call('TIME')
local ms, n, epoch = time[1] * 1000 + math.floor(time[2] / 1000), 0, ARGV[1]
if meta then
  local last
  last, n, epoch = struct.unpack('>I6I6c4', meta)
  ms = math.max(ms, last)
end
n = n + 1
redis.call('SET', KEYS[1], struct.pack('>I6I6c4', ms, n, epoch), 'PX', ARGV[2])
local id = string.format('%.0f-%.0f', ms, n)
redis.call('XADD', KEYS[2], 'MINID', '~', string.format('%.0f', ms - ARGV[3]), id, 'd', ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.call('PUBLISH', ARGV[5], id .. ARGV[4])
return id`)

func byLeast(b *testing.B, s *Store, n int) {
	b.Helper()
	require.NoError(b, leastScript.Load(ctx, s.client).Err())
	for i := 0; i < n; {
		pipe := s.client.Pipeline()
		for range min(n-i, maxFlight) {
			name := benchName(i * 7919)
			p, log := partition(name.Feed), "least"+logText(name)
			leastScript.EvalSha(ctx, pipe, []string{s.keys.meta(p, log), s.keys.stream(p, log)},
				"abcd", (25 * time.Hour).Milliseconds(), time.Hour.Milliseconds(), payload, s.keys.live(p, name.Feed))
			i++
		}
		_, err := pipe.Exec(ctx)
		require.NoError(b, err)
	}
}

// BenchmarkGather is what gathering is good for: publishers that all wait for their
// answers, gathered, and each with a command of its own.
func BenchmarkGather(b *testing.B) {
	r := storetest.StartRedis(b, "--appendonly", "no")
	rate := func(name string, publish func(s *Store, i int) error) float64 {
		var per float64
		b.Run(name, func(b *testing.B) {
			s := openStore(b, r.URL)
			byHand(b, s, benchLogs, 0)
			b.ReportAllocs()
			b.ResetTimer()
			publishers(b, benchPublishers, func(i int) error { return publish(s, i) })
			per = float64(b.N) / b.Elapsed().Seconds()
			b.ReportMetric(per, "publishes/s")
		})
		return per
	}
	gathered := rate("Gathered", func(s *Store, i int) error {
		_, err := storetest.Append(s, benchName(i*7919), keep, store.Record{Data: payload})
		return err
	})
	alone := func(s *Store, i int) error {
		c := &call{log: benchName(i * 7919), limits: keep}
		c.join(&submit{records: []store.Record{{Data: payload}}, bytes: len(payload)})
		return s.client.Process(ctx, goredis.NewCmd(ctx, c.command(s, false)...))
	}
	single := rate("Alone", alone)
	var one sync.Mutex
	serial := rate("OneAtATime", func(s *Store, i int) error {
		one.Lock()
		defer one.Unlock()
		return alone(s, i)
	})
	hot := rate("GatheredOneLog", func(s *Store, i int) error {
		_, err := storetest.Append(s, anyLog, keep, store.Record{Data: payload})
		return err
	})
	b.Logf("publishes/s: gathered %.0f, each by itself on many connections %.0f (ratio %.1f), one command at a time %.0f (ratio %.1f), gathered to one log %.0f",
		gathered, single, gathered/single, serial, gathered/serial, hot)
}

// BenchmarkReadAll reads a log of 100,000 messages in pages of 1,000.
func BenchmarkReadAll(b *testing.B) {
	r := storetest.StartRedis(b, "--appendonly", "no")
	s := openStore(b, r.URL)
	const n = 100_000
	records := make([]store.Record, maxCall)
	for i := range records {
		records[i].Data = payload
	}
	for range n / len(records) {
		_, err := storetest.Append(s, anyLog, keep, records...)
		require.NoError(b, err)
	}
	b.ReportAllocs()
	for b.Loop() {
		require.Len(b, readAll(b, s, anyLog), n)
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

// BenchmarkPut is what a session's checkpoint costs: a row of 500 bytes with a TTL
// is renewed.
func BenchmarkPut(b *testing.B) {
	r := storetest.StartRedis(b, "--appendonly", "no")
	s, own := openStore(b, r.URL), direct(b, r)
	data := make([]byte, 500)
	put := func(i int) error {
		_, err := s.Put(ctx, "sessions", fmt.Sprint(i%benchLogs), store.Put{Data: data, TTL: time.Hour})
		return err
	}
	for i := range benchLogs {
		require.NoError(b, put(i))
	}
	b.ReportAllocs()
	b.ResetTimer()
	before := serverCPU(b, own)
	publishers(b, benchPublishers, put)
	b.StopTimer()
	b.ReportMetric(float64(serverCPU(b, own)-before)/float64(time.Microsecond)/float64(b.N), "redis-µs/put")
}

// BenchmarkTakeAndSettle is what a record of a stream costs the server: taken in pages of
// 1,000 and settled.
func BenchmarkTakeAndSettle(b *testing.B) {
	r := storetest.StartRedis(b, "--appendonly", "no")
	s, own := openStore(b, r.URL), direct(b, r)
	records := make([]store.Record, maxCall)
	for i := range records {
		records[i].Data = payload
	}
	const n = 100_000
	for range n / len(records) {
		_, err := storetest.Append(s, anyLog, keep, records...)
		require.NoError(b, err)
	}
	g := store.GroupName{Log: anyLog, Name: "stream"}
	b.ReportAllocs()
	before := serverCPU(b, own)
	for b.Loop() {
		require.NoError(b, s.Seek(ctx, g, store.Position{}))
		for range n / 1000 {
			got, err := s.Take(ctx, g, keep, "a", 1000, 1<<20)
			require.NoError(b, err)
			require.Len(b, got.Entries, 1000)
			at := make([]store.Position, 1000)
			for i, e := range got.Entries {
				at[i] = e.Position
			}
			require.NoError(b, s.Settle(ctx, g, at))
		}
	}
	total := float64(n) * float64(b.N)
	b.ReportMetric(float64(serverCPU(b, own)-before)/float64(time.Microsecond)/total, "redis-µs/record")
	b.ReportMetric(total/b.Elapsed().Seconds(), "records/s")
}
