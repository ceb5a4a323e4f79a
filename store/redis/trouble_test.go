package redis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/storetest"
)

// dropper stands before a server and ends with the test.
func dropper(t *testing.T, r *storetest.Redis) (*storetest.Dropper, string) {
	t.Helper()
	d, err := storetest.NewDropper(r.Addr)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d, "redis://" + d.Addr
}

// A reply that is lost leads to no second record, and the publisher does not notice.
func TestLostReplies(t *testing.T) {
	r := storetest.StartRedis(t)
	d, url := dropper(t, r)
	s := openStore(t, url)
	const publishers, each = 8, 40
	var publishing sync.WaitGroup
	for p := range publishers {
		publishing.Go(func() {
			for i := range each {
				if p == 0 && i%4 == 0 {
					d.LoseReply("EVALSHA")
				}
				r := text(p, i)
				if p%2 == 0 {
					r.Nonce = store.Nonce{byte(p + 1), byte(i + 1)}
				}
				log := store.LogName{Feed: anyLog.Feed, Path: fmt.Sprint(p % 3)}
				a, err := storetest.Append(s, log, keep, r)
				if err != nil || a.Prior[0] {
					t.Error(a, err)
				}
			}
		})
	}
	publishing.Wait()
	seen := make(map[string]int)
	for i := range 3 {
		next := make(map[string]int)
		for _, e := range readAll(t, s, store.LogName{Feed: anyLog.Feed, Path: fmt.Sprint(i)}) {
			seen[string(e.Data)]++
			p, n := split(t, e.Data)
			require.Equal(t, next[p], n, "in order")
			next[p]++
		}
	}
	require.Len(t, seen, publishers*each)
	for record, n := range seen {
		require.Equal(t, 1, n, "%s", record)
	}
}

// Sent again, a call has its own nonces and finds those of others.
func TestLostReplyOfManyNonces(t *testing.T) {
	r := storetest.StartRedis(t)
	d, url := dropper(t, r)
	s := openStore(t, url)
	old, err := storetest.Append(s, anyLog, keep, store.Record{Data: []byte("old"), Nonce: store.Nonce{1}})
	require.NoError(t, err)
	d.LoseReply("EVALSHA")
	a, err := storetest.Append(s, anyLog, keep,
		store.Record{Data: []byte("a")},
		store.Record{Data: []byte("b"), Nonce: store.Nonce{1}},
		store.Record{Data: []byte("c"), Nonce: store.Nonce{2}},
		store.Record{Data: []byte("d"), Nonce: store.Nonce{2}},
		store.Record{Data: []byte("e")},
	)
	require.NoError(t, err)
	require.Equal(t, []bool{false, true, false, true, false}, a.Prior)
	require.Equal(t, old.Positions[0], a.Positions[1])
	require.Equal(t, a.Positions[2], a.Positions[3])
	got := readAll(t, s, anyLog)
	require.Len(t, got, 4)
	require.Equal(t, store.Entry{Position: a.Positions[0], Data: []byte("a")}, got[1])
	require.Equal(t, store.Entry{Position: a.Positions[2], Data: []byte("c")}, got[2])
	require.Equal(t, store.Entry{Position: a.Positions[4], Data: []byte("e")}, got[3])
	// All of them were there: nothing is written, and nothing is found.
	d.LoseReply("EVALSHA")
	a, err = storetest.Append(s, anyLog, keep, store.Record{Data: []byte("x"), Nonce: store.Nonce{2}})
	require.NoError(t, err)
	require.Equal(t, []bool{true}, a.Prior)
	require.Len(t, readAll(t, s, anyLog), 4)
}

// What nothing would tell from a repetition is not sent again.
func TestLostReplyOfWhatIsNotKept(t *testing.T) {
	r := storetest.StartRedis(t)
	d, url := dropper(t, r)
	s, own := openStore(t, url), direct(t, r)
	_, err := storetest.Append(s, anyLog, store.Limits{}, text(0, 0))
	require.NoError(t, err)
	d.LoseReply("EVALSHA")
	_, err = storetest.Append(s, anyLog, store.Limits{}, text(0, 1))
	require.ErrorIs(t, err, store.ErrUncertain)
	_, err = storetest.Append(s, anyLog, store.Limits{}, text(0, 2))
	require.NoError(t, err)
	n, err := own.Get(ctx, s.keys.counter(partition(anyLog.Feed), anyLog.Feed)).Int()
	require.NoError(t, err)
	require.Equal(t, 3, n, "each was announced once")
}

// A row whose reply was lost is in doubt; a read just happens again.
func TestLostReplyOfATable(t *testing.T) {
	r := storetest.StartRedis(t)
	d, url := dropper(t, r)
	s := openStore(t, url)
	_, err := s.Put(ctx, "t", "k", store.Put{Data: []byte("a")})
	require.NoError(t, err)
	d.LoseReply("EVALSHA")
	_, err = s.Put(ctx, "t", "k", store.Put{Data: []byte("b")})
	require.ErrorIs(t, err, store.ErrUncertain)
	d.LoseReply("GET")
	v, err := s.Get(ctx, "t", "k")
	require.NoError(t, err)
	require.Equal(t, store.Value{Data: []byte("b"), Version: 2}, v)
}

func TestScriptFlush(t *testing.T) {
	r := storetest.StartRedis(t)
	s, own := openStore(t, r.URL), direct(t, r)
	var flushing, publishing sync.WaitGroup
	end := make(chan struct{})
	flushing.Go(func() {
		for {
			select {
			case <-end:
				return
			default:
				if err := own.ScriptFlush(ctx).Err(); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	const publishers, each = 4, 100
	for p := range publishers {
		publishing.Go(func() {
			for i := range each {
				limits := keep
				if p == 0 {
					limits = store.Limits{}
				}
				if _, err := storetest.Append(s, store.LogName{Feed: "f", Path: fmt.Sprint(p)}, limits, text(p, i)); err != nil {
					t.Error(err)
				}
				if _, err := s.Put(ctx, "t", fmt.Sprint(p), store.Put{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	publishing.Wait()
	close(end)
	flushing.Wait()
	require.Len(t, readAll(t, s, store.LogName{Feed: "f", Path: "1"}), each)
	v, err := s.Get(ctx, "t", "1")
	require.NoError(t, err)
	require.EqualValues(t, each, v.Version)
}

// With the memory full nothing is half done, reads go on, and so does what keeps
// nothing and is known.
func TestFull(t *testing.T) {
	r := storetest.StartRedis(t)
	s, own := openStore(t, r.URL), direct(t, r)
	live := store.LogName{Feed: anyLog.Feed, Path: "live"}
	first, err := storetest.Append(s, anyLog, keep, text(0, 0))
	require.NoError(t, err)
	_, err = storetest.Append(s, live, store.Limits{}, text(0, 0))
	require.NoError(t, err)
	_, err = s.Put(ctx, "t", "k", store.Put{Data: []byte("row")})
	require.NoError(t, err)
	before, err := own.DBSize(ctx).Result()
	require.NoError(t, err)
	require.NoError(t, own.ConfigSet(ctx, "maxmemory", "1").Err())

	nonce := store.Record{Data: []byte("n"), Nonce: store.Nonce{1}}
	for _, log := range []store.LogName{anyLog, {Feed: "other", Path: "new"}} {
		_, err = storetest.Append(s, log, keep, nonce)
		require.ErrorIs(t, err, store.ErrFull)
		require.ErrorContains(t, err, "OOM")
	}
	_, err = storetest.Append(s, store.LogName{Feed: "other", Path: "live"}, store.Limits{}, text(0, 0))
	require.ErrorIs(t, err, store.ErrFull, "names that people make up take no memory")
	_, err = s.Put(ctx, "t", "k", store.Put{Data: []byte("new")})
	require.ErrorIs(t, err, store.ErrFull)
	a, err := storetest.Append(s, live, store.Limits{}, text(0, 1))
	require.NoError(t, err)
	require.False(t, a.Positions[0].IsZero())
	after, err := own.DBSize(ctx).Result()
	require.NoError(t, err)
	require.LessOrEqual(t, after, before)
	require.Len(t, readAll(t, s, anyLog), 1)
	v, err := s.Get(ctx, "t", "k")
	require.NoError(t, err)
	require.Equal(t, "row", string(v.Data))
	require.NoError(t, s.Delete(ctx, live), "that gives room")

	require.NoError(t, own.ConfigSet(ctx, "maxmemory", "0").Err())
	again, err := storetest.Append(s, anyLog, keep, nonce)
	require.NoError(t, err)
	require.Equal(t, []bool{false}, again.Prior)
	require.Equal(t, first.Positions[0].N()+1, again.Positions[0].N())
}

// A server that hangs holds no publisher longer than PublishTimeout, however many
// wait; and nothing is written twice, nor what was refused.
func TestFrozen(t *testing.T) {
	r := storetest.StartRedis(t)
	s := openStore(t, r.URL)
	_, err := storetest.Append(s, anyLog, keep, text(9, 0))
	require.NoError(t, err)
	r.Freeze()
	const records = 3000
	outcomes := make([]error, records)
	var settled atomic.Int64
	done := make(chan struct{})
	for i := range records {
		s.Submit(store.LogName{Feed: anyLog.Feed, Path: fmt.Sprint(i % 50)}, keep, []store.Record{text(0, i)}, func(_ store.Appended, err error) {
			outcomes[i] = err
			if settled.Add(1) == records {
				close(done)
			}
		})
	}
	limit, cancel := context.WithTimeout(ctx, defaultPublishTimeout+2*time.Second)
	defer cancel()
	select {
	case <-done:
	case <-limit.Done():
		t.Error("publishers wait: ", records-settled.Load())
	}
	r.Thaw()
	<-done
	require.Eventually(t, func() bool {
		_, err := storetest.Append(s, anyLog, keep, text(9, 1))
		return err == nil
	}, 10*time.Second, 10*time.Millisecond)
	there := make(map[string]int)
	for i := range 50 {
		for _, e := range readAll(t, s, store.LogName{Feed: anyLog.Feed, Path: fmt.Sprint(i)}) {
			there[string(e.Data)]++
		}
	}
	uncertain := 0
	for i, err := range outcomes {
		n := there[string(text(0, i).Data)]
		switch {
		case errors.Is(err, store.ErrUnavailable):
			require.Zero(t, n, "record %d was refused", i)
		case errors.Is(err, store.ErrUncertain):
			require.LessOrEqual(t, n, 1)
			uncertain++
		default:
			require.NoError(t, err)
			require.Equal(t, 1, n)
		}
	}
	require.LessOrEqual(t, uncertain, maxFlight, "only what was sent is in doubt")
}

// The queue is bounded, and what does not fit is refused at once.
func TestQueueIsBounded(t *testing.T) {
	r := storetest.StartRedis(t)
	s := openStore(t, r.URL)
	r.Freeze()
	var mu sync.Mutex
	var waiting sync.WaitGroup
	refused := 0
	for i := range maxQueued + 100 {
		waiting.Add(1)
		s.Submit(anyLog, keep, []store.Record{text(0, i)}, func(_ store.Appended, err error) {
			defer waiting.Done()
			mu.Lock()
			defer mu.Unlock()
			if errors.Is(err, store.ErrUnavailable) {
				refused++
			}
		})
	}
	mu.Lock()
	require.GreaterOrEqual(t, refused, 100)
	mu.Unlock()
	large := make([]byte, store.MaxRecord)
	for range maxQueuedBytes/store.MaxRecord + 1 {
		waiting.Add(1)
		s.Submit(store.LogName{Feed: "x"}, keep, []store.Record{{Data: large}}, func(_ store.Appended, err error) {
			defer waiting.Done()
			require.Error(t, err)
		})
	}
	waiting.Wait()
	require.Zero(t, s.gather.records.Load())
	require.Zero(t, s.gather.bytes.Load())
	r.Thaw()
}

// A replica takes no writes: they wait for it to become one that does, and are
// refused when that takes too long.
func TestReadOnly(t *testing.T) {
	r := storetest.StartRedis(t)
	s, own := openWith(t, r.URL, Options{PublishTimeout: 30 * time.Second}), direct(t, r)
	hasty := openWith(t, r.URL, Options{PublishTimeout: time.Second, Prefix: s.options.Prefix})
	require.NoError(t, own.ReplicaOf(ctx, "127.0.0.1", "1").Err())
	got := make(chan error, 1)
	s.Submit(anyLog, keep, []store.Record{text(0, 0)}, func(_ store.Appended, err error) { got <- err })
	_, err := storetest.Append(hasty, anyLog, keep, text(0, 1))
	require.ErrorIs(t, err, store.ErrUnavailable)
	require.ErrorContains(t, err, "READONLY")
	require.NoError(t, own.ReplicaOf(ctx, "NO", "ONE").Err())
	require.NoError(t, <-got)
	require.Len(t, readAll(t, s, anyLog), 1)
	require.Positive(t, hasty.Errors()["readonly"])
}

// With too few replicas nothing is written, at once.
func TestNoReplicas(t *testing.T) {
	r := storetest.StartRedis(t)
	s, own := openStore(t, r.URL), direct(t, r)
	require.NoError(t, own.ConfigSet(ctx, "min-replicas-to-write", "1").Err())
	_, err := storetest.Append(s, anyLog, keep, text(0, 0))
	require.ErrorIs(t, err, store.ErrUnavailable)
	require.ErrorContains(t, err, "NOREPLICAS")
	require.NoError(t, own.ConfigSet(ctx, "min-replicas-to-write", "0").Err())
	require.Empty(t, readAll(t, s, anyLog))
}

// With Ack "replica" an append is done when a replica has it.
func TestAckReplica(t *testing.T) {
	r := storetest.StartRedis(t)
	s, own := openWith(t, r.URL, Options{Ack: ackReplica}), direct(t, r)
	_, err := storetest.Append(s, anyLog, keep, text(0, 0))
	require.ErrorIs(t, err, store.ErrUncertain, "nobody has it")
	require.Len(t, readAll(t, s, anyLog), 1, "and it was not sent again")
	replica := direct(t, storetest.StartRedis(t, "--replicaof", "127.0.0.1 "+port(r.Addr)))
	require.Eventually(t, func() bool {
		_, err = storetest.Append(s, anyLog, keep, text(0, 1))
		return err == nil
	}, 20*time.Second, 10*time.Millisecond)
	n, err := own.XLen(ctx, s.keys.stream(partition(anyLog.Feed), logText(anyLog))).Result()
	require.NoError(t, err)
	m, err := replica.XLen(ctx, s.keys.stream(partition(anyLog.Feed), logText(anyLog))).Result()
	require.NoError(t, err)
	require.Equal(t, n, m)
}

// Close settles what was submitted.
func TestCloseSettles(t *testing.T) {
	r := storetest.StartRedis(t)
	s := openStore(t, r.URL)
	settled := 0
	var mu sync.Mutex
	for i := range 500 {
		s.Submit(anyLog, keep, []store.Record{text(0, i)}, func(_ store.Appended, err error) {
			mu.Lock()
			defer mu.Unlock()
			settled++
			require.NoError(t, err)
		})
	}
	require.NoError(t, s.Close())
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, 500, settled)
}
