package broker

import (
	"context"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/broker/exact"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
)

// afterTarget notes in a target what a client says of its place in the channel, so that a
// page whose session was lost goes on where it was instead of being shown all again
// (experience.md §5). With a catch-up, ext.catchup.after is the id of the message that it
// had last, and only what follows is replayed; an id of no message is only a place in the
// order of ids. With a live channel, ext.history asks for the place where live begins.
func afterTarget(m *bayeux.Message, p channels.Pattern, t *target) error {
	if len(m.Ext) == 0 {
		return nil
	}
	if t.catchup.IsZero() {
		t.placed = len(m.Subscription) == 1 && len(m.ExtValue("history")) > 0
		return nil
	}
	value := m.ExtValue("catchup")
	if len(value) == 0 || value[0] != '{' {
		return nil // as without
	}
	of, err := replayEntry(value, "after")
	if err != nil || of == nil {
		return err
	}
	text, err := exact.Text(of)
	if err == nil {
		t.after, err = store.ParsePosition(text)
	}
	if err != nil {
		return &bayeux.Error{Code: 400, Args: []string{p.String()}, Text: "Catch-up after must be a message id"}
	}
	return nil
}

// notePlace tells the client after which message a live subscription that was just taken
// began, where it asked; wasLive: the session heard the topic before.
func (x *extent) notePlace(tp *topic, sm *seam, wasLive bool) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	last := tp.last
	if !wasLive {
		last = sm.State().Start
	}
	x.last = &last
}

// newReplay prepares the walk of a catch-up.
func (b *Broker) newReplay(ctx context.Context, tp *topic, t *target, since time.Time, upTo store.Position) (r *catchup.Replay, x catchup.Extent, err error) {
	if t.catchup.Count > 0 {
		r, x, err = catchup.NewReplayNewest(ctx, b.opt.Store, tp.log, tp.limits, since, upTo, t.catchup.Count)
	} else {
		r, x, err = catchup.NewReplay(ctx, b.opt.Store, tp.log, tp.limits, since, upTo)
	}
	if err != nil || t.after.IsZero() {
		return r, x, err
	}
	x, err = r.SkipCounted(ctx, t.after, x)
	return r, x, err
}
