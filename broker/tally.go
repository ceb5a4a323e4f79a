package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/store"
	"go.uber.org/zap"
)

const (
	// tableTally has one row, tallyKey: who adds the samples up, and how far.
	tableTally = "tally"
	tallyKey   = "viewers"
	// closeAfter is how long after its end a minute is closed, or one sample where that
	// is less (product.md §8.3).
	closeAfter = 5 * time.Second
	// ticksKept is how long the samples of nodes can be added up.
	ticksKept = 2 * time.Minute
)

// tallyRow is what the node that adds up leaves to the next.
type tallyRow struct {
	Node string `json:"node"`
	// Until is when others may take over, in ms of the store's clock, as the following.
	Until int64 `json:"until"`
	// Told is the newest sample of which all messages are out.
	Told int64 `json:"told"`
	// Closed is the end of the newest minute whose rows and messages are out.
	Closed int64 `json:"closed"`
}

// tally adds up what all nodes have counted, says it on the channels /stats/*, and closes
// minutes (product.md §8.2, §8.3). One node at a time does so, the one in the row; it is
// no fence: whatever two do at once comes out the same, since rows are written over and
// messages have nonces. So a node that dies half way costs a delay: at most one sample
// and leaseTime.
type tally struct {
	b                   *Broker
	every, grace, after time.Duration

	// owned by run
	row     tallyRow
	version uint64 // of the row as this node wrote it; 0: another may have
	changed bool   // the row is not what was written
	failing bool
	// had are the objects that had viewers in the sample of Told; nil: not known.
	had map[string]struct{}
}

func newTally(b *Broker) *tally {
	every := b.opt.StatsSample
	return &tally{b: b, every: every, grace: min(every/4, sampleGrace), after: min(every, closeAfter)}
}

// run goes a round whenever a sample is complete and whenever a minute is to be closed,
// until ctx ends; then another node may go on at once.
func (t *tally) run(ctx context.Context) {
	for ctx.Err() == nil {
		now := t.b.opt.Store.Now()
		if pause(ctx, t.next(now).Sub(now)) != nil {
			break
		}
		err := t.round(ctx)
		if ctx.Err() != nil {
			break
		}
		if err != nil && !t.failing {
			t.b.log.Warn("viewers could not be added up; it is tried again with each sample", zap.Error(err))
		}
		t.failing = err != nil
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWait)
	defer cancel()
	t.resign(last)
}

// next returns when the next round is due.
func (t *tally) next(now time.Time) time.Time {
	due := func(every, after time.Duration) time.Time {
		at := now.Truncate(every).Add(after)
		for !at.After(now) {
			at = at.Add(every)
		}
		return at
	}
	sample, minute := due(t.every, t.grace), due(time.Minute, t.after)
	if minute.Before(sample) {
		return minute
	}
	return sample
}

// round does what is due, where that is this node's.
func (t *tally) round(ctx context.Context) error {
	mine, err := t.hold(ctx)
	if err != nil || !mine {
		return err
	}
	t.row.within(t.b.opt.Store.Now(), t.every)
	// Minutes first: their rows are what nothing else can bring back.
	return errors.Join(t.closeMinutes(ctx), t.tell(ctx), t.keep(ctx))
}

// within brings back what lies in the future: the store's clock was set back, or another
// took its place.
func (r *tallyRow) within(now time.Time, every time.Duration) {
	if at := now.Truncate(every).UnixMilli(); r.Told > at {
		r.Told = at
	}
	if minute := now.Truncate(time.Minute).UnixMilli(); r.Closed > minute {
		r.Closed = minute
	}
}

// hold reports whether it is this node that adds up; it takes over where nobody does.
func (t *tally) hold(ctx context.Context) (bool, error) {
	now := t.b.opt.Store.Now()
	if t.version != 0 && (now.UnixMilli() < t.row.Until || !t.b.opt.Store.Shared()) {
		return true, nil
	}
	v, err := t.b.opt.Store.Get(ctx, tableTally, tallyKey)
	var row tallyRow
	switch {
	case errors.Is(err, store.ErrNotFound):
		row = tallyRow{Told: now.Truncate(t.every).Add(-t.every).UnixMilli(), Closed: now.Truncate(time.Minute).UnixMilli()}
	case err != nil:
		return false, fmt.Errorf("broker: tally: %w", err)
	default:
		if err := json.Unmarshal(v.Data, &row); err != nil {
			return false, fmt.Errorf("broker: tally: row: %w", err)
		}
		if t.b.opt.Store.Shared() && row.Node != t.b.nodes.id && now.UnixMilli() < row.Until && t.b.nodes.beats(ctx, row.Node) {
			return false, nil
		}
	}
	if row.Node != t.b.nodes.id || row.Told != t.row.Told {
		t.had = nil
	}
	t.row, t.version, t.changed = row, v.Version, true
	if err := t.keep(ctx); err != nil {
		return false, err
	}
	return t.version != 0, nil
}

// keep writes the row while it is this node's; else version is 0 after it.
func (t *tally) keep(ctx context.Context) error {
	shared := t.b.opt.Store.Shared()
	if !shared && !t.changed {
		return nil // nobody else reads it, and nothing is said twice for it
	}
	t.row.Node, t.row.Until = t.b.nodes.id, t.b.opt.Store.Now().Add(t.every+leaseTime).UnixMilli()
	return t.put(ctx)
}

func (t *tally) put(ctx context.Context) error {
	data, err := json.Marshal(t.row)
	if err != nil {
		return fmt.Errorf("broker: tally: %w", err)
	}
	version, err := t.b.opt.Store.Put(ctx, tableTally, tallyKey, store.Put{Data: data, IfVersion: &t.version})
	if err != nil {
		t.version = 0 // the row is read again: it may be ours all the same
		if errors.Is(err, store.ErrConflict) {
			return nil // another took over
		}
		return fmt.Errorf("broker: tally: %w", err)
	}
	t.version, t.changed = version, false
	return nil
}

// resign lets another node take over at once.
func (t *tally) resign(ctx context.Context) {
	if t.version == 0 || !t.b.opt.Store.Shared() && !t.changed {
		return
	}
	t.row.Until = 0
	if err := t.put(ctx); err != nil {
		t.b.log.Debug("this node could not say that it adds up no more; it is found out", zap.Error(err))
	}
}

// tell says what the samples that are complete have counted (/stats/live): of objects
// that had viewers in it or in the one before.
func (t *tally) tell(ctx context.Context) error {
	now := t.b.opt.Store.Now()
	if t.had == nil {
		counts, _, err := t.b.stats.Tick(ctx, time.UnixMilli(t.row.Told))
		if err != nil {
			return fmt.Errorf("broker: tally: %w", err)
		}
		t.had = objectsOf(counts)
	}
	at := time.UnixMilli(t.row.Told).Truncate(t.every).Add(t.every)
	if oldest := now.Add(-ticksKept).Truncate(t.every); at.Before(oldest) {
		at = oldest
	}
	for ; !now.Before(at.Add(t.grace)); at = at.Add(t.every) {
		counts, nodes, err := t.b.stats.Tick(ctx, at)
		if err != nil {
			return fmt.Errorf("broker: tally: %w", err)
		}
		if nodes > 0 {
			if err := t.tellSample(ctx, at, counts); err != nil {
				return err
			}
		}
		t.row.Told = at.UnixMilli()
	}
	return nil
}

func objectsOf(counts []catchup.ViewerCount) map[string]struct{} {
	all := make(map[string]struct{}, len(counts))
	for i := range counts {
		all[counts[i].Object] = struct{}{}
	}
	return all
}

// tellSample says one sample.
func (t *tally) tellSample(ctx context.Context, at time.Time, counts []catchup.ViewerCount) error {
	says := t.b.newSaying(statsLive)
	have := objectsOf(counts)
	for object := range t.had {
		if _, still := have[object]; !still {
			says.live(object, at, 0)
		}
	}
	for i := range counts {
		says.live(counts[i].Object, at, counts[i].Viewers)
	}
	if err := says.wait(); err != nil {
		return fmt.Errorf("broker: tally: a sample: %w", err)
	}
	t.had = have
	return ctx.Err()
}

// closeMinutes closes every minute that is due. One whose messages could not be said is
// closed again in the next round, as long as its samples are kept.
func (t *tally) closeMinutes(ctx context.Context) error {
	now := t.b.opt.Store.Now()
	minute := time.UnixMilli(t.row.Closed).Truncate(time.Minute)
	if oldest := now.Add(-ticksKept).Truncate(time.Minute); minute.Before(oldest) {
		t.b.metrics.minutesUnmeasured.Add(oldest.Sub(minute).Minutes())
		minute = oldest
		t.row.Closed, t.changed = oldest.UnixMilli(), true
	}
	var failed error
	for ; !now.Before(minute.Add(time.Minute + t.after)); minute = minute.Add(time.Minute) {
		closed, err := t.b.stats.CloseMinute(ctx, minute)
		if err != nil {
			return errors.Join(failed, fmt.Errorf("broker: tally: %w", err))
		}
		if err := t.tellClosed(ctx, minute.Add(time.Minute), closed); err != nil {
			failed = errors.Join(failed, fmt.Errorf("broker: tally: a minute: %w", err))
		}
		if failed != nil {
			continue
		}
		t.b.metrics.minutesClosed.Inc()
		t.b.metrics.unlistedURLs.Add(float64(closed.Unlisted))
		if closed.Measured.Ticks == 0 {
			t.b.metrics.minutesUnmeasured.Inc()
		}
		t.row.Closed, t.changed = minute.Add(time.Minute).UnixMilli(), true
	}
	return failed
}

// tellClosed says the rows that came with closing the minute that ended at end.
func (t *tally) tellClosed(ctx context.Context, end time.Time, closed catchup.Closed) error {
	minutes, hours, days := t.b.newSaying(statsMinute), t.b.newSaying(statsHour), t.b.newSaying(statsDay)
	minutes.rows(closed.Rows)
	hours.rows(closed.Hours)
	for _, row := range closed.Days {
		if !row.Time.Add(day).After(end) {
			days.rows([]catchup.ClosedRow{row})
		}
	}
	err := errors.Join(minutes.wait(), hours.wait(), days.wait())
	if err == nil {
		err = errors.Join(t.record(ctx, statsHour, closed.Hours), t.record(ctx, statsDay, closed.Days))
	}
	return errors.Join(err, ctx.Err())
}

// record puts rows into the logs of accounts that have streams: hours that closed, and
// the days that they are of, again each time (product.md §5.4).
func (t *tally) record(ctx context.Context, grain string, rows []catchup.ClosedRow) error {
	slots := make(chan struct{}, rememberAtOnce)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for i := range rows {
		app := t.b.tokens.applicationByID(rows[i].App)
		if app == nil || t.b.accounts.byApp[app.ID] == nil {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := t.recordRow(ctx, app, grain, &rows[i]); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = err
			}
		})
	}
	wg.Wait()
	return failed
}

func (t *tally) recordRow(ctx context.Context, app *Application, grain string, r *catchup.ClosedRow) error {
	data, err := ViewerLogRow{App: app, ViewerRow: r.ViewerRow}.JSON(false)
	if err != nil {
		return err
	}
	s := viewerStats{URL: r.URL, Grain: grain, Bucket: r.Time, Row: data}
	if len(r.Objects) == 1 {
		_, topic, _ := strings.Cut(r.Objects[0], "/")
		oid, err := parseOID(topic)
		if err != nil {
			return err
		}
		s.ObjectID, err = t.b.objects.idOf(ctx, oid)
		if err != nil && !errors.Is(err, ErrNoObject) {
			return err
		}
	}
	return t.b.recordViewerStats(ctx, app, s)
}
