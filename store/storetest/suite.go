package storetest

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
)

// Open opens an empty store for one test, with now as its wall clock, and sees to
// it that it is closed at the test's end.
type Open func(t testing.TB, now func() time.Time) store.Store

// Options says what a backend can be asked.
type Options struct {
	// Reopen closes a store and opens what it left behind; nil if it leaves
	// nothing.
	Reopen func(t testing.TB, s store.Store, now func() time.Time) store.Store
	// Sweep deletes what has expired by now; nil if the backend cannot be told to.
	Sweep func(t testing.TB, s store.Store)
	// OwnClock: the backend does not read now; tests that turn it are skipped, and
	// others take a few seconds instead.
	OwnClock bool

	// The hooks below are nil where there is nothing of the kind; their tests are
	// skipped then.

	// FillUp makes the store refuse what needs room, and returns what makes room.
	FillUp func(t testing.TB, s store.Store) (free func())
	// Disturb breaks every connection over which the store hears of appends. Others
	// may break, too.
	Disturb func(t testing.TB, s store.Store)
	// DropLive loses a share, from 0 to 1, of what the store hears of appends, from
	// now on and without a sign.
	DropLive func(t testing.TB, s store.Store, share float64)
	// Deafen leaves the connections over which the store hears open and mute, and
	// returns what ends that. Others may stop, too.
	Deafen func(t testing.TB, s store.Store) (mend func())
	// LoseReply sees to it that the store does not hear that its next append was done.
	LoseReply func(t testing.TB, s store.Store)
}

// Clock is a wall clock that a test turns.
type Clock struct {
	mu sync.Mutex
	t  time.Time
}

// NewClock returns a clock that stands at some whole second of 2026.
func NewClock() *Clock { return &Clock{t: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

// Now returns where it stands.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

// Turn moves it by d, which may be negative.
func (c *Clock) Turn(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// suite is one test's store and what it needs beside it.
type suite struct {
	*testing.T
	s       store.Store
	clock   *Clock
	o       Options
	restart func() // nil if nothing is left behind
}

// Run runs the contract's tests against a backend.
func Run(t *testing.T, open func(t *testing.T, now func() time.Time) store.Store, o Options) {
	run := func(name string, f func(*suite)) {
		t.Run(name, func(t *testing.T) {
			c := NewClock()
			now := c.Now
			if o.OwnClock {
				now = time.Now
			}
			u := &suite{T: t, clock: c, o: o}
			u.s = open(t, now)
			if o.Reopen != nil {
				u.restart = func() { u.s = o.Reopen(t, u.s, now) }
			}
			f(u)
		})
	}
	run("RoundTrip", (*suite).roundTrip)
	run("PositionsRise", (*suite).positionsRise)
	run("ReadAfterEach", (*suite).readAfterEach)
	run("Paging", (*suite).paging)
	run("Adjacent", (*suite).adjacent)
	run("SubmitOrder", (*suite).submitOrder)
	run("TooLarge", (*suite).tooLarge)
	run("LookAlikes", (*suite).lookAlikes)
	run("Redact", (*suite).redact)
	run("Delete", (*suite).delete)
	run("Forked", (*suite).forked)
	run("Nonces", (*suite).nonces)
	run("NoncesConcurrently", (*suite).noncesConcurrently)
	run("NonceAfterLostReply", (*suite).nonceAfterLostReply)
	run("NothingKept", (*suite).nothingKept)
	run("Length", (*suite).length)
	run("Closed", (*suite).closed)
	run("Many", (*suite).many)
	run("Heads", (*suite).heads)
	run("Spoke", (*suite).spoke)
	run("WatchOrder", (*suite).watchOrder)
	run("WatchPrefix", (*suite).watchPrefix)
	run("UnwatchRace", (*suite).unwatchRace)
	run("Announced", (*suite).announced)
	run("Follow", (*suite).follow)
	run("Disturbed", (*suite).disturbed)
	run("Dropped", (*suite).dropped)
	run("LastDropped", (*suite).lastDropped)
	run("Deaf", (*suite).deaf)
	run("ManyWatches", (*suite).manyWatches)
	run("Full", (*suite).full)
	run("TableRoundTrip", (*suite).tableRoundTrip)
	run("TableRace", (*suite).tableRace)
	run("TableList", (*suite).tableList)
	run("TableOnce", (*suite).tableOnce)
	run("Revocations", (*suite).revocations)
	run("Copies", (*suite).copies)
	run("CopiesInOrder", (*suite).copiesInOrder)
	run("CopiesFollow", (*suite).copiesFollow)
	run("CopiesAfterLostReply", (*suite).copiesAfterLostReply)
	run("CopiesWhenFull", (*suite).copiesWhenFull)
	run("GroupShares", (*suite).groupShares)
	run("GroupAfterLostReply", (*suite).groupAfterLostReply)
	run("GroupSettlesReturned", (*suite).groupSettlesReturned)
	run("GroupSeeks", (*suite).groupSeeks)
	run("GroupBounds", (*suite).groupBounds)
	run("GroupLimits", (*suite).groupLimits)
	run("GroupHidden", (*suite).groupHidden)
	run("GroupEpochs", (*suite).groupEpochs)
	run("GroupAtOnce", (*suite).groupAtOnce)
	run("SeriesRoundTrip", (*suite).seriesRoundTrip)
	run("SeriesRefused", (*suite).seriesRefused)
	run("SeriesRanges", (*suite).seriesRanges)
	run("SeriesLimit", (*suite).seriesLimit)
	run("SeriesKept", (*suite).seriesKept)
	run("SeriesTogether", (*suite).seriesTogether)
	run("SeriesMany", (*suite).seriesMany)
	run("SeriesFull", (*suite).seriesFull)
	if o.Reopen != nil {
		run("Reopen", (*suite).reopen)
		run("GroupReopens", (*suite).groupReopens)
		run("CopiesReopen", (*suite).copiesReopen)
	}
	for i, seed := range seeds() {
		run(fmt.Sprintf("Model/%d", seed), func(u *suite) { u.model(seed) })
		run(fmt.Sprintf("GroupModel/%d", seed), func(u *suite) { u.groupModels(seed) })
		run(fmt.Sprintf("SeriesModel/%d", seed), func(u *suite) { u.seriesModel(seed) })
		if o.OwnClock && i == 2 {
			break // without a clock to turn they differ little
		}
	}
	if o.OwnClock {
		run("AgeOfOwnClock", (*suite).ageOfOwnClock)
		run("TTLOfOwnClock", (*suite).ttlOfOwnClock)
		return
	}
	run("SinceEachMS", (*suite).sinceEachMS)
	run("Age", (*suite).age)
	run("AgeAndLength", (*suite).ageAndLength)
	run("GroupAge", (*suite).groupAge)
	run("Idle", (*suite).idle)
	run("ClockBack", (*suite).clockBack)
	run("LengthInBuckets", (*suite).lengthInBuckets)
	run("Overload", (*suite).overload)
	run("NonceAge", (*suite).nonceAge)
	run("TableTTL", (*suite).tableTTL)
	run("SpokeFor", (*suite).spokeFor)
	run("SeriesSwept", (*suite).seriesSwept)
	run("AnnouncedAndClockBack", (*suite).announcedAndClockBack)
}

// number returns what an environment variable says, or else.
func number(name string, otherwise int64) int64 {
	if v, err := strconv.ParseInt(os.Getenv(name), 10, 64); err == nil {
		return v
	}
	return otherwise
}

// seeds returns the seeds of the random tests: 8, or STORETEST_SEEDS of them.
func seeds() []uint64 {
	first := number("STORETEST_SEED", time.Now().UnixNano())
	var all []uint64
	for i := range number("STORETEST_SEEDS", 8) {
		all = append(all, uint64(first+i))
	}
	return all
}

var ctx = context.Background()

// keep are limits that keep all a test writes.
var keep = store.Limits{Age: time.Hour}

func name(path string) store.LogName { return store.LogName{Feed: "object", Path: path} }

// Append submits records and waits for the outcome.
func Append(s store.Store, log store.LogName, limits store.Limits, records ...store.Record) (store.Appended, error) {
	type outcome struct {
		a   store.Appended
		err error
	}
	c := make(chan outcome, 1)
	s.Submit(log, limits, records, func(a store.Appended, err error) { c <- outcome{a, err} })
	o := <-c
	return o.a, o.err
}

// add appends one record.
func (u *suite) add(log store.LogName, limits store.Limits, data string) store.Entry {
	u.Helper()
	a, err := Append(u.s, log, limits, store.Record{Data: []byte(data)})
	require.NoError(u, err)
	require.Len(u, a.Positions, 1)
	require.Equal(u, []bool{false}, a.Prior)
	return store.Entry{Position: a.Positions[0], Data: []byte(data)}
}

// page reads a range in one page.
func (u *suite) page(log store.LogName, r store.Range) store.Page {
	u.Helper()
	p, err := u.s.Read(ctx, log, r, 1<<30, 1<<30)
	require.NoError(u, err)
	require.False(u, p.More)
	n, err := u.s.Count(ctx, log, r)
	require.NoError(u, err)
	require.EqualValues(u, len(p.Entries), n, "count is what a read gives")
	return p
}

// texts returns the data of all entries of a range.
func (u *suite) texts(log store.LogName, r store.Range) []string {
	u.Helper()
	out := []string{}
	for _, e := range u.page(log, r).Entries {
		out = append(out, string(e.Data))
	}
	return out
}

func (u *suite) head(log store.LogName, limits store.Limits) store.Head {
	u.Helper()
	h, err := u.s.Head(ctx, log, limits)
	require.NoError(u, err)
	return h
}
