package catchup

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

const (
	// keepMargin is how much longer rows are kept than they are shown: so that the hour
	// and the day of the oldest ones can still be folded.
	keepMargin = 2 * day
	// maxViewerURL bounds the URL of a row in bytes.
	maxViewerURL = 1024
	// readRows is about how many rows are read and held at once.
	readRows = 1 << 16
	// tableViewers holds single facts: closedKey, keptKey, importsKey, foldKey.
	tableViewers = "viewers"
	closedKey    = "closed" // → unix time(8): hours before that are folded for good
	// foldTurns is how many applications of a node can be folded at the same time.
	foldTurns = 16
)

// ErrViewerURL: a URL that is empty or too long for a row.
var ErrViewerURL = fmt.Errorf("catchup: the url of a row of viewers has 1 to %d bytes", maxViewerURL)

func checkURL(url string) error {
	if url == "" || len(url) > maxViewerURL {
		return ErrViewerURL
	}
	return nil
}

// Viewers keeps how many viewers the URLs of applications had, on a store that several
// nodes may share: what each node counts at each sample (PutTick), what becomes of it
// (CloseMinute), what was counted elsewhere (AddSamples), and all of it for who asks
// (Rows, Measured, URLs). All methods may be called by many goroutines.
type Viewers struct {
	store  store.Store
	sample time.Duration
	keep   ViewerKeep
	// turn lets a goroutine at a time fold an application: only nodes compete for it.
	turn [foldTurns]chan struct{}

	mu      sync.Mutex
	known   map[string]bool // by knownKey: what is in the index
	imports map[uint32]bool // applications that have imported samples
}

// NewViewers returns the viewer statistics of a store. sample is the time from one tick
// of a node to the next, in whole milliseconds; keep is valid, or zero where it is as usual.
func NewViewers(s store.Store, sample time.Duration, keep ViewerKeep) *Viewers {
	v := &Viewers{store: s, sample: sample, keep: keep.WithDefaults(), known: make(map[string]bool), imports: make(map[uint32]bool)}
	for i := range v.turn {
		v.turn[i] = make(chan struct{}, 1)
	}
	return v
}

// Measured says that our nodes counted in a bucket. A bucket without one was not measured:
// that nobody has a row there says nothing.
type Measured struct {
	Time time.Time
	// Ticks is how many samples there were, Reports how many nodes wrote one.
	Ticks   uint32
	Reports uint64
	// Seconds is how long the samples stand for: less than the bucket lasts if it is not
	// over, or was not measured whole.
	Seconds uint64
}

func (m Measured) row() ViewerRow {
	return ViewerRow{Time: m.Time, N: m.Ticks, Sum: m.Reports, Seconds: m.Seconds}
}

func measured(r ViewerRow) Measured {
	return Measured{Time: r.Time, Ticks: r.N, Reports: r.Sum, Seconds: r.Seconds}
}

// Rows returns the rows of URLs that begin in a window, from from (inclusive) to to
// (exclusive): by URL in the order given, then by time. The hour and the day that are
// not over are there and grow. At most limit (at least 1) come back; more says that there are
// others. Of a grain only what is still kept is found (ViewerKeep).
func (v *Viewers) Rows(ctx context.Context, app uint32, urls []string, grain store.Grain, from, to time.Time, limit int) (rows []ViewerRow, more bool, err error) {
	w, err := v.window(ctx, grain, from, to)
	if err != nil {
		return nil, false, fmt.Errorf("catchup: rows of viewers: %w", err)
	}
	limit = max(limit, 1)
	for some := range slices.Chunk(urls, w.urlsAtOnce()) {
		got, err := v.shown(ctx, countedSeries, app, some, w)
		if err != nil {
			return nil, false, fmt.Errorf("catchup: rows of viewers: %w", err)
		}
		for _, r := range got {
			if len(rows)+len(r) > limit {
				return append(rows, r[:limit-len(rows)]...), true, nil
			}
			rows = append(rows, r...)
		}
	}
	return rows, false, nil
}

// Measured returns in which buckets of a window our nodes counted, in order of time.
func (v *Viewers) Measured(ctx context.Context, grain store.Grain, from, to time.Time) ([]Measured, error) {
	w, err := v.window(ctx, grain, from, to)
	var rows [][]ViewerRow
	if err == nil {
		rows, err = v.shown(ctx, measuredSeries, 0, []string{""}, w)
	}
	if err != nil {
		return nil, fmt.Errorf("catchup: measured: %w", err)
	}
	out := make([]Measured, len(rows[0]))
	for i, r := range rows[0] {
		out[i] = measured(r)
	}
	return out, nil
}

// window is a stretch of time in a grain, cut into what is stored in that grain, and what
// has to be folded: of hours, and of minutes.
type window struct {
	grain                  store.Grain
	stored, hours, minutes stretch
}

// stretch is from from (inclusive) to to (exclusive); empty if to is not after from.
type stretch struct{ from, to time.Time }

func (s stretch) slots(g store.Grain) int { return max(int(s.to.Sub(s.from)/g.Width())+1, 0) }

func (w window) urlsAtOnce() int {
	return max(readRows/(w.stored.slots(w.grain)+w.hours.slots(store.Hour)+w.minutes.slots(store.Minute)), 1)
}

// window looks which hours have closed.
func (v *Viewers) window(ctx context.Context, grain store.Grain, from, to time.Time) (window, error) {
	if grain != store.Minute && grain != store.Hour && grain != store.Day {
		return window{}, fmt.Errorf("%d is no grain of viewers", grain)
	}
	now := v.store.Now()
	keep := map[store.Grain]time.Duration{store.Minute: v.keep.Minutes, store.Hour: v.keep.Hours}[grain]
	if keep == 0 {
		keep = now.Sub(time.Unix(0, 0))
	}
	width := grain.Width()
	up := func(t time.Time) time.Time { return t.Add(width - 1).Truncate(width) }
	from, to = up(later(from, now.Add(-keep))), up(earlier(to, now.Add(day)))
	w := window{grain: grain, stored: stretch{from, to}}
	if grain == store.Minute {
		return w, nil
	}
	closed, _, err := v.closed(ctx)
	if err != nil {
		return window{}, err
	}
	open := later(from, closed.Truncate(width)) // of this grain
	w.stored.to = earlier(to, open)
	w.minutes = stretch{later(open, closed), to}
	if grain == store.Day {
		w.hours = stretch{open, earlier(to, closed)}
	}
	return w, nil
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// shown returns the rows that a window shows of each URL.
func (v *Viewers) shown(ctx context.Context, kind byte, app uint32, urls []string, w window) ([][]ViewerRow, error) {
	if w.grain == store.Minute {
		return v.minutes(ctx, kind, app, urls, w.stored, v.keep.Minutes)
	}
	rows, err := v.read(ctx, kind, app, urls, w.grain, w.stored, v.keep.of(w.grain, 0))
	if err != nil {
		return nil, err
	}
	hours, err := v.read(ctx, kind, app, urls, store.Hour, w.hours, v.keep.Hours+keepMargin)
	if err != nil {
		return nil, err
	}
	minutes, err := v.minutes(ctx, kind, app, urls, w.minutes, v.keep.Minutes+keepMargin)
	if err != nil {
		return nil, err
	}
	for i := range rows {
		open := append(hours[i], foldRows(minutes[i], store.Hour)...)
		rows[i] = append(rows[i], foldRows(open, w.grain)...)
	}
	return rows, nil
}

// minutes returns the minutes of URLs: what our nodes counted together with what was
// imported.
func (v *Viewers) minutes(ctx context.Context, kind byte, app uint32, urls []string, s stretch, keep time.Duration) ([][]ViewerRow, error) {
	rows, err := v.read(ctx, kind, app, urls, store.Minute, s, keep)
	if err != nil || kind != countedSeries {
		return rows, err
	}
	if there, err := v.imported(ctx, app); err != nil || !there {
		return rows, err
	}
	imported, err := v.read(ctx, importedSeries, app, urls, store.Minute, s, keep)
	if err != nil {
		return nil, err
	}
	for i := range rows {
		rows[i] = joined(rows[i], imported[i])
	}
	return rows, nil
}

// joined merges two lists in the order of time.
func joined(counted, imported []ViewerRow) []ViewerRow {
	if len(imported) == 0 {
		return counted
	}
	out := make([]ViewerRow, 0, len(counted)+len(imported))
	for len(counted) > 0 && len(imported) > 0 {
		switch c, i := counted[0], imported[0]; c.Time.Compare(i.Time) {
		case -1:
			out, counted = append(out, c), counted[1:]
		case 1:
			out, imported = append(out, i), imported[1:]
		default:
			c.join(i)
			out, counted, imported = append(out, c), counted[1:], imported[1:]
		}
	}
	return append(append(out, counted...), imported...)
}

// read returns the stored rows of URLs in a stretch, all of them.
func (v *Viewers) read(ctx context.Context, kind byte, app uint32, urls []string, g store.Grain, s stretch, keep time.Duration) ([][]ViewerRow, error) {
	out := make([][]ViewerRow, len(urls))
	if !s.from.Before(s.to) || len(urls) == 0 {
		return out, nil
	}
	names := make([]string, len(urls))
	for i, url := range urls {
		names[i] = seriesOf(kind, app, url)
	}
	points, _, err := v.store.Rows(ctx, g, names, store.SeriesRange{From: s.from, To: s.to, Keep: keep}, s.slots(g)*len(urls))
	if err != nil {
		return nil, err
	}
	for i := range points {
		out[i] = make([]ViewerRow, len(points[i]))
		for j, p := range points[i] {
			if out[i][j], err = decodeViewerRow(app, urls[i], p); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// put stores rows of one grain.
func (v *Viewers) put(ctx context.Context, kind byte, g store.Grain, rows []ViewerRow) error {
	if len(rows) == 0 {
		return nil
	}
	points := make([]store.Point, len(rows))
	for i, r := range rows {
		points[i] = store.Point{Series: seriesOf(kind, r.App, r.URL), Time: r.Time, Data: r.encode()}
	}
	return v.store.PutRows(ctx, g, v.keep.of(g, keepMargin), points)
}

// closed returns before when all hours are folded for good, and the version of the row
// that says so. Where nothing has closed yet that is as long ago as minutes are kept.
func (v *Viewers) closed(ctx context.Context) (time.Time, uint64, error) {
	row, err := v.store.Get(ctx, tableViewers, closedKey)
	if errors.Is(err, store.ErrNotFound) {
		return v.store.Now().Add(-v.keep.Minutes).UTC().Truncate(time.Hour), 0, nil
	}
	if err != nil {
		return time.Time{}, 0, err
	}
	if len(row.Data) != 8 {
		return time.Time{}, 0, errViewerRow
	}
	return time.Unix(int64(binary.BigEndian.Uint64(row.Data)), 0).UTC(), row.Version, nil
}

// close notes that all hours before a time are folded.
func (v *Viewers) close(ctx context.Context, before time.Time) error {
	for {
		closed, version, err := v.closed(ctx)
		if err != nil || version > 0 && !closed.Before(before) {
			return err
		}
		data := binary.BigEndian.AppendUint64(nil, uint64(before.Unix()))
		_, err = v.store.Put(ctx, tableViewers, closedKey, store.Put{Data: data, IfVersion: &version})
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}

func importsKey(app uint32) string { return fmt.Sprintf("imports/%08x", app) }

// imported reports whether an application has imported samples.
func (v *Viewers) imported(ctx context.Context, app uint32) (bool, error) {
	v.mu.Lock()
	known := v.imports[app]
	v.mu.Unlock()
	if known {
		return true, nil
	}
	_, err := v.store.Get(ctx, tableViewers, importsKey(app))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err == nil {
		v.mu.Lock()
		v.imports[app] = true
		v.mu.Unlock()
	}
	return err == nil, err
}
