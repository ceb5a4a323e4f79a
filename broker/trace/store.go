package trace

import (
	"context"
	"errors"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// Store returns s with a span for each call that a traced request waits for: of reads of
// logs and series, and of what is done to rows. Appends are handed over and not waited
// for; who waits for one makes its span.
func Store(s store.Store) store.Store { return &traced{s} }

type traced struct{ store.Store }

// FailedStore reports whether an error is the store's fault, not its answer.
func FailedStore(err error) bool {
	return err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrConflict)
}

// Read is store.Log's.
func (t *traced) Read(ctx context.Context, log store.LogName, r store.Range, limit, maxBytes int) (store.Page, error) {
	s := Start(ctx, "store read")
	page, err := t.Store.Read(ctx, log, r, limit, maxBytes)
	s.Number("gobelin.records", int64(len(page.Entries)))
	s.End(FailedStore(err))
	return page, err
}

// Count is store.Log's.
func (t *traced) Count(ctx context.Context, log store.LogName, r store.Range) (int64, error) {
	s := Start(ctx, "store count")
	n, err := t.Store.Count(ctx, log, r)
	s.End(FailedStore(err))
	return n, err
}

// Get is store.Table's.
func (t *traced) Get(ctx context.Context, table, key string) (store.Value, error) {
	s := Start(ctx, "store get")
	s.Text("gobelin.table", table)
	v, err := t.Store.Get(ctx, table, key)
	s.End(FailedStore(err))
	return v, err
}

// Put is store.Table's.
func (t *traced) Put(ctx context.Context, table, key string, put store.Put) (uint64, error) {
	s := Start(ctx, "store put")
	s.Text("gobelin.table", table)
	version, err := t.Store.Put(ctx, table, key, put)
	s.End(FailedStore(err))
	return version, err
}

// Remove is store.Table's.
func (t *traced) Remove(ctx context.Context, table, key string, ifVersion *uint64) error {
	s := Start(ctx, "store remove")
	s.Text("gobelin.table", table)
	err := t.Store.Remove(ctx, table, key, ifVersion)
	s.End(FailedStore(err))
	return err
}

// List is store.Table's.
func (t *traced) List(ctx context.Context, table, prefix, after string, limit int) ([]store.Item, error) {
	s := Start(ctx, "store list")
	s.Text("gobelin.table", table)
	items, err := t.Store.List(ctx, table, prefix, after, limit)
	s.Number("gobelin.records", int64(len(items)))
	s.End(FailedStore(err))
	return items, err
}

// PutRows is store.Series'.
func (t *traced) PutRows(ctx context.Context, grain store.Grain, keep time.Duration, rows []store.Point) error {
	s := Start(ctx, "store put rows")
	s.Number("gobelin.records", int64(len(rows)))
	err := t.Store.PutRows(ctx, grain, keep, rows)
	s.End(FailedStore(err))
	return err
}

// Rows is store.Series'.
func (t *traced) Rows(ctx context.Context, grain store.Grain, series []string, r store.SeriesRange, limit int) ([][]store.Point, bool, error) {
	s := Start(ctx, "store rows")
	rows, more, err := t.Store.Rows(ctx, grain, series, r, limit)
	s.End(FailedStore(err))
	return rows, more, err
}
