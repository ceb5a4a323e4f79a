package disk

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"

	"github.com/gobelin-broker/gobelin/store"
)

// snapshotFolder is where a snapshot lies below a store's folder, by name so that what a
// crash leaves is found: linked files would hold the disk for ever.
const snapshotFolder = "snapshot"

// Snapshot makes a copy of everything kept at this moment, whole and consistent, in a
// folder below the store's own and returns that; the store goes on meanwhile. Files are
// linked rather than copied, so it is quick and takes little room until what is linked
// would have been deleted. There can be one at a time; the caller calls remove. Errors:
// store.ErrLocked (wrapped) while there is one, or what the file system said.
func (s *Store) Snapshot(ctx context.Context) (folder string, remove func() error, err error) {
	if err := s.enter(ctx, "snapshot"); err != nil {
		return "", nil, err
	}
	defer s.leave()
	if !s.shot.TryLock() {
		return "", nil, fmt.Errorf("disk: snapshot: another one is under way: %w", store.ErrLocked)
	}
	folder = filepath.Join(s.dir, snapshotFolder)
	remove = func() error {
		defer s.shot.Unlock()
		return s.fs.RemoveAll(folder)
	}
	// What the log of the engine holds goes along, so that nothing acknowledged lacks.
	if err := s.db.Checkpoint(folder, pebble.WithFlushedWAL()); err != nil {
		return "", nil, errors.Join(fmt.Errorf("disk: snapshot: %w", err), remove())
	}
	return folder, remove, nil
}

// countEach is after how many keys a count looks whether it is still wanted.
const countEach = 10_000

// counted are the tables that a count tells of, by what their keys are.
var counted = map[byte]string{tabChannel: "channels", tabRecord: "records", tabRow: "rows", tabSeries: "points", tabGroup: "groups"}

// Count reads everything in the folder of a store that is not open, without changing it,
// and returns how much there is: channels, records, rows, points and groups. Those that
// have expired and are not swept yet are among them. A block that the disk has damaged is
// an error.
func Count(ctx context.Context, folder string) (map[string]int64, error) {
	n, err := count(ctx, folder)
	if err != nil {
		return nil, fmt.Errorf("disk: count %s: %w", folder, err)
	}
	return n, nil
}

func count(ctx context.Context, folder string) (n map[string]int64, err error) {
	o := Options{Small: true}.withDefaults()
	e := o.engine(nil)
	e.ReadOnly = true
	db, err := pebble.Open(folder, e)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	it, err := db.NewIter(nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	n = map[string]int64{}
	for _, what := range counted {
		n[what] = 0
	}
	i := 0
	for it.First(); it.Valid(); it.Next() {
		if i++; i%countEach == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if _, err := it.ValueAndErr(); err != nil {
			return nil, err
		}
		if what := counted[it.Key()[0]]; what != "" {
			n[what]++
		}
	}
	return n, it.Error()
}
