package disk

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/storetest"
)

// The test binary is also the process that is killed, or that is refused.
const (
	childRole = "DISK_TEST_CHILD"
	childDir  = "DISK_TEST_DIR"
)

func TestMain(m *testing.M) {
	switch os.Getenv(childRole) {
	case "append":
		childAppend(os.Getenv(childDir))
	case "open":
		_, err := Open(ctx, os.Getenv(childDir), Options{})
		fmt.Println(errors.Is(err, store.ErrLocked), err)
	default:
		os.Exit(m.Run())
	}
}

func child(role, dir string) *exec.Cmd {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), childRole+"="+role, childDir+"="+dir)
	return c
}

const crashWriters, crashLogs = 8, 5

var crashKeep = store.Limits{Age: 24 * time.Hour}

// childAppend appends until it is killed and prints each position it was told.
func childAppend(dir string) {
	s, err := Open(ctx, dir, Options{Floor: -1, Small: true})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range crashWriters {
		wg.Go(func() {
			for i := 0; ; i++ {
				log := fmt.Sprint((w + i) % crashLogs)
				limits := crashKeep
				if i%7 == 6 {
					log, limits = "live", store.Limits{}
				}
				a, err := storetest.Append(s, store.LogName{Feed: "f", Path: log}, limits, store.Record{Data: []byte("x")})
				mu.Lock()
				if err != nil {
					fmt.Println("error", err)
				} else {
					fmt.Println(log, a.Positions[0])
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// long is how many rounds a crash test takes: STORE_ROUNDS in its long form.
func long(t *testing.T, short int) int {
	t.Helper()
	text := os.Getenv("STORE_ROUNDS")
	if text == "" {
		return short
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, "STORE_ROUNDS")
	return n
}

func TestKill(t *testing.T) {
	dir := t.TempDir()
	acked := map[string][]string{}
	rounds := long(t, 6)
	if testing.Short() {
		rounds = 2
	}
	for range rounds {
		c := child("append", dir)
		out, err := c.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, c.Start())
		lines := 200 + rand.IntN(1500)
		scan := bufio.NewScanner(out)
		for scan.Scan() {
			log, id, ok := strings.Cut(scan.Text(), " ")
			require.True(t, ok && log != "error", scan.Text())
			if len(id) == 26 { // the kill may cut the last line
				acked[log] = append(acked[log], id)
			}
			if lines--; lines == 0 {
				require.NoError(t, c.Process.Kill())
			}
		}
		_ = c.Wait() // "signal: killed"
		verify(t, dir, acked)
	}
}

// verify opens the folder and looks for what was acknowledged.
func verify(t *testing.T, dir string, acked map[string][]string) {
	s, err := Open(ctx, dir, Options{Floor: -1, Small: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	for log, ids := range acked {
		seen := map[string]bool{}
		for _, id := range ids {
			require.False(t, seen[id], "position %s was issued twice", id)
			seen[id] = true
		}
		if log == "live" {
			continue
		}
		there := map[string]bool{}
		var last store.Position
		for _, e := range readAll(t, s, store.LogName{Feed: "f", Path: log}, crashKeep) {
			require.True(t, last.Before(e.Position))
			require.True(t, last.IsZero() || e.Position.N() == last.N()+1, "dense over crashes")
			last = e.Position
			there[e.Position.String()] = true
		}
		for _, id := range ids {
			require.True(t, there[id], "acknowledged %s of %s is gone", id, log)
		}
		// What comes now is later than all that was ever told.
		a, err := storetest.Append(s, store.LogName{Feed: "f", Path: log}, crashKeep, store.Record{Data: []byte("x")})
		require.NoError(t, err)
		sort.Strings(ids)
		require.Less(t, ids[len(ids)-1], a.Positions[0].String())
	}
}

func readAll(t *testing.T, s store.Store, log store.LogName, limits store.Limits) []store.Entry {
	p, err := s.Read(ctx, log, store.Range{Limits: limits}, 1<<30, 1<<30)
	require.NoError(t, err)
	n, err := s.Count(ctx, log, store.Range{Limits: limits})
	require.NoError(t, err)
	require.EqualValues(t, len(p.Entries), n)
	return p.Entries
}

func TestPowerLoss(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	fs := vfs.NewCrashableMem()
	var newest store.Position // told to anybody, on any of the logs below
	for round := range long(t, 12) {
		s, err := Open(ctx, "db", Options{FS: fs, Floor: -1, Small: true})
		require.NoError(t, err)
		var mu sync.Mutex
		acked := map[string][]store.Position{}
		rows := map[string]string{}
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					log, limits := fmt.Sprint(i%3), crashKeep
					if i%5 == 4 {
						log, limits = "live", store.Limits{}
					}
					a, err := storetest.Append(s, store.LogName{Feed: "f", Path: log}, limits, store.Record{Data: []byte("power")})
					key := fmt.Sprint("row ", w)
					val := fmt.Sprint(round, i)
					mu.Lock()
					if err == nil {
						acked[log] = append(acked[log], a.Positions...)
					}
					mu.Unlock()
					if i%10 == 0 {
						if _, err := s.Put(ctx, "t", key, store.Put{Data: []byte(val)}); err == nil {
							mu.Lock()
							rows[key] = val
							mu.Unlock()
						}
					}
				}
			})
		}
		for n := 0; n < 300+r.IntN(500); { // load before the cut
			mu.Lock()
			n = len(acked["0"]) + len(acked["1"])
			mu.Unlock()
		}
		mu.Lock() // what is acknowledged here was so before the cut
		crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(101), RNG: rand.New(rand.NewPCG(r.Uint64(), 2))})
		told := map[string][]store.Position{}
		for log, ps := range acked {
			told[log] = append([]store.Position(nil), ps...)
		}
		saved := len(rows)
		mu.Unlock()
		close(stop)
		wg.Wait()
		require.NoError(t, s.Close())

		fs = crashed
		s, err = Open(ctx, "db", Options{FS: fs, Floor: -1, Small: true})
		require.NoError(t, err, "round %d", round)
		for log, ps := range told {
			there := map[store.Position]bool{}
			limits := crashKeep
			for _, e := range readAll(t, s, store.LogName{Feed: "f", Path: log}, limits) {
				there[e.Position] = true
			}
			for _, p := range ps {
				require.True(t, log == "live" || there[p], "round %d: acknowledged %v of %s is gone", round, p, log)
				if newest.Before(p) {
					newest = p
				}
			}
		}
		items, err := s.List(ctx, "t", "", "", 100)
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(items), saved)
		a, err := storetest.Append(s, store.LogName{Feed: "f", Path: "live"}, store.Limits{}, store.Record{})
		require.NoError(t, err)
		require.GreaterOrEqual(t, a.Positions[0].MS(), newest.MS(), "the clock goes on after what was told")
		for _, p := range told["live"] {
			require.True(t, p.Before(a.Positions[0]))
		}
		require.NoError(t, s.Close())
	}
}

func TestSecondOpener(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir, Options{Floor: -1})
	_, err := Open(ctx, dir, Options{})
	require.ErrorIs(t, err, store.ErrLocked)
	require.ErrorContains(t, err, dir)
	var out bytes.Buffer
	c := child("open", dir)
	c.Stdout = io.MultiWriter(&out)
	require.NoError(t, c.Run())
	require.Contains(t, out.String(), "true disk: open "+dir)
	require.Contains(t, out.String(), "stop it, or give this one a folder of its own")
	require.NoError(t, s.Health(ctx))
}
