package main

import (
	"context"
	"crypto/rand"
	"net/http"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/broker/console"
)

// overviewWait bounds a look at the store for the console.
const overviewWait = time.Second

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

// consoleHandler returns the console, or nil where nobody may see it.
func (n *node) consoleHandler(begun time.Time) http.Handler {
	if n.gate == nil {
		return nil
	}
	return console.New(console.Options{
		Gate: n.gate, Version: version, Started: begun, Overview: n.overview, Logger: n.log.Named("console"),
	})
}

// overview is what the console shows of now.
func (n *node) overview() console.Overview {
	ctx, cancel := context.WithTimeout(context.Background(), overviewWait)
	defer cancel()
	s, f := n.bayeux.Stats(), n.broker.Figures()
	o := console.Overview{
		Sessions: s.Sessions, Sockets: s.Sockets, Held: s.Held, Viewers: f.Viewers,
		Received: s.Received, ReceivedBytes: s.ReceivedBytes, Published: f.Published,
		Delivered: s.Delivered, DeliveredBytes: s.DeliveredBytes, Resent: s.Resent,
		Replays: f.Replays, Replayed: f.Replayed, Lagging: f.Lagging,
		Handshakes: s.HandshakesCompleted, Throttled: s.Throttled, Stalled: s.Stalled, Panics: s.Panics,
		Dropped: s.Dropped, Refused: s.Refused, Ended: s.Ended,
		Store: console.Store{Kind: n.config.Store.kind()}, Open: n.broker.OpenInWords(),
	}
	if err := n.broker.Health(ctx); err != nil {
		o.Store.Fault = err.Error()
	}
	return o
}
