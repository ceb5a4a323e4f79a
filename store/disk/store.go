package disk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/internal/clock"
	"github.com/gobelin-broker/gobelin/store/internal/feeds"
	"github.com/gobelin-broker/gobelin/store/internal/groups"
	"github.com/gobelin-broker/gobelin/store/internal/queue"
)

// Options says how a folder is opened; the zero value is usable.
type Options struct {
	// Small halves and halves again the memory of the engine: about 62 instead
	// of 100 MB for the process, at slightly more CPU (store.md §2.4).
	Small bool
	// Floor is the free space in bytes below which appends are refused, and puts below
	// half of it; 0 is 512 MiB, negative is none. Too low and the engine may meet the
	// full disk itself, which ends the process.
	Floor int64
	// Now is the wall clock; nil is time.Now.
	Now func() time.Time
	// Log hears of what an operator should know; nil is silence.
	Log *zap.Logger
	// FS is the file system, for tests; nil is the operating system's.
	FS vfs.FS

	exit func(code int) // nil is os.Exit
}

// exitIO is the exit code for a disk that cannot be written (EX_IOERR).
const exitIO = 74

// Store is a store.Store in a folder.
type Store struct {
	dir   string
	fs    vfs.FS
	floor int64
	log   *zap.Logger
	lock  *pebble.Lock
	db    *pebble.DB
	clock *clock.Clock
	queue *queue.Queue[op]
	feeds *feeds.Feeds
	heads *heads
	// groups are those in use; what is settled is written by the committer.
	groups *groups.Set

	committer sync.WaitGroup
	others    sync.WaitGroup
	cancel    context.CancelFunc // ends the others
	closing   sync.Once
	closeErr  error

	left   atomic.Int32 // the room there is
	broken atomic.Pointer[error]

	// owned by the committer
	mark    int64  // on the disk: no ms above it was announced or answered
	nextID  uint64 // on the disk with every channel
	written int    // bytes since the watchdog last looked
	// stretches that were written to, and until when they are kept on the disk
	stretches map[stretch]int64

	shot sync.Mutex // held while there is a snapshot

	life   sync.RWMutex
	closed bool
}

var _ store.Store = (*Store)(nil)

// Open opens the store in dir, making the folder if need be. Errors: ErrLocked
// (wrapped) when another process has it open; in words, a layout this program
// does not know, or what the file system said.
func Open(ctx context.Context, dir string, o Options) (*Store, error) {
	o = o.withDefaults()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("disk: open %s: %w", dir, err)
	}
	if err := o.FS.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("disk: open %s: %w", dir, err)
	}
	lock, err := pebble.LockDirectory(dir, o.FS)
	if err != nil {
		return nil, lockError(dir, err)
	}
	s := &Store{
		dir: dir, fs: o.FS, floor: o.Floor, log: o.Log, lock: lock,
		queue: queue.New[op](maxQueued, maxQueuedBytes), feeds: feeds.New(), stretches: make(map[stretch]int64),
	}
	s.queue.Patient = true // each commit waits for the disk
	s.left.Store(int32(allRoom))
	s.groups = groups.NewSet(s.loadGroup, maxGroups)
	s.heads = newHeads(100_000)
	if o.Small {
		s.heads = newHeads(10_000)
	}
	// What a crash has left of a snapshot holds files that are long gone otherwise.
	if err := o.FS.RemoveAll(o.FS.PathJoin(dir, snapshotFolder)); err != nil {
		return nil, errors.Join(fmt.Errorf("disk: open %s: %w", dir, err), lock.Close())
	}
	if s.db, err = pebble.Open(dir, o.engine(lock)); err != nil {
		return nil, errors.Join(fmt.Errorf("disk: open %s: %w", dir, err), lock.Close())
	}
	if err := s.start(o.Now); err != nil {
		return nil, errors.Join(fmt.Errorf("disk: open %s: %w", dir, err), s.db.Close(), lock.Close())
	}
	s.watchSpace()
	var loops context.Context
	loops, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.committer.Go(s.commitLoop)
	s.others.Go(func() { s.spaceLoop(loops) })
	s.others.Go(func() { s.sweepLoop(loops) })
	return s, nil
}

func (o Options) withDefaults() Options {
	if o.Floor == 0 {
		o.Floor = 512 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.exit == nil {
		o.exit = os.Exit
	}
	return o
}

// engine returns the engine's options (store.md §2.4 for the sizes).
func (o Options) engine(lock *pebble.Lock) *pebble.Options {
	e := &pebble.Options{
		FS:           o.FS,
		Lock:         lock,
		Logger:       &engineLog{log: o.Log.Named("pebble"), exit: o.exit},
		MemTableSize: 16 << 20,
		CacheSize:    32 << 20,
		MaxOpenFiles: 500,
		// Pinned: an upgrade of the engine must not make folders unreadable for
		// the program before.
		FormatMajorVersion: pebble.FormatTableFormatV6,
	}
	if o.Small {
		e.MemTableSize, e.CacheSize = 4<<20, 8<<20
	}
	for i := range e.Levels {
		e.Levels[i].FilterPolicy = bloom.FilterPolicy(10) // nonces and rows are looked up by key
	}
	return e
}

// lockError says in words which folder is in use and what to do.
func lockError(dir string, err error) error {
	if errors.Is(err, syscall.EAGAIN) || strings.Contains(err.Error(), "held by current process") {
		return fmt.Errorf("disk: open %s: the folder is in use by another gobelin: stop it, or give this one a folder of its own: %w", dir, store.ErrLocked)
	}
	return fmt.Errorf("disk: open %s: lock: %w", dir, err)
}

// start checks the layout and takes up the clock and the ids where they were.
func (s *Store) start(now func() time.Time) error {
	v, err := s.value(keyLayout)
	if err != nil {
		return err
	}
	if v == nil {
		if err := s.initialise(); err != nil {
			return err
		}
	} else if got := binary.BigEndian.Uint32(v[:4]); got != layout {
		return fmt.Errorf("the folder has layout %d and this program knows layout %d only: use the version of gobelin that made it, or another folder", got, layout)
	}
	series, err := s.value(keySeries)
	if err != nil {
		return err
	}
	s.nextID = 1
	if series != nil {
		if len(series) != 16 {
			return fmt.Errorf("series: %w", errCorrupt)
		}
		s.mark = int64(binary.BigEndian.Uint64(series))
		s.nextID = binary.BigEndian.Uint64(series[8:])
	}
	s.clock = clock.New(now, s.mark)
	return nil
}

// initialise makes an empty database ours.
func (s *Store) initialise() error {
	it, err := s.db.NewIter(nil)
	if err != nil {
		return err
	}
	foreign := it.First()
	if err := it.Close(); err != nil {
		return err
	}
	if foreign {
		return errors.New("the folder holds a database that is not gobelin's: use another folder")
	}
	return s.db.Set(keyLayout, binary.BigEndian.AppendUint32(nil, layout), pebble.Sync)
}

// value returns a copy of a key's value, nil if there is none, of at least 4 bytes.
func (s *Store) value(key []byte) ([]byte, error) {
	v, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := append([]byte(nil), v...)
	if len(out) < 4 {
		err = errCorrupt
	}
	return out, errors.Join(err, closer.Close())
}

// Now returns the store's clock; see store.Store.
func (s *Store) Now() time.Time { return s.clock.Now() }

// Announced returns a time up to which every watcher has heard; see store.Feed. It
// stands still for good when the disk failed.
func (s *Store) Announced() time.Time { return s.clock.Settled() }

// Lag returns the zero value: a copy is written with its record.
func (s *Store) Lag(context.Context) (store.Lag, error) { return store.Lag{}, nil }

// Shared returns false: the folder is locked.
func (s *Store) Shared() bool { return false }

// Watch announces the appends of a feed; see store.Feed. stop waits for a call of
// w under way, so it must not be called by w.
func (s *Store) Watch(feed string, w store.Watcher) (stop func(), err error) {
	return s.feeds.Watch(feed, w)
}

// Health returns nil when appends and reads can be expected to work.
func (s *Store) Health(ctx context.Context) error {
	if err := s.enter(ctx, "health"); err != nil {
		return err
	}
	defer s.leave()
	if err := s.ready(noRoom); err != nil {
		return fmt.Errorf("disk: health: %w", err)
	}
	s.watchSpace()
	if room(s.left.Load()) < allRoom {
		return fmt.Errorf("disk: health: less than %d bytes free in %s: %w", s.floor, s.dir, store.ErrFull)
	}
	return nil
}

// Close settles what was submitted, ends the watches and closes the folder. What
// it returns the engine said.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.cancel()
		s.others.Wait()
		s.queue.Close()
		s.committer.Wait()
		s.feeds.Close()
		s.life.Lock()
		defer s.life.Unlock()
		s.closed = true
		if s.broken.Load() == nil {
			// The exact mark, so that the clock goes on where it was.
			s.mark = s.clock.Last()
			s.closeErr = s.db.Set(keySeries, s.seriesValue(), pebble.Sync)
		}
		s.closeErr = errors.Join(s.closeErr, s.db.Close(), s.lock.Close())
		if s.closeErr != nil {
			s.closeErr = fmt.Errorf("disk: close: %w", s.closeErr)
		}
	})
	return s.closeErr
}
