package main

import (
	"context"
	"errors"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// tableLease holds who does what only one node may do at a time: a row for each
// task, with the holder's mark as data, that expires when it is not renewed.
const tableLease = "lease"

// lease is the right to do a task while others on the same store may want to do it,
// too. It is one node's and not safe for concurrent use.
type lease struct {
	table store.Table
	task  string
	mark  string // of this process, in no other
	life  time.Duration

	version uint64 // of our row; 0: it is not ours
}

// hold takes the lease where it is free, renews it where it is ours, and reports
// whether it is ours for life from the call on. A holder that was away for longer
// finds that another has it, and stops.
func (l *lease) hold(ctx context.Context) (bool, error) {
	version, err := l.table.Put(ctx, tableLease, l.task, store.Put{Data: []byte(l.mark), TTL: l.life, IfVersion: &l.version})
	if err == nil {
		l.version = version
		return true, nil
	}
	if !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrUncertain) {
		return false, err
	}
	// A Put of ours whose answer was lost may have been carried out.
	l.version = 0
	row, err := l.table.Get(ctx, tableLease, l.task)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return false, nil // the next call takes it
	case err != nil:
		return false, err
	case string(row.Data) == l.mark:
		l.version = row.Version
		return true, nil
	}
	return false, nil
}

// release gives the lease up, so that another need not wait until it expires.
func (l *lease) release(ctx context.Context) error {
	if l.version == 0 {
		return nil
	}
	err := l.table.Remove(ctx, tableLease, l.task, &l.version)
	l.version = 0
	if errors.Is(err, store.ErrConflict) {
		return nil // it is another's already
	}
	return err
}
