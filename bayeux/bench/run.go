package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// run is one measurement.
type run struct {
	o       Options
	target  *target
	process *process
	clock   *clock
	base    string // channel of this run
	report  *Report
	begun   time.Time

	listeners sync.WaitGroup
	closing   atomic.Bool // roads that end now are ended by us
	joined    atomic.Int64
	sent      atomic.Int64
	phase     atomic.Value // string

	mu sync.Mutex
	// guarded by mu
	sessions []*session
	refused  int64
	broken   int64
	why      string // of the first refusal or break

	// owned by the scenario
	window span
}

// span is what is measured: between two looks.
type span struct {
	began, ended     time.Duration
	count0, count1   int64
	server0, server1 usage
	own0, own1       time.Duration
}

// Run measures, which takes o's times and what connecting and draining need. When
// ctx ends early it reports what there is. The error is about what kept it from
// measuring, or wraps ErrOptions; what was measured and does not count says
// Report.Err.
func Run(ctx context.Context, o Options) (*Report, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	anchor := newAnchor()
	t, err := newTarget(o.URL, o.Transport, anchor)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	if err := reserveFiles(o.connections() + spareFiles); err != nil {
		return nil, err
	}
	p, err := newProcess(o.PID)
	if err != nil {
		return nil, err
	}
	r := &run{
		o: o, target: t, process: p, clock: newClock(), begun: time.Now(),
		base:   o.Channel + "/" + strings.ToLower(anchor[1:]),
		report: &Report{Version: 1, Scenario: o.Scenario, URL: o.URL, Transport: o.Transport},
	}
	r.enter("connecting")
	defer scanners.Delete(anchor)
	return r.do(ctx)
}

// do runs the scenario with what goes on beside it.
func (r *run) do(ctx context.Context) (*Report, error) {
	aside, cancel := context.WithCancel(context.Background())
	var beside sync.WaitGroup
	r.process.watch(aside, &beside)
	beside.Go(func() { r.tell(aside) })
	before := r.process.look()
	var err error
	switch r.o.Scenario {
	case Fanout, Channels, LongPoll:
		err = r.fanout(ctx)
	case Idle:
		err = r.idle(ctx)
	case Publish:
		err = r.publish(ctx)
	case CatchUp:
		err = r.catchUp(ctx)
	case Herd:
		err = r.herd(ctx)
	case Storm:
		err = r.storm(ctx)
	case Rooms:
		err = r.rooms(ctx)
	}
	r.close()
	cancel()
	beside.Wait()
	if err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("bench: interrupted before anything was measured: %w", ctx.Err())
		}
		return nil, err
	}
	r.sum(before)
	r.report.Interrupted = ctx.Err() != nil
	return r.report, nil
}

// goodbyeTime bounds the goodbyes of all sessions.
const goodbyeTime = 5 * time.Second

// close says goodbye, so that the server need not keep the sessions until they
// expire, ends all roads and waits for who listens on them.
func (r *run) close() {
	r.closing.Store(true)
	r.mu.Lock()
	sessions := r.sessions
	r.sessions = nil
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), goodbyeTime)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		for _, s := range sessions {
			s.road.close()
		}
	})()
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(connecting, len(sessions)) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(sessions); i = int(next.Add(1)) - 1 {
				s := sessions[i]
				if s.id != "" {
					message := fmt.Appendf(nil, `{"channel":"/meta/disconnect","clientId":%q,"id":"bye"}`, s.id)
					_ = s.road.send([][]byte{message}, func(*seen) {}) // it goes either way
				}
				s.road.close()
			}
		})
	}
	workers.Wait()
	r.listeners.Wait()
}

func (r *run) enter(phase string) { r.phase.Store(phase) }

// tell calls Progress until ctx ends.
func (r *run) tell(ctx context.Context) {
	if r.o.Progress == nil {
		return
	}
	beat := time.NewTicker(time.Second)
	defer beat.Stop()
	var had int64
	at := time.Now()
	for {
		select {
		case now := <-beat.C:
			have := r.clock.arrived.Load()
			phase, _ := r.phase.Load().(string)
			r.o.Progress(Progress{
				Phase: phase, Elapsed: now.Sub(r.begun), Sessions: int(r.joined.Load()),
				Count: have, PerSecond: float64(have-had) / now.Sub(at).Seconds(),
			})
			had, at = have, now
		case <-ctx.Done():
			return
		}
	}
}

// connecting is how many sessions are set up at once.
const connecting = 32

// join sets up n sessions; each calls prepare with its number. It stops at the
// first that fails.
func (r *run) join(ctx context.Context, n int, prepare func(ctx context.Context, i int, s *session) error) error {
	began := time.Now()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(connecting, n) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				s, err := r.target.join(ctx, r.o.Token.Reveal())
				if err == nil {
					r.mu.Lock()
					r.sessions = append(r.sessions, s)
					r.mu.Unlock()
					err = prepare(ctx, i, s)
				}
				if err != nil {
					cancel(err)
					return
				}
				r.joined.Add(1)
			}
		})
	}
	workers.Wait()
	if took := time.Since(began).Seconds(); n > 1 && took > 0 {
		r.report.Connects = float64(n) / took
	}
	return context.Cause(ctx)
}

// listen reads for a session until the run closes.
func (r *run) listen(s *session, to sink) {
	r.listeners.Go(func() {
		err := s.road.listen(s.next, func(found *seen) {
			r.heed(found)
			to(found)
		})
		s.road.close()
		if !r.closing.Load() && !s.cut.Load() && !errors.Is(err, errRefused) {
			r.fault(&r.broken, "connection: "+err.Error())
		}
	})
}

// heed counts refusals.
func (r *run) heed(found *seen) {
	if found.refused && !r.closing.Load() {
		r.fault(&r.refused, string(found.why))
	}
}

func (r *run) fault(counter *int64, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*counter++
	if r.why == "" {
		r.why = why
	}
}

// healthy reports whether all connections are still there.
func (r *run) healthy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.broken == 0 && r.refused == 0
}

// start begins what is measured; end ends it.
func (r *run) start() {
	r.enter("measuring")
	w := &r.window
	if r.process != nil {
		r.process.peak.Store(0)
	}
	w.server0, w.own0, w.count0 = r.process.look(), ownCPU(), r.clock.arrived.Load()
	w.began = r.clock.now()
	r.clock.measureFrom(w.began)
}

func (r *run) end() {
	w := &r.window
	w.server1, w.own1, w.count1 = r.process.look(), ownCPU(), r.clock.arrived.Load()
	w.ended = r.clock.now()
}

// Draining ends when nothing came for drainQuiet, and after drainTime anyhow.
const (
	drainQuiet = 5 * time.Second
	drainTime  = time.Minute
)

// drain waits until want messages have arrived at c.
func (r *run) drain(c *clock, want int64) {
	r.enter("draining")
	began := c.now()
	beat := time.NewTicker(5 * time.Millisecond)
	defer beat.Stop()
	for c.arrived.Load() < want {
		now := <-beat.C
		at := now.Sub(c.zero)
		if at-max(time.Duration(c.last.Load()), began) > drainQuiet || at-began > drainTime {
			r.note("%d messages did not come within %v", want-c.arrived.Load(), drainQuiet)
			return
		}
	}
}

func (r *run) note(format string, args ...any) {
	r.report.Notes = append(r.report.Notes, fmt.Sprintf(format, args...))
}

// sum fills in the report from the window. The listeners have ended.
func (r *run) sum(before usage) {
	w, p := &r.window, r.report
	p.Seconds = (w.ended - w.began).Seconds()
	p.Count, p.Published = w.count1-w.count0, r.sent.Load()
	if p.Seconds > 0 {
		if p.Scenario != Idle {
			p.PerSecond = float64(p.Count) / p.Seconds
		}
		p.Generator.Cores = min(runtime.GOMAXPROCS(0), runtime.NumCPU())
		p.Generator.CPUSeconds = (w.own1 - w.own0).Seconds()
		p.Generator.Share = p.Generator.CPUSeconds / p.Seconds / float64(p.Generator.Cores)
	}
	p.Latency = r.clock.latency()
	r.mu.Lock()
	p.Refused, p.Broken = r.refused, r.broken
	if r.why != "" {
		r.note("the first refusal or break says: %q", r.why)
	}
	r.mu.Unlock()
	if p.Generator.Share > limitShare && p.Generator.CPUSeconds > limitSeconds {
		r.note("the generator used %.0f %% of its cores: it is the limit, not the server; rates and latencies are the generator's", 100*p.Generator.Share)
	}
	if r.process == nil {
		return
	}
	s := &Server{
		CPUSeconds: (w.server1.cpu - w.server0.cpu).Seconds(),
		RSSBefore:  before.rss, RSSAfter: w.server1.rss, RSSPeak: r.process.peak.Load(),
	}
	if p.Count > 0 && p.Scenario != Idle {
		s.PerMillion = s.CPUSeconds / float64(p.Count) * 1e6
	}
	switch n := r.joined.Load(); {
	case p.Scenario == CatchUp || p.Scenario == Herd:
		s.RSSBefore = w.server0.rss // the past that is read, and its readers, are there
	case n > 0:
		s.PerConnection = (s.RSSAfter - s.RSSBefore) / n
	}
	p.Server = s
}

// The generator limits when it used limitShare of its cores for longer than
// limitSeconds.
const (
	limitShare   = 0.9
	limitSeconds = 0.1
)

// during warms up, then measures while work goes on, and ends it.
func (r *run) during(ctx context.Context, work func(context.Context)) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	r.enter("warming up")
	wait := time.NewTimer(r.o.WarmUp)
	defer wait.Stop()
	go func() {
		defer close(done)
		work(ctx)
	}()
	select {
	case <-wait.C:
	case <-done: // a server that gave up while warming up is still reported
	}
	r.start()
	wait.Reset(r.o.Duration) // from now on, as a starved machine wakes late
	select {
	case <-wait.C:
	case <-ctx.Done():
	case <-done:
	}
	r.end()
	cancel()
	<-done
}
