package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/gobelin-broker/gobelin/store"
)

const (
	// copyLogs is how many logs are copied at once: an embedded store makes many
	// imports durable with one fsync.
	copyLogs = 32
	// copyRecords and copyBytes bound what is read and written at once of a log,
	// copyRows of the tables.
	copyRecords = 500
	copyBytes   = 1 << 20
	copyRows    = 500
	// copyPoints is how many rows of series are written at once: they are small.
	copyPoints = 10_000
	// copyTries is how often an import is done again that a busy store refused.
	copyTries = 8
)

// tableCopy holds one row while a copy into the store is under way, so that one that
// broke off can be told from a store that somebody uses.
const (
	tableCopy = "copy"
	rowCopy   = "unfinished"
)

func newCopyCommand() *cobra.Command {
	var path string
	var force, asJSON bool
	c := &cobra.Command{
		Use:   "copy FROM TO",
		Short: "Copy everything kept from one store to another",
		Long: `Copies the history of all channels, objects, sessions and whatever else is kept
from one store to another: folders and Redis URLs, as the option store has them. Ids,
times and redactions stay what they are, so catch-ups, sessions and streams go on; what
a stream had delivered last may be delivered again. What is
remembered of publishes so that a repeat is not stored twice is not copied, nor are
the keys: keys.yaml of a folder belongs into the configuration of the nodes.

Stop the nodes of both stores first: what is published meanwhile may be missing. A
copy that broke off is done again with the same command and goes on where it was.
TO must be empty, unless --force: then what FROM has replaces what TO has of the same
name, and what only TO has stays.`,
		Example: `  gobelin copy ./data redis://10.0.0.2:6379
  gobelin copy redis+sentinel://10.0.0.2,10.0.0.3,10.0.0.4/gobelin ./data
  REDIS=rediss://gobelin:…@db:6379 gobelin copy ./data env:REDIS --redis.prefix live`,
		Args: cobra.ExactArgs(2),
		RunE: work(func(c *cobra.Command, args []string) error {
			conf, _, fs := load(source{path: path, flags: c.Flags(), dev: true})
			if err := fs.err(); err != nil {
				return err
			}
			var ends [2]location
			for i, name := range []string{"FROM", "TO"} {
				l, err := readLocation(args[i])
				if err != nil {
					return usage{fmt.Errorf("%s: %w", name, err)}
				}
				if l.kind() == kindMemory {
					return usage{fmt.Errorf("%s: memory: keeps nothing", name)}
				}
				if text := l.fault(); text != "" {
					return usage{fmt.Errorf("%s: %s", name, text)}
				}
				ends[i] = l
			}
			if ends[0] == ends[1] {
				return usage{errors.New("FROM and TO are the same store")}
			}
			ctx, stop := signals(c.Context())
			defer stop()
			return copyStore(ctx, conf, ends[0], ends[1], force, asJSON, c.ErrOrStderr(), c.OutOrStdout())
		}),
	}
	c.Flags().StringVar(&path, "config", "", "configuration file with the options of the stores, such as redis.prefix")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object at the end")
	c.Flags().BoolVar(&force, "force", false, "copy into a store that is not empty")
	addOptionFlags(c.Flags(), true, "redis.prefix", "redis.insecure", "redis.allow_eviction")
	return c
}

// copyStore opens both ends and copies; the summary goes to out.
func copyStore(ctx context.Context, c *config, from, to location, force, asJSON bool, progress, out io.Writer) (err error) {
	log, err := newLogger("warn", c.LogFormat, progress)
	if err != nil {
		return err
	}
	source, err := c.openCopier(ctx, from, true, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	target, err := c.openCopier(ctx, to, false, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	j := &transfer{from: source, to: target}
	if j.replace, err = mayFill(ctx, target, force); err != nil {
		return fmt.Errorf("copy: %v: %w", to, err)
	}
	begun := time.Now()
	stop := showWhile(progress, j)
	err = j.run(ctx)
	stop()
	if err != nil {
		return fmt.Errorf("copy: after %s: %w; the same command goes on", j, err)
	}
	if asJSON {
		return printJSON(out, map[string]int64{"logs": j.logs.Load(), "records": j.records.Load(), "rows": j.rows.Load(), "bytes": j.bytes.Load()})
	}
	fmt.Fprintf(out, "copied %s from %v to %v in %v\n", j, from, to, time.Since(begun).Round(time.Millisecond))
	return nil
}

// openCopier opens one end. A source that is a folder must be there already.
func (c *config) openCopier(ctx context.Context, l location, source bool, log *zap.Logger) (store.Copier, error) {
	if source && l.kind() == kindDisk {
		if err := holdsStore(string(l)); err != nil {
			return nil, fmt.Errorf("copy: %w", err)
		}
	}
	if l.kind() == kindRedis {
		s, err := c.openRedis(ctx, l, true, log.Named("store"))
		if err != nil {
			return nil, err // not s, as in openAt
		}
		return s, nil
	}
	s, err := c.openAt(ctx, l, log)
	if err != nil {
		return nil, err
	}
	return s.(store.Copier), nil // each backend is one
}

// holdsStore tells a folder of ours, as far as that can be seen, from one in which
// opening would make a new store.
func holdsStore(folder string) error {
	found, err := filepath.Glob(filepath.Join(folder, "MANIFEST-*"))
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("%s: there is no store in it", folder)
	}
	return err
}

// mayFill refuses a store that somebody uses. replace: logs of the same name go first.
// An unfinished copy says what it was allowed.
func mayFill(ctx context.Context, s store.Copier, force bool) (replace bool, err error) {
	mark, err := s.Get(ctx, tableCopy, rowCopy)
	switch {
	case err == nil:
		return force || string(mark.Data) == markReplace, nil
	case !errors.Is(err, store.ErrNotFound):
		return false, err
	case force:
		return true, nil
	}
	errUsed := errors.New("the store is not empty: copy into another one, or say --force to replace what is of the same name")
	err = s.EachLog(ctx, func(store.LogState) error { return errUsed })
	if err == nil {
		err = s.EachRow(ctx, func(store.Row) error { return errUsed })
	}
	if err == nil {
		err = s.EachPoints(ctx, func(store.Points) error { return errUsed })
	}
	return false, err
}

// markReplace is the data of the mark where logs of the same name go first.
const markReplace = "replace"

// transfer is one copy under way.
type transfer struct {
	from, to store.Copier
	replace  bool

	logs, records, rows, bytes atomic.Int64
}

// String says how much was copied.
func (j *transfer) String() string {
	return fmt.Sprintf("%s, %s, %s (%s)", count(int(j.logs.Load()), "channel log"), count(int(j.records.Load()), "record"),
		count(int(j.rows.Load()), "row"), bytesInWords(j.bytes.Load()))
}

func bytesInWords(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d KiB", (n+1023)>>10)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// run copies everything. The mark that it is under way goes first and comes off last.
func (j *transfer) run(ctx context.Context) error {
	mark := ""
	if j.replace {
		mark = markReplace
	}
	if _, err := j.to.Put(ctx, tableCopy, rowCopy, store.Put{Data: []byte(mark)}); err != nil {
		return err
	}
	if err := j.allLogs(ctx); err != nil {
		return err
	}
	if err := j.allWaiting(ctx); err != nil {
		return err
	}
	if err := j.allGroups(ctx); err != nil {
		return err
	}
	if err := j.allRows(ctx); err != nil {
		return err
	}
	if err := j.allPoints(ctx); err != nil {
		return err
	}
	return j.to.Remove(ctx, tableCopy, rowCopy, nil)
}

// allLogs copies logs, many at once. The first fault ends it.
func (j *transfer) allLogs(parent context.Context) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	work := make(chan store.LogState)
	var workers sync.WaitGroup
	for range copyLogs {
		workers.Go(func() {
			for l := range work {
				if ctx.Err() != nil {
					continue
				}
				if err := j.log(ctx, l); err != nil {
					cancel(err)
					continue
				}
				j.logs.Add(1)
			}
		})
	}
	err := j.from.EachLog(ctx, func(l store.LogState) error {
		select {
		case work <- l:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	close(work)
	workers.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// log copies one.
func (j *transfer) log(ctx context.Context, l store.LogState) error {
	if j.replace {
		if err := again(ctx, func() error { return j.to.Delete(ctx, l.Log) }); err != nil {
			return err
		}
	}
	for after := (store.Position{}); ; {
		records, err := j.from.Export(ctx, l.Log, after, copyRecords, copyBytes)
		if err != nil || len(records) == 0 {
			return err
		}
		if err = again(ctx, func() error { return j.to.Import(ctx, l, records) }); err != nil {
			return err
		}
		for i := range records {
			j.bytes.Add(int64(len(records[i].Data)))
		}
		j.records.Add(int64(len(records)))
		after = records[len(records)-1].Position
	}
}

// allWaiting appends the copies of records that were on their way to a log: in the other
// store they arrive.
func (j *transfer) allWaiting(ctx context.Context) error {
	return j.from.EachWaiting(ctx, func(w store.Waiting) error {
		err := again(ctx, func() error {
			done := make(chan error, 1)
			j.to.Submit(w.To, w.Limits, []store.Record{w.Record}, func(_ store.Appended, err error) { done <- err })
			return <-done
		})
		if err == nil {
			j.records.Add(1)
			j.bytes.Add(int64(len(w.Record.Data)))
		}
		return err
	})
}

// allGroups puts the groups where everything is settled.
func (j *transfer) allGroups(ctx context.Context) error {
	return j.from.EachGroup(ctx, func(g store.GroupName) error {
		state, err := j.from.State(ctx, g)
		if err != nil {
			return err
		}
		return again(ctx, func() error { return j.to.Seek(ctx, g, state.After) })
	})
}

// allRows copies the rows of all tables.
func (j *transfer) allRows(ctx context.Context) error {
	var rows []store.Row
	size := 0
	flush := func() error {
		if err := again(ctx, func() error { return j.to.ImportRows(ctx, rows) }); err != nil {
			return err
		}
		j.rows.Add(int64(len(rows)))
		j.bytes.Add(int64(size))
		rows, size = nil, 0
		return nil
	}
	err := j.from.EachRow(ctx, func(r store.Row) error {
		if r.Table == tableCopy {
			return nil // a copy of FROM that broke off is none of TO
		}
		rows, size = append(rows, r), size+len(r.Data)
		if len(rows) < copyRows && size < copyBytes {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	return err
}

// allPoints copies the rows of all series.
func (j *transfer) allPoints(ctx context.Context) error {
	var all store.Points // those of one grain that are kept as long
	flush := func() error {
		if err := again(ctx, func() error { return j.to.PutRows(ctx, all.Grain, all.Keep, all.Rows) }); err != nil {
			return err
		}
		for i := range all.Rows {
			j.bytes.Add(int64(len(all.Rows[i].Data)))
		}
		j.rows.Add(int64(len(all.Rows)))
		all.Rows = nil
		return nil
	}
	err := j.from.EachPoints(ctx, func(p store.Points) error {
		if len(all.Rows) > 0 && (all.Grain != p.Grain || all.Keep != p.Keep || len(all.Rows) >= copyPoints) {
			if err := flush(); err != nil {
				return err
			}
		}
		all.Grain, all.Keep, all.Rows = p.Grain, p.Keep, append(all.Rows, p.Rows...)
		return nil
	})
	if err == nil && len(all.Rows) > 0 {
		err = flush()
	}
	return err
}

// again does something that may be done again while the store is only busy.
func again(ctx context.Context, do func() error) error {
	pause := 50 * time.Millisecond
	for try := 1; ; try++ {
		err := do()
		if !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrUncertain) || try == copyTries {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
		pause *= 2
	}
}
