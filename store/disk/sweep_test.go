package disk

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/storetest"
)

// keys counts the keys of each table in the database.
func keys(t *testing.T, s *Store) map[byte]int {
	it, err := s.db.NewIter(&pebble.IterOptions{})
	require.NoError(t, err)
	n := map[byte]int{}
	for it.First(); it.Valid(); it.Next() {
		n[it.Key()[0]]++
	}
	require.NoError(t, it.Close())
	return n
}

func TestSweepLeavesNothing(t *testing.T) {
	c := storetest.NewClock()
	s := openDir(t, t.TempDir(), Options{Now: c.Now, Floor: -1, Small: true})
	all := []store.Limits{
		{Age: time.Minute},
		{Age: time.Hour, Length: 3},
		{Age: 20 * time.Hour},
		{Age: 40 * 24 * time.Hour},
		{Age: store.Forever, Idle: 24 * time.Hour},
		{Age: time.Hour, Idle: 2 * time.Hour},
	}
	for round := range 3 {
		for i := range 300 {
			log := store.LogName{Feed: "f", Path: fmt.Sprint(i)}
			if i%9 == 0 {
				log.Feed = strings.Repeat("\xff", store.MaxName)
			}
			limits := all[(i+round)%len(all)] // limits change, and classes with them
			a, err := storetest.Append(s, log, limits, store.Record{Data: []byte("x"), Nonce: store.Nonce{byte(round), 1}},
				store.Record{Data: []byte("y")})
			require.NoError(t, err)
			if i%10 == 0 {
				require.NoError(t, s.Redact(ctx, log, a.Positions[0]))
			}
			_, err = s.Put(ctx, "t", fmt.Sprint(i), store.Put{TTL: time.Duration(i+1) * time.Minute})
			require.NoError(t, err)
		}
		for _, g := range []store.Grain{store.Second, store.Minute, store.Hour} {
			at := g.Time(g.Slot(c.Now()))
			require.NoError(t, s.PutRows(ctx, g, 40*24*time.Hour, []store.Point{{Series: "s", Time: at}}))
		}
		c.Turn(13 * time.Minute)
		require.NoError(t, s.sweep(ctx))
		require.NotZero(t, keys(t, s)[tabRecord])
	}
	c.Turn(25 * time.Hour)
	require.NoError(t, s.sweep(ctx))
	n := keys(t, s)
	require.NotZero(t, n[tabRecord], "45 days are not over")
	require.NotZero(t, n[tabSeries], "40 days are not over")
	require.Zero(t, n[tabRow])
	require.Zero(t, n[tabDue])
	c.Turn(60 * 24 * time.Hour)
	for range 2 { // an idle log of an age class goes in two steps
		require.NoError(t, s.sweep(ctx))
		c.Turn(time.Hour)
	}
	require.Equal(t, map[byte]int{tabMeta: 2}, keys(t, s), "no table leaks")
	next, err := storetest.Append(s, store.LogName{Feed: "f", Path: "1"}, all[0], store.Record{})
	require.NoError(t, err)
	require.EqualValues(t, next.Positions[0].MS(), next.Positions[0].N())
}

func TestSweepKeepsWhatIsYoung(t *testing.T) {
	c := storetest.NewClock()
	s := openDir(t, t.TempDir(), Options{Now: c.Now, Floor: -1, Small: true})
	log := store.LogName{Feed: "f", Path: "p"}
	for i := range 200 {
		// A log of a short class goes to a long one within a bucket of the short.
		limits := store.Limits{Age: time.Hour}
		if i > 1 {
			limits.Age = 24 * time.Hour
		}
		_, err := storetest.Append(s, log, limits, store.Record{Data: []byte(fmt.Sprint(i))})
		require.NoError(t, err)
		if i == 2 {
			c.Turn(2 * time.Hour)
			require.NoError(t, s.sweep(ctx))
			require.Len(t, readAll(t, s, log, limits), 1)
		}
		c.Turn(11 * time.Minute)
		require.NoError(t, s.sweep(ctx))
	}
	require.Len(t, readAll(t, s, log, store.Limits{Age: 24 * time.Hour}), 24*60/11)
}

// TestRowIndex sees to it that a row written often has one index key.
func TestRowIndex(t *testing.T) {
	c := storetest.NewClock()
	s := openDir(t, t.TempDir(), Options{Now: c.Now, Floor: -1, Small: true})
	for range 50 {
		_, err := s.Put(ctx, "sessions", "one", store.Put{TTL: 5 * time.Minute})
		require.NoError(t, err)
		c.Turn(time.Minute)
		require.NoError(t, s.sweep(ctx))
		require.Equal(t, 1, keys(t, s)[tabDue])
		require.Equal(t, 1, keys(t, s)[tabRow])
	}
	c.Turn(time.Hour)
	require.NoError(t, s.sweep(ctx))
	require.Zero(t, keys(t, s)[tabDue]+keys(t, s)[tabRow])
}

func TestHeadsAreBounded(t *testing.T) {
	s := openDir(t, t.TempDir(), Options{Floor: -1, Small: true})
	s.heads.max = 10
	limits := []store.Limits{{Age: time.Hour}, {}}
	last := map[string]store.Position{}
	for round := range 3 {
		for i := range 100 {
			path := fmt.Sprint(i)
			a, err := storetest.Append(s, store.LogName{Path: path}, limits[i%2], store.Record{Data: []byte{byte(round)}})
			require.NoError(t, err)
			p := a.Positions[0]
			require.True(t, last[path].Before(p), "forgotten heads never go back")
			if i%2 == 0 && round > 0 {
				require.Equal(t, last[path].N()+1, p.N())
			}
			last[path] = p
			require.LessOrEqual(t, s.heads.len(), 10)
		}
	}
	require.Zero(t, s.heads.pinned)
	for i := 0; i < 100; i += 2 {
		require.Len(t, readAll(t, s, store.LogName{Path: fmt.Sprint(i)}, limits[0]), 3)
	}
}

func TestContextEnds(t *testing.T) {
	s := openDir(t, t.TempDir(), Options{Floor: -1, Small: true})
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err := s.Put(ended, "t", "k", store.Put{})
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.Read(ended, store.LogName{}, store.Range{Limits: store.Limits{Age: time.Hour}}, 1, 1)
	require.ErrorIs(t, err, context.Canceled)
}

func FuzzValues(f *testing.F) {
	c := channel{id: 1, epoch: 2, start: 3, spans: []span{{0, 3}, {forever, 9}}}
	r := row{Value: store.Value{Data: []byte("x"), Version: 7, Expires: time.UnixMilli(5)}, due: 8}
	f.Add(c.encode(nil))
	f.Add(r.encode())
	f.Add(appendName(nil, store.LogName{Feed: "f", Path: "p"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := parseChannel(b); err == nil {
			require.Equal(t, b, c.encode(nil))
		}
		if r, err := parseRow(b); err == nil {
			require.Equal(t, b, r.encode())
		}
		if n, ok := parseName(b); ok {
			require.Equal(t, b, appendName(nil, n))
		}
		if p, ok := parseRecordKey(b); ok {
			var k [recordKeyLen]byte
			putRecordKey(k[:], b[0], p.class, p.bucket, p.id, p.ms, p.n)
			require.Equal(t, b, k[:])
		}
	})
}

// FuzzSeries: no key or value of the folder breaks what reads series, and what is read
// is where it was found.
func FuzzSeries(f *testing.F) {
	t := stretchOf(store.Minute, store.Minute.Slot(time.Unix(1_700_000_000, 0)))
	key := binary.BigEndian.AppendUint32(t.rows("v/12/a"), 7)
	f.Add(key, []byte("row"))
	f.Add(key[:len(key)-1], []byte{})
	f.Add(t.key(tabStretch), binary.BigEndian.AppendUint64(nil, math.MaxInt64))
	f.Add(append(t.key(tabSeries), 0xff), binary.BigEndian.AppendUint64(nil, 1<<63))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		if s, until, err := parseStretch(key, value); err == nil {
			require.Equal(t, key, s.key(key[0]))
			_ = s.keep(until)
		}
		s, p, err := parsePoint(key, value)
		if err != nil {
			return
		}
		require.Equal(t, value, p.Data)
		require.Equal(t, key[1:], binary.BigEndian.AppendUint32(s.rows(p.Series), uint32(s.grain.Slot(p.Time)))[1:])
	})
}
