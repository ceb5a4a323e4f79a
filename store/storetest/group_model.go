package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
)

// groupModel is what a group should do: for each record of the log from place on, who
// has it.
type groupModel struct {
	store.GroupName
	all   []store.Entry // of the log
	place int           // index in all of the next that nobody had
	out   map[int]string
	limit int // length of the log
	// restarted: an embedded store has forgotten who had what.
	restarted bool
}

// Who has a record that nobody has.
const back = ""

// groupModels does random things to a group and compares what it gives.
func (u *suite) groupModels(seed uint64) {
	u.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	limits := keep
	m := &groupModel{GroupName: group("model"), out: map[int]string{}, limit: 1 << 30}
	if r.IntN(2) == 0 {
		limits.Length = 50 + r.IntN(200)
		m.limit = limits.Length
	}
	for step := range int(number("STORETEST_STEPS", 600)) {
		consumer := string(rune('a' + r.IntN(3)))
		switch k := r.IntN(100); {
		case k < 25:
			m.all = append(m.all, u.addAll(m.Log, limits, len(m.all), len(m.all)+1+r.IntN(30))...)
		case k < 55:
			m.take(u, limits, consumer, 1+r.IntN(40))
		case k < 80:
			m.settle(u, r, consumer)
		case k < 87:
			require.NoError(u, u.s.Leave(ctx, m.GroupName, consumer))
			m.leave(consumer)
		case k < 90 && len(m.all) > 0:
			i := r.IntN(len(m.all))
			require.NoError(u, u.s.Seek(ctx, m.GroupName, m.all[i].Position))
			m.place, m.out = i+1, map[int]string{}
		case k < 92 && u.restart != nil:
			u.restart()
			m.restarted = true
			for _, c := range []string{"a", "b", "c"} { // where a store remembers them
				require.NoError(u, u.s.Leave(ctx, m.GroupName, c))
				m.leave(c)
			}
		default:
			m.check(u)
		}
		if step%25 == 0 {
			m.check(u)
		}
	}
}

// shown returns the index of the first record that the length shows.
func (m *groupModel) shown() int { return max(0, len(m.all)-m.limit) }

func (m *groupModel) leave(consumer string) {
	for i, c := range m.out {
		if c == consumer {
			m.out[i] = back
		}
	}
}

func (m *groupModel) take(u *suite, limits store.Limits, consumer string, limit int) {
	u.Helper()
	var want []store.Entry
	for _, i := range m.sorted() {
		if m.out[i] != back || len(want) == limit {
			continue
		}
		if i < m.shown() {
			delete(m.out, i)
			continue
		}
		want = append(want, m.all[i])
		m.out[i] = consumer
	}
	m.place = max(m.place, m.shown())
	for ; m.place < len(m.all) && len(want) < limit; m.place++ {
		want = append(want, m.all[m.place])
		m.out[m.place] = consumer
	}
	got, err := u.s.Take(ctx, m.GroupName, limits, consumer, limit, 1<<20)
	require.NoError(u, err)
	require.Equal(u, want, got.Entries)
}

// sorted returns what is out, in order.
func (m *groupModel) sorted() []int {
	all := make([]int, 0, len(m.out))
	for i := range m.out {
		all = append(all, i)
	}
	slices.Sort(all)
	return all
}

// settle settles some of what is out, mostly of one consumer.
func (m *groupModel) settle(u *suite, r *rand.Rand, consumer string) {
	u.Helper()
	var some []store.Entry
	each := 1 + r.IntN(3)
	for _, i := range m.sorted() {
		if (m.out[i] == consumer || r.IntN(20) == 0) && (m.out[i] != back || !m.restarted) && r.IntN(each) == 0 {
			some = append(some, m.all[i])
			delete(m.out, i)
		}
	}
	r.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
	u.settle(m.GroupName, some...)
}

func (m *groupModel) check(u *suite) {
	u.Helper()
	held, returned := map[string]int{}, 0
	for i, c := range m.out {
		if c != back {
			held[c]++
		} else if i >= m.shown() {
			returned++
		}
	}
	s := u.state(m.GroupName)
	if s.Held == nil {
		s.Held = map[string]int{}
	}
	require.Equal(u, held, s.Held, "%s", fmt.Sprint(m.place))
	if !m.restarted {
		require.GreaterOrEqual(u, s.Returned, returned, "what is not shown any more may be counted until it is asked for")
	}
	for _, i := range m.sorted() {
		if i >= m.shown() {
			require.True(u, s.After.Before(m.all[i].Position))
			break
		}
	}
}
