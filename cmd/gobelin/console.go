package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux/browser"
	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/broker/api"
	"github.com/gobelin-broker/gobelin/broker/console"
	"github.com/gobelin-broker/gobelin/store/redis"
)

// newGate returns who lets the operator in, or nil where there is no token: serve needs
// admin.token, dev makes one of its own, which it prints.
func (n *node) newGate() *console.Gate {
	if n.dev && n.config.AdminToken == "" {
		n.config.AdminToken = broker.Secret(rand.Text())
	}
	if n.config.AdminToken == "" {
		return nil
	}
	return console.NewGate(n.config.AdminToken, n.log.Named("console"))
}

// newConsole returns the console, or nil where nobody may see it.
func (n *node) newConsole() *console.Console {
	if n.gate == nil {
		return nil
	}
	keys := *n.config // a reload may change those of the node
	return console.New(console.Options{
		Gate: n.gate, Version: version, Broker: n.broker.Operator(), Store: n.aboutStore,
		API: func(w http.ResponseWriter, r *http.Request, who *broker.Identity) {
			n.api.ServeHTTP(w, api.WithCaller(r, who))
		},
		Bayeux: n.bayeux, Mount: n.config.Mount, Client: browser.ClientJS(),
		ExplainRoot: func(text string) (string, bool) { return explainRoot(&keys, text, time.Now()) },
		Drain:       n.end, Audit: n.log.Named("audit"), Logger: n.log.Named("console"),
	})
}

// aboutStore is what the console shows of the store.
func (n *node) aboutStore(ctx context.Context) console.Store {
	c := n.config
	about := console.Store{Kind: c.Store.kind(), Facts: []console.Fact{{Name: "place", Value: c.Store.String()}}}
	switch c.Store.kind() {
	case kindRedis:
		about.Facts = append(about.Facts, console.Fact{Name: "acknowledged when", Value: acknowledged[c.Ack]})
	case kindDisk:
		about.Facts = append(about.Facts, console.Fact{Name: "acknowledged when", Value: "it is on the disk"})
	}
	if err := n.broker.Health(ctx); err != nil {
		about.Fault = err.Error()
		return about
	}
	s, ok := n.store.(*redis.Store)
	if !ok {
		return about
	}
	f, err := s.Facts(ctx)
	if err != nil {
		about.Fault = err.Error()
		return about
	}
	memory := bytesInWords(f.UsedMemory)
	if f.MaxMemory > 0 {
		memory += " of " + bytesInWords(f.MaxMemory)
	}
	about.Facts = append(about.Facts,
		console.Fact{Name: "Redis", Value: f.Version + ", " + f.Kind},
		console.Fact{Name: "processes", Value: fmt.Sprintf("%s, %s", count(f.Primaries, "primary"), count(f.Replicas, "replica"))},
		console.Fact{Name: "persistence", Value: f.Persistence},
		console.Fact{Name: "eviction", Value: f.Policy},
		console.Fact{Name: "memory", Value: memory},
		console.Fact{Name: "clock", Value: f.Skew.Round(time.Millisecond).String() + " off"},
	)
	return about
}
