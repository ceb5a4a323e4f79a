package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/store"
	"go.uber.org/zap"
)

// Times of a suspension (product.md E21).
const (
	// suspendedKept is how long the data of a suspended application is kept.
	suspendedKept = 7 * day
	// purgeEvery is how often a node looks for suspended applications whose data is
	// due to go.
	purgeEvery = time.Hour
)

// ErrSuspended refuses whatever is asked for a suspended application.
var ErrSuspended = &Error{Result: 4003, Text: "application suspended"}

// suspension is an application that nobody may use, as its row says and as nodes tell
// each other.
type suspension struct {
	App uint32 `json:"app"`
	// Since is when it was suspended, by the store's clock, in ms; 0: it is not.
	Since int64 `json:"since"`
	// Purged: its data is gone.
	Purged bool `json:"purged,omitempty"`

	version uint64
}

// suspensions are the applications that are suspended, as far as this node has heard.
type suspensions struct {
	mu    sync.RWMutex
	since map[uint32]int64
	heard uint64 // notices, so that an older reading of the table does not undo one
}

func newSuspensions() *suspensions { return &suspensions{since: map[uint32]int64{}} }

// has reports whether an application is suspended.
func (s *suspensions) has(app *Application) bool {
	if app == nil {
		return false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.since[app.ID] != 0
}

// set notes one and reports whether the application was not suspended before and is now.
func (s *suspensions) set(n suspension) (began bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard++
	if n.Since == 0 {
		delete(s.since, n.App)
		return false
	}
	began = s.since[n.App] == 0
	s.since[n.App] = n.Since
	return began
}

func (s *suspensions) notices() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.heard
}

// replace notes all there are, and returns those that were not suspended before; false
// if notices have come since there were so many.
func (s *suspensions) replace(all map[uint32]suspension, heard uint64) (began []suspension, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.heard != heard {
		return nil, false
	}
	for app := range s.since {
		if _, still := all[app]; !still {
			delete(s.since, app)
		}
	}
	for app, n := range all {
		if s.since[app] == 0 {
			began = append(began, n)
		}
		s.since[app] = n.Since
	}
	return began, true
}

// Suspended reports whether an application is suspended.
func (b *Broker) Suspended(app *Application) bool { return b.suspended.has(app) }

// Suspend refuses everything that is asked for an application, on every node within a
// second; its data goes seven days later unless it is resumed before. It returns since
// when, in ms of the store's clock; one that is suspended stays so since then.
func (b *Broker) Suspend(ctx context.Context, app *Application) (since int64, err error) {
	n := suspension{App: app.ID, Since: b.opt.Store.Now().UnixMilli()}
	absent := uint64(0)
	err = b.writeSuspension(ctx, n, &absent)
	if errors.Is(err, store.ErrConflict) {
		n, err = b.loadSuspension(ctx, app.ID)
	}
	if err != nil {
		return 0, fmt.Errorf("broker: suspend: %w", err)
	}
	b.suspend(n)
	b.post(notice{Suspended: &n})
	return n.Since, nil
}

// Resumed takes a suspension back. Data that should have gone by now goes first.
func (b *Broker) Resumed(ctx context.Context, app *Application) error {
	n, err := b.loadSuspension(ctx, app.ID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("broker: resume application: %w", err)
	}
	if err == nil {
		if err := b.purge(ctx, n); err != nil {
			return err
		}
		if err := b.opt.Store.Remove(ctx, tableSuspended, suspensionKey(app.ID), nil); err != nil {
			return fmt.Errorf("broker: resume application: %w", err)
		}
	}
	n = suspension{App: app.ID}
	b.suspend(n)
	b.post(notice{Suspended: &n})
	return nil
}

// suspend notes a suspension or its end here. Sessions of the application end: their
// clients are refused when they come again.
func (b *Broker) suspend(n suspension) {
	if b.suspended.set(n) {
		b.expel(n)
	}
}

// expel ends the sessions of an application that is suspended.
func (b *Broker) expel(n suspension) {
	b.log.Info("application suspended", zap.Uint32("app", n.App))
	b.endSessions(func(s *subscriber) bool {
		return s.identity != nil && s.identity.App.ID == n.App || s.listensIn(n.App)
	})
}

// listensIn reports whether the session listens below a root of an application's
// object, or taps it. Unlike the handler's methods it may be called at any time.
func (s *subscriber) listensIn(app uint32) bool {
	prefix := roomsOf(app)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tap == app || slices.ContainsFunc(s.rooms, func(room string) bool { return strings.HasPrefix(room, prefix) })
}

func suspensionKey(app uint32) string { return strconv.FormatUint(uint64(app), 10) }

func (b *Broker) writeSuspension(ctx context.Context, n suspension, ifVersion *uint64) error {
	data, err := json.Marshal(n)
	if err == nil {
		_, err = b.opt.Store.Put(ctx, tableSuspended, suspensionKey(n.App), store.Put{Data: data, IfVersion: ifVersion})
	}
	return err
}

func (b *Broker) loadSuspension(ctx context.Context, app uint32) (suspension, error) {
	v, err := b.opt.Store.Get(ctx, tableSuspended, suspensionKey(app))
	if err != nil {
		return suspension{}, err
	}
	return decodeSuspension(v)
}

func decodeSuspension(v store.Value) (n suspension, err error) {
	if err := json.Unmarshal(v.Data, &n); err != nil {
		return n, fmt.Errorf("broker: row of a suspension: %w", err)
	}
	n.version = v.Version
	return n, nil
}

// listSuspended reads the rows of all suspended applications.
func (b *Broker) listSuspended(ctx context.Context) (map[uint32]suspension, error) {
	all := map[uint32]suspension{}
	for after := ""; ; {
		items, err := b.opt.Store.List(ctx, tableSuspended, "", after, 500)
		if err != nil {
			return nil, fmt.Errorf("broker: suspended applications: %w", err)
		}
		for _, it := range items {
			after = it.Key
			n, err := decodeSuspension(it.Value)
			if err != nil {
				return nil, err
			}
			all[n.App] = n
		}
		if len(items) < 500 {
			return all, nil
		}
	}
}

// loadSuspended takes over what the store says; it is read whenever notices may have
// been missed.
func (b *Broker) loadSuspended(ctx context.Context) error {
	for {
		heard := b.suspended.notices()
		all, err := b.listSuspended(ctx)
		if err != nil {
			return err
		}
		began, ok := b.suspended.replace(all, heard)
		for _, n := range began {
			b.expel(n)
		}
		if ok {
			return nil
		}
	}
}

// purgeSuspended removes the data of applications that have been suspended for too
// long, until ctx ends.
func (b *Broker) purgeSuspended(ctx context.Context) {
	tick := time.NewTicker(purgeEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		all, err := b.listSuspended(ctx)
		for _, n := range all {
			if e := b.purge(ctx, n); e != nil {
				err = e
			}
		}
		if err != nil && ctx.Err() == nil {
			b.log.Warn("the data of suspended applications could not be looked through; it is tried again", zap.Error(err))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// purge removes the data of a suspended application if its time is over. It is
// harmless to do it again, and on several nodes.
func (b *Broker) purge(ctx context.Context, n suspension) error {
	if n.Purged || b.opt.Store.Now().UnixMilli()-n.Since < suspendedKept.Milliseconds() {
		return nil
	}
	prefix := strconv.FormatUint(uint64(n.App), 10) + "/"
	if err := b.dropDocuments(ctx, prefix); err != nil {
		return fmt.Errorf("broker: purge: %w", err)
	}
	for {
		keys, err := b.conferences.Keys(ctx, prefix, 500)
		if err != nil {
			return fmt.Errorf("broker: purge: %w", err)
		}
		if len(keys) == 0 {
			break
		}
		for _, key := range keys {
			if err := b.conferences.Remove(ctx, key); err != nil {
				return fmt.Errorf("broker: purge: %w", err)
			}
		}
	}
	version := n.version
	n.Purged = true
	if err := b.writeSuspension(ctx, n, &version); err != nil && !errors.Is(err, store.ErrConflict) {
		return fmt.Errorf("broker: purge: %w", err)
	}
	b.log.Info("data of a suspended application removed", zap.Uint32("app", n.App))
	return nil
}

// refuseSuspended refuses a peer of a suspended application; text is the channel.
func (b *Broker) refuseSuspended(app *Application, text string) error {
	if !b.suspended.has(app) {
		return nil
	}
	b.metrics.refused("suspended").Inc()
	return &bayeux.Error{Code: 403, Args: []string{text}, Text: "Application suspended"}
}
