package broker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/memory"
	"github.com/stretchr/testify/require"
)

// simulation plays sessions on one object against a model of what each must hear:
// every message once, on the right name, from the right moment on.
type simulation struct {
	t        *testing.T
	x        *bench
	r        *rand.Rand
	roots    []string
	sessions []*simulated
	said     map[string][]int64 // ms of each message, by channel
	serial   int
	log      []string
	frail    *frail // nil: nothing goes wrong
	hurt     bool   // and something is
}

type simulated struct {
	*peer
	wild   map[string]bool       // root and pattern
	covers map[string]*cover     // root and channel
	due    map[string][]expected // by the whole name
}

type expected struct {
	n, serial int
}

// cover is the model of one base channel: numbers of messages instead of positions.
type cover struct {
	exact, live      bool
	known            bool // asked for by name, so that there is a seam
	catchups         map[string]bool
	start, end       int
	covered, resumes bool
	idle             time.Time
}

var (
	simChannels = []string{"chat", "a/b", "a/c", "analytics"}
	simPatterns = []string{"/**", "/*", "/a/*", "/a/**"}
	simSpans    = []string{"1h", "2h", "20s", "1n", "3n"}
)

// GOBELIN_SEEDS=20000 is the long form, on seeds never seen before.
func TestSeamSimulation(t *testing.T) { simulate(t, false) }

// The same on a shared store whose feeds break and drop and whose logs lose their
// tails: survivors come exactly once, what was lost stays what it was (store.md §5.4).
func TestSeamSimulationFrail(t *testing.T) { simulate(t, true) }

func simulate(t *testing.T, weak bool) {
	seeds, first := 200, uint64(1)
	if text := os.Getenv("GOBELIN_SEEDS"); text != "" {
		n, err := strconv.Atoi(text)
		require.NoError(t, err)
		seeds, first = n, uint64(time.Now().UnixNano())
	}
	for i := range seeds {
		seed := first + uint64(i)
		inBubble(t, func(t *testing.T) {
			m := &simulation{t: t, r: rand.New(rand.NewPCG(seed, 3)), said: map[string][]int64{}}
			x := newBench(t, func(o *Options, b *bayeux.Options) {
				b.Limits.QueueMessages = 8
				if weak {
					m.frail = newFrail(o.Store.(*memory.Store))
					o.Store = m.frail
				}
			})
			m.x = x
			m.roots = []string{x.root("gala", channels.ClassView), x.root("gala", channels.ClassControl)}
			defer func() {
				if t.Failed() {
					t.Logf("seed %d:\n%s", seed, strings.Join(m.log, "\n"))
				}
			}()
			m.run(60)
		})
		if t.Failed() {
			return
		}
	}
}

func (m *simulation) run(steps int) {
	for range 3 {
		m.sessions = append(m.sessions, &simulated{
			peer: m.x.join(""), wild: map[string]bool{}, covers: map[string]*cover{},
			due: map[string][]expected{},
		})
	}
	for range steps {
		i := m.r.IntN(len(m.sessions))
		s := m.sessions[i]
		root, channel := m.roots[m.r.IntN(2)], simChannels[m.r.IntN(len(simChannels))]
		base, pattern := root+"/"+channel, root+simPatterns[m.r.IntN(len(simPatterns))]
		step := m.r.IntN(20)
		m.log = append(m.log, fmt.Sprintf("%d: session %d %s %s by root %d", step, i, channel, pattern[41:], slices.Index(m.roots, root)))
		if channel == "analytics" && root == m.roots[0] && step >= 7 && step < 14 {
			continue // a view root does not open it
		}
		if step > 6 {
			m.heal()
		}
		if m.frail != nil && m.r.IntN(6) == 0 {
			m.harm(channel)
			continue
		}
		switch step {
		case 0, 1, 2, 3, 4, 5, 6:
			m.publish(channel, 1+m.r.IntN(4)*m.r.IntN(4))
		case 7, 8:
			m.live(s, base)
		case 9, 10, 11:
			m.catchup(s, base, simSpans[m.r.IntN(len(simSpans))])
		case 12:
			m.read(s)
			m.stop(s, base)
		case 13:
			m.read(s)
			m.forget(s, base, simSpans[m.r.IntN(len(simSpans))])
		case 14, 15:
			// What is said in the same ms may be heard, and records can be ahead.
			for before := m.x.store.Now(); m.frail != nil && !before.Truncate(time.Millisecond).Before(m.x.store.Now().Truncate(time.Millisecond)); {
				time.Sleep(time.Millisecond)
			}
			m.join(s, root, pattern)
		case 16:
			m.read(s)
			m.leave(s, root, pattern)
		case 17, 18:
			m.read(s)
		case 19:
			time.Sleep(time.Duration(m.r.IntN(4)) * 10 * time.Second)
			for _, s := range m.sessions {
				m.read(s)
			}
		}
	}
	for _, s := range m.sessions {
		m.read(s)
	}
	require.Zero(m.t, forgotten(m.x))
}

func (m *simulation) hears(root, channel string) bool {
	return channel != "analytics" || root == m.roots[1]
}

func matches(t *testing.T, pattern, name string) bool {
	p, err := channels.ParsePattern(pattern)
	require.NoError(t, err)
	n, err := channels.Parse(name)
	require.NoError(t, err)
	return p.Matches(n)
}

func (s *simulated) cover(base string) *cover {
	c := s.covers[base]
	if c == nil {
		c = &cover{catchups: map[string]bool{}}
		s.covers[base] = c
	}
	return c
}

// heard reports whether a wildcard of the session hears the channel.
func (m *simulation) heard(s *simulated, base string) bool {
	for p := range s.wild {
		if p[:41] == base[:41] && matches(m.t, p, base) && m.hears(base[:41], base[42:]) {
			return true
		}
	}
	return false
}

func (m *simulation) expect(s *simulated, name string, from, to int) {
	m.serial++
	channel, _, _ := strings.Cut(name[42:], "/catchup/")
	said := m.said[channel]
	for n := from + 1; n <= to; n++ {
		if n > len(said) || said[n-1] >= 0 {
			s.due[name] = append(s.due[name], expected{n, m.serial})
		}
	}
}

// harm breaks all feeds, or has them drop entries, or has a channel lose its tail.
func (m *simulation) harm(channel string) {
	what := m.r.IntN(3)
	m.log = append(m.log, fmt.Sprintf("harm %d: %s", what, channel))
	m.heal()
	for _, s := range m.sessions {
		m.read(s)
	}
	time.Sleep(2100 * time.Millisecond) // what is announced so far is known to be
	m.hurt = true
	if what == 1 {
		m.frail.mu.Lock()
		m.frail.lossy = 50
		m.frail.mu.Unlock()
		return
	}
	m.frail.breaks()
	if what == 0 {
		return
	}
	unheard := m.r.IntN(3)
	m.publish(channel, unheard)
	said := m.said[channel]
	log := store.LogName{Feed: m.feed(), Path: "/" + channel}
	for lost := 1 + m.r.IntN(4); lost > 0; lost-- {
		n := len(said)
		for n > 0 && said[n-1] < 0 {
			n--
		}
		if n == 0 {
			break
		}
		m.frail.fork(log, 1)
		said[n-1] = -1
		for _, s := range m.sessions { // nobody has heard those
			for name, due := range s.due {
				if name[42:] == channel {
					s.due[name] = slices.DeleteFunc(due, func(e expected) bool { return e.n == n })
					if len(s.due[name]) == 0 {
						delete(s.due, name)
					}
				}
			}
		}
	}
}

func (m *simulation) feed() string {
	o, err := m.x.b.objects.ensure(context.Background(), m.x.app, "gala")
	require.NoError(m.t, err)
	return feedOf(o)
}

// heal ends what harm has begun.
func (m *simulation) heal() {
	if m.hurt {
		m.hurt = false
		m.frail.mend()
		synctest.Wait()
	}
}

func (m *simulation) publish(channel string, n int) {
	who := &Identity{App: m.x.app, Role: RoleServer}
	for range n {
		number := len(m.said[channel]) + 1
		out := m.x.b.PublishAll(context.Background(), who, []Publication{{ObjectID: "gala", Channel: channel, Data: []byte(strconv.Itoa(number))}})
		require.NoError(m.t, out[0].Err)
		m.said[channel] = append(m.said[channel], out[0].Time)
		for _, s := range m.sessions {
			for _, root := range m.roots {
				if base := root + "/" + channel; s.cover(base).live {
					m.expect(s, base, number-1, number)
				}
			}
		}
	}
	m.x.settle()
}

// begin makes a channel live in the model.
func (m *simulation) begin(s *simulated, base string) {
	c := s.cover(base)
	if c.live {
		return
	}
	last := len(m.said[base[42:]])
	from := last
	if c.covered && (c.idle.IsZero() || time.Since(c.idle) <= 30*time.Second) {
		from = c.end
		if !c.resumes {
			c.start = from
		}
	} else {
		c.start = last
	}
	c.live, c.covered, c.idle = true, false, time.Time{}
	m.expect(s, base, from, last)
}

// end is the opposite, once neither a name nor a wildcard hears it. What was only
// heard by a wildcard is not remembered.
func (m *simulation) end(s *simulated, base string, known bool) {
	c := s.cover(base)
	if !c.live || c.exact || m.heard(s, base) {
		return
	}
	c.live = false
	c.covered, c.resumes, c.end = known, true, len(m.said[base[42:]])
	if len(c.catchups) == 0 {
		c.idle = time.Now()
	}
}

// tidy follows an unsubscribe: what nothing stands for and is too long ago is
// forgotten.
func (m *simulation) tidy(s *simulated) {
	for _, c := range s.covers {
		if !c.live && len(c.catchups) == 0 && (!c.covered || time.Since(c.idle) > 30*time.Second) {
			*c = cover{catchups: c.catchups}
		}
	}
}

// refused reports whether it has had a catch-up refused, as the record could not be written:
// that changes nothing.
func (m *simulation) refused(s *simulated, names ...string) bool {
	if m.frail == nil || m.r.IntN(4) > 0 {
		return false
	}
	m.log = append(m.log, fmt.Sprint("refused: ", names))
	m.frail.set(func() { m.frail.unkept = true })
	require.Contains(m.t, s.subscribe(names...).Error, "503:")
	m.frail.set(func() { m.frail.unkept = false })
	return true
}

func (m *simulation) live(s *simulated, base string) {
	require.True(m.t, s.subscribe(base).ok())
	c := s.cover(base)
	m.begin(s, base)
	c.exact, c.known = true, true
}

func (m *simulation) stop(s *simulated, base string) {
	if c := s.cover(base); c.exact {
		s.unsubscribe(base)
		c.exact = false
		m.end(s, base, true)
		m.tidy(s)
	}
}

func (m *simulation) join(s *simulated, root, pattern string) {
	require.True(m.t, s.subscribe(pattern).ok())
	s.wild[pattern] = true
	for _, channel := range simChannels {
		if base := root + "/" + channel; m.heard(s, base) {
			m.begin(s, base)
		}
	}
}

func (m *simulation) leave(s *simulated, root, pattern string) {
	if !s.wild[pattern] {
		return
	}
	s.unsubscribe(pattern)
	delete(s.wild, pattern)
	for _, channel := range simChannels {
		base := root + "/" + channel
		c := s.cover(base)
		// A seam is there once the channel was asked for by name, as long as
		// anything is live or stands; else there is nothing to go on from.
		m.end(s, base, c.known)
	}
	m.tidy(s)
}

func (m *simulation) catchup(s *simulated, base, span string) {
	interval, err := catchup.ParseInterval(span)
	require.NoError(m.t, err)
	name := base + "/catchup/" + span
	// Under a wildcard it is known by its name from then on, which is all that is left of it.
	if !m.heard(s, base) && (m.refused(s, name) || m.refused(s, name, base)) {
		return
	}
	before := m.x.store.Now()
	r := s.subscribe(name)
	require.True(m.t, r.ok(), r.Error)
	after := m.x.store.Now()
	c := s.cover(base)
	upTo := len(m.said[base[42:]])
	if c.live {
		upTo = c.start
	} else {
		c.covered, c.resumes, c.end = true, false, upTo
	}
	c.catchups[span], c.idle, c.known = true, time.Time{}, true
	count := func(now time.Time) int {
		since := interval.Since(now, day).UnixMilli()
		n := 0
		for _, ms := range m.said[base[42:]][:upTo] {
			if ms >= since && ms >= 0 {
				n++
			}
		}
		if interval.Count > 0 {
			return min(n, interval.Count)
		}
		return n
	}
	got := r.Ext.Catchup.Messages
	require.LessOrEqual(m.t, got, count(before), name)
	require.GreaterOrEqual(m.t, got, count(after), name)
	from := upTo
	for said := m.said[base[42:]]; got > 0; from-- {
		if said[from-1] >= 0 {
			got--
		}
	}
	m.expect(s, name, from, upTo)
}

func (m *simulation) forget(s *simulated, base, span string) {
	c := s.cover(base)
	if !c.catchups[span] {
		return
	}
	s.unsubscribe(base + "/catchup/" + span)
	delete(c.catchups, span)
	if !c.live && len(c.catchups) == 0 {
		c.idle = time.Now()
	}
	m.tidy(s)
}

// read polls until nothing comes, and compares.
func (m *simulation) read(s *simulated) {
	m.heal()
	latest := map[string]int{}
	for _, line := range s.poll() {
		name, data, _ := strings.Cut(line, " ")
		if strings.Contains(name, "/stats/") {
			continue // a wildcard hears how many there are, too
		}
		due := s.due[name]
		require.NotEmpty(m.t, due, "%s was not due", line)
		require.Equal(m.t, strconv.Itoa(due[0].n), data, name)
		base, _, past := strings.Cut(name, "/catchup/")
		if past {
			require.GreaterOrEqual(m.t, due[0].serial, latest[base], "%s follows what was published after it was asked for", line)
		} else {
			latest[base] = due[0].serial
		}
		if s.due[name] = due[1:]; len(due) == 1 {
			delete(s.due, name)
		}
	}
	require.Empty(m.t, s.due, "%s: did not come", s.id)
}
