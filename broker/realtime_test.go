package broker

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/channels"
	"github.com/stretchr/testify/require"
)

// The rows of product.md §5.3 that are no surface of their own.

func TestT2SignedRootWithSubChannels(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		view := x.root("gala", channels.ClassView)
		require.Regexp(t, "^/[0-9a-f]{40}$", view)
		p := x.join("")
		require.True(t, p.subscribe(view+"/all_json").ok())
		for i := 1; i < len(view); i++ { // each digit counts
			other := view[:i] + string("0123456789abcdef"[(strings.IndexByte("0123456789abcdef", view[i])+1)%16]) + view[i+1:]
			require.Equal(t, "403:"+other+"/all_json:Forbidden channel", p.subscribe(other+"/all_json").Error)
		}
	})
}

func TestT4JSONIsPushed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		view := x.root("gala", channels.ClassView)
		p := x.join("")
		require.True(t, p.subscribe(view+"/chat").ok())
		data := `{"n":12345678901234567890,"f":1.10,"e":[],"s":"\u00e9"}`
		require.Nil(t, x.tell("gala", "chat", data))
		require.Equal(t, on(view+"/chat", data), p.poll(), "byte for byte")
	})
}

// TestT5PastThenFuture is the subscription of two channels with one callback.
func TestT5PastThenFuture(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		view := x.root("gala", channels.ClassView)
		first, second := x.comment("gala", "first"), x.comment("gala", "second")
		p := x.join("")
		require.True(t, p.subscribe(view+"/all_json", view+"/all_json/catchup/12h").ok())
		third := x.comment("gala", "third")
		require.Equal(t, []string{"all_json/catchup/12h " + first + " 0", "all_json/catchup/12h " + second + " 0", "all_json " + third + " 0"}, p.heardComments(view))
	})
}

// TestT6CatchupPolicy is every row of the table of product.md §4 that this broker
// fills, with its exact refusals.
func TestT6CatchupPolicy(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		view, control := x.root("gala", channels.ClassView), x.root("gala", channels.ClassControl)
		p := x.join("")
		// longest: "" for kinds without a catch-up.
		row := func(root, channel, longest string) {
			t.Helper()
			ask := func(interval, want string) {
				t.Helper()
				name := root + "/" + channel + "/catchup/" + interval
				if want != "" {
					want = fmt.Sprintf(want, name)
				}
				require.Equal(t, want, p.subscribe(name).Error)
				if want == "" {
					p.unsubscribe(name)
				}
			}
			if longest == "" {
				for _, interval := range []string{"1s", "1h", "9999999h", "0h", "x"} {
					ask(interval, "404:%s:Catch-up not supported")
				}
				return
			}
			for _, interval := range []string{"1s", "1m", "1h", longest} {
				ask(interval, "")
			}
			var hours int
			_, err := fmt.Sscanf(longest, "%dh", &hours)
			require.NoError(t, err)
			for _, interval := range []string{fmt.Sprintf("%dh", hours+1), fmt.Sprintf("%dm", 60*hours+1), fmt.Sprintf("%ds", 3600*hours+1), "9999999h"} {
				ask(interval, "413:%s,"+longest+":Catch-up interval too long")
			}
			for _, interval := range []string{"0h", "01h", "1d", "1H", "h", "12", "-1h", "12x", "10000000s", "1h1m"} {
				ask(interval, "400:%s:Invalid catch-up interval")
			}
		}
		for _, kind := range []string{"all_json", "all_html", "promoted_json", "promoted_html", "chat", "a/b/c"} {
			row(view, kind, "24h")
			row(control, kind, "24h")
		}
		row(control, "analytics", "24h")
		row(control, "events", "")
		row(control, "presence", "")
		// Who may not hear the base is told only that.
		for _, kind := range []string{"analytics", "events", "presence"} {
			for _, interval := range []string{"1h", "99h", "x"} {
				name := view + "/" + kind + "/catchup/" + interval
				require.Equal(t, "403:"+name+":Forbidden channel", p.subscribe(name).Error)
			}
		}
		for _, name := range []string{view + "/catchup/1h", view + "/chat/catchup", view + "/chat/catchup/1h/x", view + "/**/catchup/1h"} {
			require.Equal(t, "405:"+name+":Invalid channel", p.subscribe(name).Error)
		}
	})
}

func TestT7OnlyWhatThereIs(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		view := x.root("gala", channels.ClassView)
		x.say("gala", "chat", 1)
		time.Sleep(25 * time.Hour)
		x.say("gala", "chat", 2)
		p := x.join("")
		r := p.subscribe(view + "/chat/catchup/24h")
		require.True(t, r.ok())
		require.Equal(t, 1, r.Ext.Catchup.Messages)
		require.False(t, r.Ext.Catchup.Truncated, "it was age that cut it")
		require.Equal(t, on(view+"/chat/catchup/24h", 2), p.poll())
		r = p.subscribe(x.root("new", channels.ClassView) + "/chat/catchup/24h")
		require.True(t, r.ok())
		require.Zero(t, r.Ext.Catchup.Messages)
	})
}

func TestT8CommentsInTwoForms(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		view := x.root("gala", channels.ClassView)
		p := x.join("")
		require.True(t, p.subscribe(view+"/*").ok())
		id := x.comment("gala", "hi <b>")
		require.ElementsMatch(t, []string{"all_json " + id + " 0", "all_html " + id + " html"}, p.heardComments(view))
	})
}

func TestT15ResetWithAndWithoutGrace(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 2)
		x, y := nodes[0], nodes[1]
		old := x.root("gala", channels.ClassView)
		x.say("gala", "chat", 1)
		p := y.join("")
		require.True(t, p.subscribe(old+"/chat").ok())
		_, err := x.b.objects.reset(t.Context(), x.app, "gala", 10*time.Minute)
		require.NoError(t, err)
		time.Sleep(time.Second)
		synctest.Wait()
		fresh := x.root("gala", channels.ClassView)
		require.NotEqual(t, old, fresh)
		// Until the grace is over both work, with one history.
		q := y.join("")
		require.True(t, q.subscribe(old+"/chat/catchup/1h").ok())
		require.True(t, q.subscribe(fresh+"/chat/catchup/1h").ok())
		require.ElementsMatch(t, append(on(old+"/chat/catchup/1h", 1), on(fresh+"/chat/catchup/1h", 1)...), q.poll())
		x.say("gala", "chat", 2)
		require.Equal(t, on(old+"/chat", 2), p.poll())
		for range 11 { // minutes, during which both stay connected
			time.Sleep(time.Minute)
			synctest.Wait()
			p.connectAt(y, 1)
		}
		require.Contains(t, p.connectAt(y, 1).Error, "401:", "old ones fall silent")
		require.Equal(t, "403:"+old+"/chat:Forbidden channel", y.join("").subscribe(old+"/chat").Error)
		require.True(t, y.join("").subscribe(fresh+"/chat").ok())

		// Without grace at once.
		p = y.join("")
		require.True(t, p.subscribe(fresh+"/chat").ok())
		_, err = x.b.objects.reset(t.Context(), x.app, "gala", 0)
		require.NoError(t, err)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Contains(t, p.connectAt(y, 1).Error, "401:")
		require.Equal(t, "403:"+fresh+"/chat:Forbidden channel", y.join("").subscribe(fresh+"/chat").Error)
	})
}
