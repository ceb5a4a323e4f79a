package goclients

import (
	"context"
	"encoding/json"
	"sync"
	"testing"

	"github.com/sigmavirus24/gobayeux/v2"
	"github.com/sigmavirus24/gobayeux/v2/extensions/replay"
)

// TestGobayeux: the managed client of gobayeux hands messages over when one of another
// channel follows, so it gets them all only because the answer to a connect is the last
// in its array; and it needs the advice of each of them (bayeux-cometd.md §0).
func TestGobayeux(t *testing.T) {
	url := start(t)
	const channel = "/event/Ticker__e"
	client, err := gobayeux.NewClient(url + "/cometd/62.0")
	if err != nil {
		t.Fatal(err)
	}
	if err := client.UseExtension(replay.New(replay.NewMapStorage())); err != nil {
		t.Fatal(err)
	}
	got := make(chan []gobayeux.Message, 10)
	client.Subscribe(channel, got)
	ctx, cancel := context.WithCancel(context.Background())
	failed := client.Start(ctx)

	var mu sync.Mutex
	var ns []int
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case messages := <-got:
				mu.Lock()
				for _, m := range messages {
					var data struct{ N int }
					if err := json.Unmarshal(m.Data, &data); err != nil {
						t.Error(err)
					}
					ns = append(ns, data.N)
				}
				mu.Unlock()
			case err := <-failed:
				if ctx.Err() == nil {
					t.Error(err)
				}
				return
			case <-ctx.Done():
				return
			}
		}
	})
	defer wg.Wait()
	defer cancel()
	have := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(ns)
	}
	// A client that subscribes says nothing when that is done.
	eventually(t, "it is subscribed", func() bool {
		say(t, url, channel, map[string]int{"n": -1})
		return have() > 0
	})
	for n := range 20 {
		say(t, url, channel, map[string]int{"n": n})
	}
	want := numbers(0, 20)
	eventually(t, "20 of 20", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(ns) >= 20 && ns[len(ns)-1] == 19
	})
	mu.Lock()
	defer mu.Unlock()
	equal(t, "all, in order", want, ns[len(ns)-20:])
}
