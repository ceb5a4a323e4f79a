package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"go.uber.org/zap"
)

// maxGrace bounds how long a root can outlive a reset.
const maxGrace = 30 * 24 * time.Hour

// patch changes an object and returns it as it was and as it is. ErrNoObject when
// there is none.
func (r *registry) patch(ctx context.Context, app *Application, id string, p ObjectPatch) (before, after *Object, err error) {
	if err := p.check(); err != nil {
		return nil, nil, err
	}
	after, err = r.change(ctx, app, id, func(o *Object) (*Object, error) {
		before = o
		next, changed := o.apply(p)
		if !changed {
			return o, nil
		}
		return next, nil
	})
	return before, after, err
}

// reset gives an object another oid and so new roots; the old ones work for grace
// more, or end at once (security.md §1.8). ErrNoObject when there is none.
func (r *registry) reset(ctx context.Context, app *Application, id string, grace time.Duration) (*Object, error) {
	if grace < 0 || grace > maxGrace {
		return nil, &Error{Result: 4000, Text: fmt.Sprintf("grace_minutes must be 0 to %d", int(maxGrace/time.Minute))}
	}
	return r.change(ctx, app, id, func(o *Object) (*Object, error) {
		oid, n, err := r.claim(ctx, app, id, int(o.N)+1)
		if err != nil {
			return nil, err
		}
		now := r.now()
		return o.reset(oid, n, now, now.Add(grace))
	})
}

// delete removes an object: its roots lead nowhere, and an object made under its
// id later has other ones. ErrNoObject when there is none.
func (r *registry) delete(ctx context.Context, app *Application, id string) error {
	_, err := r.change(ctx, app, id, func(o *Object) (*Object, error) {
		return &Object{App: app, ID: id, Topic: o.Topic, N: o.N, deleted: true, version: o.version}, nil
	})
	return err
}

// change applies f to the object as the store has it and writes what f returns
// unless it is the same, over again while others are faster.
func (r *registry) change(ctx context.Context, app *Application, id string, f func(*Object) (*Object, error)) (*Object, error) {
	if checkObjectID(id) != nil {
		return nil, ErrNoObject
	}
	for range maxAttempts {
		old, err := r.load(ctx, app, id)
		if err != nil {
			return nil, fmt.Errorf("broker: change object: %w", err)
		}
		if old == nil || old.deleted {
			return nil, ErrNoObject
		}
		next, err := f(old)
		if err != nil {
			return nil, fmt.Errorf("broker: change object: %w", err)
		}
		if next == old {
			return old, nil
		}
		o, err := r.write(ctx, next, old)
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		return o, err
	}
	return nil, errContended()
}

// write stores an object if it still has next.version, caches it and tells
// everybody. before is what it replaces, nil for a new one.
func (r *registry) write(ctx context.Context, next, before *Object) (*Object, error) {
	data, err := next.encode()
	if err != nil {
		return nil, fmt.Errorf("broker: write object: %w", err)
	}
	loaded := time.Now()
	version, err := r.store.Put(ctx, tableObject, objectKey(next.App.ID, next.ID), store.Put{Data: data, IfVersion: &next.version})
	if err != nil {
		if !errors.Is(err, store.ErrConflict) {
			r.doubt(next)
		}
		return nil, fmt.Errorf("broker: write object: %w", err)
	}
	o := *next
	o.version = version
	r.keep(&o, loaded)
	if before != nil {
		gone := goneOIDs(before, &o, r.now())
		r.forget(ctx, before, &o)
		r.announce(&o, gone)
	} else {
		r.announce(&o, nil)
	}
	return &o, nil
}

// doubt makes the next use of an object ask the store: the outcome of a write is
// not known.
func (r *registry) doubt(o *Object) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.cache.findKey(objectKey(o.App.ID, o.ID)); e != nil {
		e.loaded = time.Time{}
	}
}

// forget removes the rows of oids that lead nowhere any more. The topic's stays
// while the object does, so that no other object ever gets its history. A row
// that stays behind does no harm, so failing is only noted.
func (r *registry) forget(ctx context.Context, before, after *Object) {
	old := []channels.OID{before.OID, before.Topic}
	for _, a := range before.aliases {
		old = append(old, a.oid)
	}
	now := r.now()
	for _, oid := range old {
		if after.holds(oid, now) || (!after.deleted && oid == after.Topic) {
			continue
		}
		if err := r.store.Remove(ctx, tableOID, oid.String(), nil); err != nil {
			r.logger.Debug("row of an old root stays", zap.String("root", "@"+oid.String()[:8]), zap.Error(err))
		}
	}
}

// maxScan bounds the rows one list reads: many may be deleted or of another type.
const maxScan = 10 * maxList

// list returns a page of an application's objects. A page can be short, even
// empty, and still have a Next.
func (r *registry) list(ctx context.Context, app *Application, q ObjectQuery) (ObjectPage, error) {
	if q.ID != "" {
		return r.listOne(ctx, app, q)
	}
	limit := min(max(q.Limit, 1), maxList)
	prefix := objectKey(app.ID, "")
	after := ""
	if q.After != "" {
		after = prefix + q.After
	}
	var page ObjectPage
	for scanned := 0; scanned < maxScan; {
		items, err := r.store.List(ctx, tableObject, prefix, after, maxList)
		if err != nil {
			return ObjectPage{}, fmt.Errorf("broker: list objects: %w", err)
		}
		for i, item := range items {
			o, err := decodeObject(app, item.Key[len(prefix):], item.Data, item.Version)
			if err != nil {
				return ObjectPage{}, err
			}
			after = item.Key
			if o.deleted || (q.Type != "" && o.Type != q.Type) {
				continue
			}
			page.Objects = append(page.Objects, o)
			if len(page.Objects) == limit {
				if i < len(items)-1 || len(items) == maxList {
					page.Next = o.ID
				}
				return page, nil
			}
		}
		if len(items) < maxList {
			return page, nil
		}
		scanned += len(items)
	}
	page.Next = after[len(prefix):]
	return page, nil
}

// listOne returns a page of one object at most. It is answered from the cache.
func (r *registry) listOne(ctx context.Context, app *Application, q ObjectQuery) (ObjectPage, error) {
	o, err := r.get(ctx, app, q.ID)
	switch {
	case errors.Is(err, ErrNoObject) || (err == nil && q.Type != "" && q.Type != o.Type):
		return ObjectPage{}, nil
	case err != nil:
		return ObjectPage{}, err
	}
	return ObjectPage{Objects: []*Object{o}}, nil
}
