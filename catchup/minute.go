package catchup

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// closeWithin bounds how long it may take from reading the ticks of a minute to writing
// its rows: who stood still in between may know less than others do by now.
const closeWithin = 20 * time.Second

// ClosedRow is a row that was written, with the objects that were viewed under its URL.
type ClosedRow struct {
	ViewerRow
	Objects []string
}

// Closed is what CloseMinute did.
type Closed struct {
	Minute time.Time
	// Measured is the zero value if no node counted.
	Measured Measured
	// Rows are the minute's. Hours are those of every hour that closed with it, or that
	// was over before and was folded anew; Days the days so far of the URLs in Hours, and
	// when a day closes those of all its URLs.
	Rows, Hours, Days []ClosedRow
	// Unlisted is how many URLs found no room in the index.
	Unlisted int
}

// CloseMinute makes rows of the ticks of a minute, and of hours that are over with it.
// It can be done again, on several nodes at once, and after it was left half way: it
// writes over what is there, and the same ticks give the same rows. Where a minute was
// closed with more ticks than are left by now, its rows are left as they are. It is for
// minutes of the last two; each one should be closed, also those in which no node
// counted, so that hours close in time.
func (v *Viewers) CloseMinute(ctx context.Context, minute time.Time) (Closed, error) {
	minute = minute.UTC().Truncate(time.Minute)
	c := Closed{Minute: minute}
	if minute.Add(time.Minute).Equal(minute.Add(time.Minute).Truncate(time.Hour)) {
		v.relearn()
	}
	urls, err := v.closeTicks(ctx, &c)
	if err != nil {
		return Closed{}, fmt.Errorf("catchup: close minute: %w", err)
	}
	if err := v.closeHours(ctx, &c, urls); err != nil {
		return Closed{}, fmt.Errorf("catchup: close hour: %w", err)
	}
	return c, nil
}

// closeTicks writes the rows of the minute, and returns their URLs.
func (v *Viewers) closeTicks(ctx context.Context, c *Closed) ([]viewedURL, error) {
	begun := v.store.Now()
	t := newTally()
	if err := v.ticks(ctx, minutePrefix(c.Minute), t.row, t.add); err != nil {
		return nil, err
	}
	next := c.Minute.Add(time.Minute)
	before, err := v.read(ctx, measuredSeries, 0, []string{""}, store.Minute, stretch{c.Minute, next}, v.keep.Minutes)
	if err != nil {
		return nil, err
	}
	c.Measured = t.measured(c.Minute)
	if len(before[0]) > 0 && before[0][0].Sum > c.Measured.Reports {
		c.Measured = measured(before[0][0])
		return nil, nil
	}
	if c.Measured.Ticks == 0 {
		c.Measured = Measured{}
		return nil, nil
	}
	c.Rows = t.rows(c.Minute)
	urls := make([]viewedURL, len(c.Rows))
	rows := make([]ViewerRow, len(c.Rows))
	for i, r := range c.Rows {
		rows[i], urls[i] = r.ViewerRow, viewedURL{r.App, r.URL, r.Objects}
	}
	if c.Unlisted, err = v.list(ctx, dayOf(c.Minute), urls); err != nil {
		return nil, err
	}
	if took := v.store.Now().Sub(begun); took > closeWithin {
		return nil, fmt.Errorf("it took %s, do it again: %w", took, store.ErrUnavailable)
	}
	if err := v.put(ctx, countedSeries, store.Minute, rows); err != nil {
		return nil, err
	}
	// Last: what is measured and has no row was viewed by nobody.
	return urls, v.put(ctx, measuredSeries, store.Minute, []ViewerRow{c.Measured.row()})
}

// tally adds up the ticks of a minute, which come in the order of time.
type tally struct {
	byURL map[string]*tallied
	all   []*tallied
	key   []byte

	at      int64 // ms of the tick that is being read
	ticks   uint32
	reports uint64
	sample  time.Duration // what the tick stands for
	lasts   time.Duration // what those before it stand for
}

// tallied is what there is of one URL.
type tallied struct {
	viewedURL
	row    ViewerRow
	millis uint64

	tick             uint32 // to which viewers and arrived belong
	viewers, arrived uint32
}

func newTally() *tally { return &tally{byURL: make(map[string]*tallied)} }

// row begins a row of a tick.
func (t *tally) row(at int64, first bool, sample time.Duration) {
	if t.ticks == 0 || at != t.at {
		t.lasts += t.sample
		t.at, t.sample = at, sample
		t.ticks++
	}
	if first {
		t.reports++
	}
}

// measured returns what is known beside the rows.
func (t *tally) measured(minute time.Time) Measured {
	return Measured{Time: minute, Ticks: t.ticks, Reports: t.reports, Seconds: uint64((t.lasts + t.sample).Round(time.Second) / time.Second)}
}

// add counts c, of the tick that was begun last.
func (t *tally) add(c rawCount) {
	t.key = append(binary.BigEndian.AppendUint32(t.key[:0], c.app), c.url...)
	u := t.byURL[string(t.key)]
	if u == nil {
		u = &tallied{viewedURL: viewedURL{app: c.app, url: string(c.url)}}
		t.byURL[string(t.key)] = u
		t.all = append(t.all, u)
	}
	if u.tick != t.ticks {
		u.settle()
		u.tick = t.ticks
	}
	u.viewers = plus(u.viewers, c.viewers)
	u.arrived = plus(u.arrived, c.arrived)
	u.millis += uint64(c.viewers) * uint64(t.sample.Milliseconds())
	u.see(c.object)
}

// see notes that an object was viewed.
func (u *tallied) see(object []byte) {
	for _, o := range u.objects {
		if o == string(object) {
			return
		}
	}
	if len(u.objects) < maxViewedObjects {
		u.objects = append(u.objects, string(object))
	}
}

// settle ends a tick of the URL.
func (u *tallied) settle() {
	if u.tick == 0 {
		return
	}
	if u.tick == 1 {
		u.row.Carried = u.viewers - u.arrived
	}
	if u.row.N == 0 {
		u.row.Min = u.viewers
	}
	u.row.N++
	u.row.Min, u.row.Max = min(u.row.Min, u.viewers), max(u.row.Max, u.viewers)
	u.row.Sum += uint64(u.viewers)
	u.row.Arrived = plus(u.row.Arrived, u.arrived)
	u.viewers, u.arrived = 0, 0
}

// rows returns the rows of all URLs that had viewers. In a tick in which a URL was not
// named it had none.
func (t *tally) rows(minute time.Time) (rows []ClosedRow) {
	for _, u := range t.all {
		u.settle()
		u.tick = 0
		if u.row.Max == 0 {
			continue
		}
		if u.row.N < t.ticks {
			u.row.N, u.row.Min = t.ticks, 0
		}
		u.row.App, u.row.URL, u.row.Time, u.row.Seconds = u.app, u.url, minute, (u.millis+500)/1000
		rows = append(rows, ClosedRow{u.row, u.objects})
	}
	return rows
}
