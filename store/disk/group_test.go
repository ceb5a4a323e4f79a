package disk

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/storetest"
)

// After a power loss every record that was acknowledged has its copy, every copy its
// record; what was settled does not come again, and the rest does.
func TestPowerLossOfCopiesAndGroups(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	fs := vfs.NewCrashableMem()
	account := store.LogName{Feed: "@account", Path: "records"}
	g := store.GroupName{Log: account, Name: "stream"}
	settled := map[store.Position]bool{}
	for round := range long(t, 12) {
		s, err := Open(ctx, "db", Options{FS: fs, Floor: -1, Small: true})
		require.NoError(t, err)
		var acked []store.Position
		for i := range 20 + r.IntN(100) {
			a, err := storetest.Append(s, store.LogName{Feed: "f", Path: fmt.Sprint(i % 3)}, crashKeep,
				store.Record{Data: fmt.Append(nil, i), Copy: &store.Copy{To: account, Limits: crashKeep}})
			require.NoError(t, err)
			acked = append(acked, a.Positions...)
			if i%10 == 9 {
				got, err := s.Take(ctx, g, crashKeep, fmt.Sprint(i%3), 1+r.IntN(20), 1<<20)
				require.NoError(t, err)
				for _, e := range got.Entries {
					require.False(t, settled[e.Position], "round %d", round)
				}
				some := got.Entries[r.IntN(len(got.Entries)):]
				var at []store.Position
				for _, e := range some {
					at = append(at, e.Position)
					settled[e.Position] = true
				}
				require.NoError(t, s.Settle(ctx, g, at))
			}
		}
		// Something is under way when the power goes.
		for i := range 5 {
			s.Submit(store.LogName{Feed: "f", Path: "last"}, crashKeep,
				[]store.Record{{Data: fmt.Append(nil, i), Copy: &store.Copy{To: account, Limits: crashKeep}}}, func(store.Appended, error) {})
		}
		crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(101), RNG: rand.New(rand.NewPCG(r.Uint64(), 2))})
		require.NoError(t, s.Close())

		fs = crashed
		s, err = Open(ctx, "db", Options{FS: fs, Floor: -1, Small: true})
		require.NoError(t, err)
		records, copies := 0, map[store.Position]bool{}
		for _, path := range []string{"0", "1", "2", "last"} {
			records += len(readAll(t, s, store.LogName{Feed: "f", Path: path}, crashKeep))
		}
		var unsettled []store.Entry
		for _, e := range readAll(t, s, account, crashKeep) {
			at, _, err := store.Origin(e.Data)
			require.NoError(t, err)
			copies[at] = true
			if !settled[e.Position] {
				unsettled = append(unsettled, e)
			}
		}
		require.Len(t, copies, records, "a copy each")
		for _, p := range acked {
			require.True(t, copies[p])
		}
		var got []store.Entry
		for {
			took, err := s.Take(ctx, g, crashKeep, "all", 1000, 1<<20)
			require.NoError(t, err)
			if len(took.Entries) == 0 {
				break
			}
			got = append(got, took.Entries...)
		}
		require.Equal(t, unsettled, got, "round %d", round)
		require.NoError(t, s.Close())
	}
}

// A group that was dropped does not come back, whoever uses it meanwhile.
func TestDropWhileInUse(t *testing.T) {
	s := open(t, time.Now).(*Store)
	log := store.LogName{Feed: "f"}
	g := store.GroupName{Log: log, Name: "g"}
	a, err := storetest.Append(s, log, crashKeep, store.Record{}, store.Record{})
	require.NoError(t, err)
	for range 50 {
		_, err = s.Take(ctx, g, crashKeep, "a", 1, 1)
		require.NoError(t, err)
		require.NoError(t, s.Settle(ctx, g, a.Positions[:1]))
		end := make(chan error)
		go func() {
			_, err := s.Take(ctx, g, crashKeep, "b", 1, 1)
			end <- err
		}()
		require.NoError(t, s.Drop(ctx, g))
		require.NoError(t, <-end)
		require.NoError(t, s.Drop(ctx, g))
		state, err := s.State(ctx, g)
		require.NoError(t, err)
		require.Zero(t, state)
	}
}

func FuzzGroupKey(f *testing.F) {
	f.Add("feed", "path", "group")
	f.Add("", "", "")
	f.Fuzz(func(t *testing.T, feed, path, name string) {
		g := store.GroupName{Log: store.LogName{Feed: feed, Path: path}, Name: name}
		if g.Validate() != nil {
			return
		}
		again, ok := parseGroupKey(groupKey(g))
		require.True(t, ok)
		require.Equal(t, g, again)
		for cut := range groupKey(g) { // any beginning of it is read without a fault
			parseGroupKey(groupKey(g)[:cut])
		}
	})
}
