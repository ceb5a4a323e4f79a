package disk

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/storetest"
)

// slowFS is a file system whose every sync takes pause more (store.md §2.3), or
// waits until it is let go.
type slowFS struct {
	vfs.FS
	pause time.Duration
	gate  atomic.Pointer[chan struct{}] // not nil: a sync waits until it is closed
}

func (f *slowFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, category)
	return &slowFile{file, f}, err
}

func (f *slowFS) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.ReuseForWrite(from, to, category)
	return &slowFile{file, f}, err
}

type slowFile struct {
	vfs.File
	fs *slowFS
}

func (f *slowFile) wait() {
	if gate := f.fs.gate.Load(); gate != nil {
		<-*gate
	}
	if f.fs.pause > 0 {
		<-time.After(f.fs.pause)
	}
}

func (f *slowFile) Sync() error {
	f.wait()
	return f.File.Sync()
}

func (f *slowFile) SyncData() error {
	f.wait()
	return f.File.SyncData()
}

func (f *slowFile) SyncTo(length int64) (bool, error) {
	f.wait()
	return f.File.SyncTo(length)
}

// Nothing is acknowledged, announced or shown before the disk has it, however long
// that takes, and what came meanwhile goes with the next sync.
func TestNothingBeforeTheSync(t *testing.T) {
	fs := &slowFS{FS: vfs.NewMem()}
	s, err := Open(ctx, "data", Options{FS: fs, Floor: -1, Small: true})
	require.NoError(t, err)
	log := store.LogName{Feed: "f", Path: "/a"}
	limits := store.Limits{Age: time.Hour}
	gate := make(chan struct{})
	fs.gate.Store(&gate)

	var wg sync.WaitGroup
	acked := make(chan int, 100)
	for i := range 100 {
		wg.Add(1)
		s.Submit(log, limits, []store.Record{{Data: []byte(fmt.Sprint(i))}}, func(_ store.Appended, err error) {
			if err == nil {
				acked <- i
			}
			wg.Done()
		})
	}
	page, err := s.Read(ctx, log, store.Range{Limits: limits}, 1000, 1<<20)
	require.NoError(t, err)
	require.Empty(t, page.Entries)
	require.Empty(t, acked)
	close(gate)
	wg.Wait()
	require.Len(t, acked, 100)
	page, err = s.Read(ctx, log, store.Range{Limits: limits}, 1000, 1<<20)
	require.NoError(t, err)
	require.Len(t, page.Entries, 100)
	require.NoError(t, s.Close())
}

// BenchmarkSlowDisk appends to a disk whose sync takes 1 and 5 ms: throughput comes
// from what shares a sync.
func BenchmarkSlowDisk(b *testing.B) {
	for _, pause := range []time.Duration{time.Millisecond, 5 * time.Millisecond} {
		b.Run(pause.String(), func(b *testing.B) {
			storetest.Bench(b, func(t testing.TB, now func() time.Time) store.Store {
				return openDir(t, t.TempDir(), Options{Now: now, Floor: -1, Small: true, FS: &slowFS{FS: vfs.Default, pause: pause}})
			})
		})
	}
}
