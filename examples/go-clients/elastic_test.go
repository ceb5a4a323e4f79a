package goclients

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/elastic/bayeux"
)

// TestElastic: github.com/elastic/bayeux sends single objects and its replay ids as text.
func TestElastic(t *testing.T) {
	url := start(t)
	const channel = "/event/Login__e"
	for n := range 60 {
		say(t, url, channel, map[string]any{"payload": map[string]int{"n": n}})
	}
	all := follow(t, url, channel, "-2")
	eventually(t, "everything that is kept", func() bool { return len(all.sorted()) == 60 })
	ids := all.sorted()
	for i, e := range ids {
		equal(t, "ids without a gap", ids[0].id+i, e.id)
		equal(t, "payload", i, e.n)
	}
	rest := follow(t, url, channel, fmt.Sprint(ids[39].id))
	fresh := follow(t, url, channel, "-1")
	for n := 60; n < 70; n++ {
		say(t, url, channel, map[string]any{"payload": map[string]int{"n": n}})
	}
	eventually(t, "what follows an id", func() bool { return len(rest.sorted()) >= 30 })
	eventually(t, "what is new", func() bool { return len(fresh.sorted()) >= 10 })
	equal(t, "what follows an id", numbers(40, 70), rest.ns())
	equal(t, "what is new", numbers(60, 70), fresh.ns())
}

type seen struct{ id, n int }

// follower keeps what one client of elastic gives to its application, which is in no
// order: the client has a goroutine for each event.
type follower struct {
	mu     sync.Mutex
	events []seen
}

// follow subscribes a client until the test ends.
func follow(t *testing.T, url, channel, replay string) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var b bayeux.Bayeux
	out := b.Channel(ctx, make(chan bayeux.MaybeMsg), replay, bayeux.Credentials{InstanceURL: url, AccessToken: "none"}, channel)
	f := &follower{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for m := range out {
			if m.Failed() || m.Msg.Channel != channel {
				continue
			}
			var payload struct{ N int }
			if err := json.Unmarshal(m.Msg.Data.Payload, &payload); err != nil {
				t.Errorf("payload: %v", err)
			}
			f.mu.Lock()
			f.events = append(f.events, seen{m.Msg.Data.Event.ReplayID, payload.N})
			f.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return f
}

func (f *follower) sorted() []seen {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := slices.Clone(f.events)
	slices.SortFunc(all, func(a, b seen) int { return a.id - b.id })
	return all
}

func (f *follower) ns() (ns []int) {
	for _, e := range f.sorted() {
		ns = append(ns, e.n)
	}
	return ns
}

func numbers(from, to int) (all []int) {
	for n := from; n < to; n++ {
		all = append(all, n)
	}
	return all
}
