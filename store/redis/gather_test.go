package redis

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
)

// Who is told between two attempts that nothing was written does not go with the second:
// the call goes on for the others, as slots on their way refuse it for a while. After an
// attempt that may have been done he is told that nobody knows.
func TestGatherLeavesBehindWhoWasRefused(t *testing.T) {
	f := func(name string, doubt bool, want error, sent ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			l := &lane{g: &gather{}}
			var first, second error
			c := &call{log: anyLog, limits: keep, doubt: doubt}
			for i, u := range []*submit{
				{deadline: time.Now().Add(-time.Second), done: func(_ store.Appended, err error) { first = err }},
				{deadline: time.Now().Add(time.Hour), done: func(_ store.Appended, err error) { second = err }},
			} {
				u.records, u.bytes = []store.Record{{Data: []byte{'a' + byte(i)}}}, 1
				c.join(u)
				l.flying = append(l.flying, u)
			}
			l.doubt = doubt
			l.expire(time.Now())
			require.ErrorIs(t, first, want)
			require.NoError(t, second)
			require.Len(t, l.board([]*call{c}), 1)
			var data []string
			for _, u := range c.submits {
				data = append(data, string(u.records[0].Data))
			}
			require.Equal(t, sent, data)
			require.Equal(t, []int{len(sent), len(sent)}, []int{c.records, c.bytes})
			require.True(t, l.doubt, "from now on")
		})
	}
	f("refused", false, store.ErrUnavailable, "b")
	f("in doubt", true, store.ErrUncertain, "a", "b")
}
