package bayeux

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// The context of a request ends with the request, its peer or the server, whether or not
// somebody waits, and says why whenever it is done.
func TestRequestContext(t *testing.T) {
	f := func(name string, waited bool, end func(c *requestContext, gone, stop func())) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				peer, gone := context.WithCancel(context.Background())
				server, stop := context.WithCancel(context.Background())
				defer gone()
				defer stop()
				c := &requestContext{Context: peer, server: server}
				defer c.end()
				require.NoError(t, c.Err())
				var child context.Context
				if waited {
					of, cancel := context.WithCancel(c)
					defer cancel()
					child = of
				}
				end(c, gone, stop)
				synctest.Wait()
				if !waited {
					return // of that nobody heard
				}
				for _, ctx := range []context.Context{c, child} {
					<-ctx.Done()
					require.ErrorIs(t, ctx.Err(), context.Canceled)
				}
			})
		})
	}
	for _, waited := range []bool{false, true} {
		f("the peer goes", waited, func(c *requestContext, gone, _ func()) {
			gone()
			require.ErrorIs(t, c.Err(), context.Canceled)
		})
		f("it is over", waited, func(c *requestContext, _, _ func()) { c.end() })
		f("the server stops", waited, func(c *requestContext, _, stop func()) {
			stop()
			synctest.Wait()
			require.ErrorIs(t, c.Err(), context.Canceled)
		})
	}
}

// A socket of one session and one of many treat them alike.
func TestBindings(t *testing.T) {
	for n := 1; n <= 3; n++ {
		var b bindings
		all := make([]*Session, n)
		for i := range all {
			all[i] = &Session{}
			require.False(t, b.has(all[i]))
			require.False(t, b.queue(all[i]), "not served yet")
			b.add(all[i])
			b.add(all[i])
			require.Equal(t, i+1, b.len())
		}
		require.ElementsMatch(t, all, b.all())
		for _, s := range all {
			require.True(t, b.has(s))
			require.True(t, b.queue(s))
			require.False(t, b.queue(s), "it is there")
			b.taken(s)
			require.True(t, b.queue(s))
		}
		// Who leaves and comes again is not among those that are ready.
		b.remove(all[0])
		require.Equal(t, n-1, b.len())
		require.False(t, b.has(all[0]))
		b.add(all[0])
		require.True(t, b.queue(all[0]))
	}
}
