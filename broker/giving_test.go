package broker

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
)

// A catch-up that is refused because it could not be written down brings nothing, though
// its client polls meanwhile; the one that is taken then brings everything once.
func TestRefusedCatchupBringsNothing(t *testing.T) {
	for name, more := range map[string]string{"alone": "", "live before": "/chat", "live with it": "+", "by replay id": "-1"} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				x := newFleet(t, 1)[0]
				root := x.root("gala", channels.ClassView)
				x.say("gala", "chat", 1, 2)
				p := x.join("")
				require.True(t, p.connectAt(x, 1).ok())
				past, ext := root+"/chat/catchup/1h", ""
				switch more {
				case "/chat":
					require.True(t, p.subscribe(root+"/chat").ok())
				case "-1":
					past, ext = root+"/chat", `,"ext":{"replay":{"`+root+`/chat":-2}}`
				}
				names := `"` + past + `"`
				if more == "+" {
					names = `["` + root + `/chat",` + names + `]`
				}
				subscribe := func() reply {
					return x.post(p, p.message("/meta/subscribe", `,"subscription":`+names+ext))[0]
				}
				refused := 0
				x.link().hook.Store(&fault{refused: func(table, _ string) bool {
					if table != tableSession {
						return false
					}
					for range 1000 { // a sleep would hold a lock, with which no time passes here
						runtime.Gosched()
					}
					refused++
					return true
				}})
				q := &peer{x: x, id: p.id}
				poll := p.message("/meta/connect", `,"connectionType":"long-polling","advice":{"timeout":5000}`)
				var polling sync.WaitGroup
				polling.Go(func() { x.post(q, poll) })
				synctest.Wait()
				require.Contains(t, subscribe().Error, "503:")
				x.link().hook.Store(nil)
				polling.Wait()
				require.Positive(t, refused)
				require.Empty(t, q.inbox)
				r := subscribe()
				require.True(t, r.ok(), r.Error)
				require.Equal(t, on(past, 1, 2), p.poll())
				x.say("gala", "chat", 3)
				if more != "" {
					require.Equal(t, on(root+"/chat", 3), p.poll())
				}
			})
		})
	}
}

// Who asks for a catch-up again while it is under way, and is refused, keeps the one that was
// granted: all of it comes, once.
func TestRefusedCatchupLeavesTheOneBefore(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newFleet(t, 1)[0]
		root := x.root("gala", channels.ClassView)
		x.say("gala", "chat", 1, 2)
		p := x.join("")
		past := root + "/chat/catchup/1h"
		require.True(t, p.subscribe(root+"/chat").ok())
		require.True(t, p.subscribe(past).ok())
		x.link().hook.Store(&fault{refused: func(table, _ string) bool { return table == tableSession }})
		require.Contains(t, p.subscribe(past).Error, "503:")
		x.link().hook.Store(&fault{head: func(store.LogName) error { return store.ErrUnavailable }})
		require.Contains(t, p.subscribe(past).Error, "503:")
		x.link().hook.Store(nil)
		require.Equal(t, on(past, 1, 2), p.poll())
		require.Empty(t, p.poll())
		x.say("gala", "chat", 3)
		require.Equal(t, on(root+"/chat", 3), p.poll())
	})
}

// A catch-up that was refused, however, covers nothing: what came since the one before, or
// since a subscription was dropped, is not taken for brought by it.
func TestRefusedCatchupCoversNothing(t *testing.T) {
	keep := &fault{refused: func(table, _ string) bool { return table == tableSession }}
	begin := &fault{head: func(store.LogName) error { return store.ErrUnavailable }}
	f := func(name string, before, refused string, why *fault) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				x := newFleet(t, 1)[0]
				live := x.root("gala", channels.ClassView) + "/chat"
				x.say("gala", "chat", 1)
				p := x.join("")
				require.True(t, p.subscribe(live+before).ok())
				if before == "" {
					p.unsubscribe(live)
				}
				p.poll()
				x.say("gala", "chat", 2, 3)
				x.link().hook.Store(why)
				require.Contains(t, p.at(x, p.message("/meta/subscribe", fmt.Sprintf(`,"subscription":`+refused, live))).Error, "503:")
				x.link().hook.Store(nil)
				x.say("gala", "chat", 4)
				require.True(t, p.subscribe(live).ok())
				x.say("gala", "chat", 5)
				require.Equal(t, on(live, 2, 3, 4, 5), p.pollAround([]*bench{x}))
			})
		})
	}
	for name, why := range map[string]*fault{"kept": keep, "begun": begin} {
		for before, text := range map[string]string{"": "dropped", "/catchup/1h": "a catch-up"} {
			f(text+", another that is not "+name, before, `"%s/catchup/2h"`, why)
			f(text+", one with live that is not "+name, before, `["%[1]s/catchup/2h","%[1]s"]`, why)
			f(text+", live with one that is not "+name, before, `["%[1]s","%[1]s/catchup/2h"]`, why)
		}
	}
}

// Nor does what is left of it keep back what a wildcard brings that begins then.
func TestRefusedCatchupBeforeAWildcard(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newFleet(t, 1)[0]
		root := x.root("gala", channels.ClassControl)
		p := x.join("")
		require.True(t, p.subscribe(root+"/a/b").ok())          // so that something stands
		require.True(t, x.join("").subscribe(root+"/a/c").ok()) // and the topic does
		x.link().hook.Store(&fault{refused: func(table, _ string) bool { return table == tableSession }})
		require.Contains(t, p.subscribe(root+"/a/c/catchup/1h").Error, "503:")
		x.link().hook.Store(nil)
		require.True(t, p.subscribe(root+"/a/**").ok())
		x.say("gala", "a/c", 1, 2)
		require.Equal(t, on(root+"/a/c", 1, 2), p.poll())
	})
}
