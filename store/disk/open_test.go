package disk

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/storetest"
)

func TestLayout(t *testing.T) {
	write := func(key, value []byte) *vfs.MemFS {
		fs := vfs.NewMem()
		db, err := pebble.Open("db", &pebble.Options{
			FS: fs, FormatMajorVersion: pebble.FormatTableFormatV6,
			Logger: &engineLog{log: zap.NewNop()},
		})
		require.NoError(t, err)
		require.NoError(t, db.Set(key, value, pebble.Sync))
		require.NoError(t, db.Close())
		return fs
	}
	f := func(key, value []byte, want string) {
		t.Helper()
		fs := write(key, value)
		for range 2 { // refused again, so the lock was given back
			_, err := Open(ctx, "db", Options{FS: fs})
			require.ErrorContains(t, err, want)
			require.ErrorContains(t, err, "disk: open db: ")
		}
	}
	f(keyLayout, []byte{0, 0, 0, 9}, "layout 9 and this program knows layout 1 only")
	f([]byte("foreign"), []byte("x"), "not gobelin's")
	f(keyLayout, []byte{1}, "damaged")
	fs := write(keyLayout, []byte{0, 0, 0, 1})
	s, err := Open(ctx, "db", Options{FS: fs})
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

func TestOpenRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := Open(ctx, file, Options{})
	require.ErrorContains(t, err, "disk: open "+file)
	require.False(t, errors.Is(err, store.ErrLocked))
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err = Open(ended, t.TempDir(), Options{})
	require.ErrorIs(t, err, context.Canceled)
}

// fullFS is a file system with as much free space as the test says.
type fullFS struct {
	vfs.FS
	free atomic.Uint64
}

func (f *fullFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: f.free.Load()}, nil
}

func TestDiskFull(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	fs := &fullFS{FS: vfs.NewMem()}
	fs.free.Store(1 << 30)
	s := openDir(t, "db", Options{FS: fs, Log: zap.New(core)})
	log, limits := store.LogName{Feed: "f"}, store.Limits{Age: time.Hour}
	a, err := storetest.Append(s, log, limits, store.Record{Data: []byte("a")})
	require.NoError(t, err)

	fs.free.Store(512<<20 - 1)
	require.ErrorIs(t, s.Health(ctx), store.ErrFull)
	_, err = storetest.Append(s, log, limits, store.Record{Data: []byte("b")})
	require.ErrorIs(t, err, store.ErrFull)
	_, err = s.Put(ctx, "t", "k", store.Put{})
	require.NoError(t, err, "sessions come and are kept")
	fs.free.Store(256<<20 - 1)
	require.ErrorIs(t, s.Health(ctx), store.ErrFull)
	_, err = s.Put(ctx, "t", "more", store.Put{})
	require.ErrorIs(t, err, store.ErrFull)
	_, err = storetest.Append(s, store.LogName{Feed: "live"}, store.Limits{}, store.Record{})
	require.NoError(t, err, "what is not kept goes on")
	require.Len(t, readAll(t, s, log, limits), 1, "reads go on, nothing was written")
	require.NoError(t, s.Redact(ctx, log, a.Positions[0]), "what frees goes on")
	require.NoError(t, s.Remove(ctx, "t", "k", nil))

	fs.free.Store(512 << 20)
	require.NoError(t, s.Health(ctx))
	_, err = storetest.Append(s, log, limits, store.Record{Data: []byte("c")})
	require.NoError(t, err)
	require.Len(t, readAll(t, s, log, limits), 1)
	require.Equal(t, 1, logs.FilterMessage("disk is nearly full: appends are refused").Len())
	require.Equal(t, 1, logs.FilterMessage("disk has room again: appends are taken").Len())
}

// TestWatchdog sees to it that the watchdog looks by itself.
func TestWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := &fullFS{FS: vfs.NewMem()}
		loop, cancel := context.WithCancel(ctx)
		s := &Store{fs: fs, floor: 10, log: zap.NewNop()}
		go s.spaceLoop(loop)
		for free, left := range map[uint64]room{9: someRoom, 10: allRoom, 0: noRoom, 5: someRoom, 4: noRoom} {
			fs.free.Store(free)
			time.Sleep(spaceEvery)
			synctest.Wait()
			require.Equal(t, left, room(s.left.Load()), "%d free", free)
		}
		cancel()
		synctest.Wait()
	})
}

func TestFatal(t *testing.T) {
	core, logs := observer.New(zap.ErrorLevel)
	var code atomic.Int64
	var failing atomic.Bool
	inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
		sync := op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo
		if failing.Load() && sync {
			return errors.New("planted: no such luck")
		}
		return nil
	})
	fs := errorfs.Wrap(vfs.NewMem(), inject)
	o := Options{FS: fs, Floor: -1, Log: zap.New(core)}
	o.exit = func(c int) {
		code.Store(int64(c))
		select {} // the process would be gone
	}
	s, err := Open(ctx, "db", o)
	require.NoError(t, err)
	failing.Store(true)
	settled := make(chan error, 1)
	s.Submit(store.LogName{}, store.Limits{Age: time.Hour}, []store.Record{{}}, func(_ store.Appended, err error) { settled <- err })
	require.Eventually(t, func() bool { return code.Load() == exitIO }, 10*time.Second, time.Millisecond)
	require.NotZero(t, logs.FilterMessage("engine cannot go on").Len())
	select {
	case err := <-settled:
		require.Error(t, err, "never acknowledged")
	default:
	}
}
