package storetest

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
)

// logModel is what a log should hold: every record of its epoch, in order.
type logModel struct {
	limits  store.Limits
	records []recordModel
	newest  store.Position // ever
}

type recordModel struct {
	store.Entry
	redacted bool
}

// model does random things to a few logs and compares with the model after each.
func (u *suite) model(seed uint64) {
	u.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	logs := []*logModel{
		{limits: store.Limits{Age: time.Hour}},
		{limits: store.Limits{Age: 5 * time.Hour, Length: 20}},
		{limits: store.Limits{Age: 40 * time.Hour, Length: 3}},
		{limits: store.Limits{Age: store.Forever, Idle: 3 * time.Hour}},
		{limits: store.Limits{Age: store.Forever, Length: 40, Idle: 30 * time.Hour}},
		{limits: store.Limits{Age: 2 * time.Hour, Idle: time.Hour}},
	}
	for step := range int(number("STORETEST_STEPS", 600)) {
		i := r.IntN(len(logs))
		l, log := logs[i], name(fmt.Sprint("model/", i))
		switch k := r.IntN(100); {
		case k < 55:
			u.modelAppend(r, l, log, step)
		case k < 62 && len(l.records) > 0:
			e := &l.records[r.IntN(len(l.records))]
			if e.visible(u.s.Now(), l) {
				require.NoError(u, u.s.Redact(ctx, log, e.Position))
				e.redacted = true
			}
		case k < 64:
			require.NoError(u, u.s.Delete(ctx, log))
			l.records = nil
		case k < 87 && u.o.OwnClock:
			u.modelCheck(r, l, log)
		case k < 82:
			u.clock.Turn(time.Duration(r.ExpFloat64() * float64(10*time.Minute)))
		case k < 84:
			u.clock.Turn(time.Duration(r.IntN(int(20 * time.Hour))))
		case k < 87:
			u.clock.Turn(-time.Duration(r.IntN(int(time.Hour))))
		case k < 89 && u.restart != nil:
			u.restart()
		case k < 91 && u.o.Sweep != nil:
			// A record of now, so that the store's clock cannot go back behind
			// what the sweep has seen.
			u.add(name("model/pin"), store.Limits{}, "")
			u.o.Sweep(u, u.s)
		default:
			u.modelCheck(r, l, log)
		}
		if step%10 == 0 {
			u.modelCheck(r, l, log)
		}
	}
	for i, l := range logs {
		u.modelCheck(r, l, name(fmt.Sprint("model/", i)))
	}
}

func (u *suite) modelAppend(r *rand.Rand, l *logModel, log store.LogName, step int) {
	var records []store.Record
	for i := range 1 + r.IntN(4) {
		records = append(records, store.Record{Data: []byte(fmt.Sprint(step, ".", i))})
	}
	gone := l.idle(u.s.Now())
	a, err := Append(u.s, log, l.limits, records...)
	require.NoError(u, err)
	for i, p := range a.Positions {
		require.True(u, l.newest.Before(p), "%v then %v", l.newest, p)
		if n := len(l.records); n > 0 && l.records[n-1].Position.Epoch() == p.Epoch() {
			require.False(u, gone && i == 0, "an idle log begins a new epoch")
			require.Equal(u, l.records[n-1].Position.N()+1, p.N())
		} else {
			require.EqualValues(u, p.MS(), p.N())
			for _, e := range l.records {
				require.True(u, gone || !e.young(u.s.Now(), l.limits.Age), "a new epoch while records were kept")
			}
			l.records = nil
		}
		l.newest = p
		l.records = append(l.records, recordModel{Entry: store.Entry{Position: p, Data: records[i].Data}})
	}
}

func (e *recordModel) young(now time.Time, age time.Duration) bool {
	return now.Sub(e.Position.Time()) <= age
}

func (l *logModel) idle(now time.Time) bool {
	n := len(l.records)
	return n > 0 && l.limits.Idle > 0 && now.Sub(l.records[n-1].Position.Time()) >= l.limits.Idle
}

// visible reports whether the limits show the record (redacted or not).
func (e *recordModel) visible(now time.Time, l *logModel) bool {
	n := len(l.records)
	if l.idle(now) || !e.young(now, l.limits.Age) {
		return false
	}
	return l.limits.Length == 0 || l.records[n-1].Position.N()-e.Position.N() < uint64(l.limits.Length)
}

func (u *suite) modelCheck(r *rand.Rand, l *logModel, log store.LogName) {
	now := u.s.Now()
	rg := store.Range{Limits: l.limits}
	if n := len(l.records); n > 0 {
		switch r.IntN(4) {
		case 0:
			rg.After = l.records[r.IntN(n)].Position
		case 1:
			rg.Since = l.records[r.IntN(n)].Position.Time().Add(time.Duration(r.IntN(3)-1) * time.Millisecond)
		case 2:
			rg.After, rg.UpTo = l.records[r.IntN(n)].Position, l.records[r.IntN(n)].Position
		}
	}
	var want []store.Entry
	trimmed, oldest := false, store.Position{}
	for i := range l.records {
		e := &l.records[i]
		if e.visible(now, l) && !e.redacted && oldest.IsZero() {
			oldest = e.Position
		}
		if !rg.After.Before(e.Position) || e.Position.Time().Before(rg.Since) || !rg.UpTo.IsZero() && rg.UpTo.Before(e.Position) {
			continue
		}
		if e.visible(now, l) {
			if !e.redacted {
				want = append(want, e.Entry)
			}
		} else if e.young(now, l.limits.Age) && !l.idle(now) {
			trimmed = true
		}
	}
	p := u.page(log, rg)
	require.Equal(u, want, p.Entries)
	require.Equal(u, trimmed, p.Trimmed)
	require.False(u, p.Forked)
	if h := u.head(log, l.limits); oldest.IsZero() {
		require.Zero(u, h.Oldest)
	} else {
		require.Equal(u, store.Head{Last: l.records[len(l.records)-1].Position, Oldest: oldest}, h)
	}
}
