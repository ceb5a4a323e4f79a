package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/oklog/ulid/v2"
	"go.uber.org/zap"
)

// The tables of the registry.
const (
	tableObject = "object" // "<app>/<id>" → objectRecord; a deleted object leaves a tombstone
	tableOID    = "oid"    // 16 hex digits → "<app>/<id>/<n>"; says nothing about rights
)

// Times of the registry.
const (
	// freshWatched is how long a cached object is used without asking the store
	// while changes are announced; freshBlind while they are not.
	freshWatched = time.Minute
	freshBlind   = 5 * time.Second
	// loadTimeout bounds one look-up in the store.
	loadTimeout = 2 * time.Second
)

// maxAttempts bounds how often a change starts anew because another was faster.
const maxAttempts = 16

// registryOptions is what a registry is made of; all fields are required.
type registryOptions struct {
	store    store.Table
	keyring  *channels.Keyring
	accounts []Account
	capacity int              // objects in the cache
	now      func() time.Time // the store's clock
	logger   *zap.Logger
	// post tells all nodes, this one included, of a change; it does not wait. Each
	// passes it to announced.
	post func(announcement)
	// withdrawn hears of each oid that no longer leads to an object, so that
	// subscriptions end: after a reset without grace, the end of a grace, a
	// deletion; on this node or another. It may hear of one more than once. It is
	// called without locks held and must not call the registry.
	withdrawn func(topic, oid channels.OID)
}

// registry keeps the objects (product.md §3; security.md §1.5, §1.8). What it
// returns are snapshots. The record of an object decides what leads to it; the
// row of an oid only says where to look, so a row left over by a crash harms
// nobody. Every change compares and sets. Known objects go on working while the
// store is away. Its methods may be called by many goroutines at once.
type registry struct {
	registryOptions
	apps  map[uint32]*Application
	loads flights
	// heard are announcements on their way to Run; missed has one token when some
	// were lost.
	heard  chan announcement
	missed chan struct{}

	mu      sync.Mutex
	cache   *objectCache           // guarded by mu
	graces  map[channels.OID]grace // guarded by mu
	watched bool                   // guarded by mu; changes are announced
}

func newRegistry(o registryOptions) *registry {
	r := &registry{
		registryOptions: o,
		apps:            map[uint32]*Application{},
		heard:           make(chan announcement, 1024),
		missed:          make(chan struct{}, 1),
		cache:           newObjectCache(o.capacity),
		graces:          map[channels.OID]grace{},
	}
	for i := range o.accounts {
		for j := range o.accounts[i].Apps {
			app := &o.accounts[i].Apps[j]
			r.apps[app.ID] = app
		}
	}
	return r
}

// resolve returns the object that a root with this oid leads to. Only an oid of a
// verified root may be asked for. ErrNoObject when there is none (deleted,
// withdrawn, grace over); the store's error when it cannot be known.
func (r *registry) resolve(ctx context.Context, oid channels.OID) (*Object, error) {
	r.mu.Lock()
	e := r.cache.find(oid)
	var cached *Object
	fresh := false
	if e != nil {
		cached, fresh = e.object, r.fresh(e)
	}
	r.mu.Unlock()
	if fresh {
		return r.judge(cached, oid)
	}
	o, err := r.loads.do(ctx, "@"+string(oid[:]), func(ctx context.Context) (*Object, error) {
		return r.loadOID(ctx, oid, cached)
	})
	if err != nil {
		if e == nil {
			return nil, fmt.Errorf("broker: resolve @%s: %w", oid.String()[:8], err)
		}
		r.postpone(e)
		o = cached
	}
	return r.judge(o, oid)
}

// judge returns o if a root with this oid leads to it now.
func (r *registry) judge(o *Object, oid channels.OID) (*Object, error) {
	if o == nil || !o.holds(oid, r.now()) {
		return nil, ErrNoObject
	}
	return o, nil
}

// get returns an object by its id. ErrNoObject when there is none.
func (r *registry) get(ctx context.Context, app *Application, id string) (*Object, error) {
	if checkObjectID(id) != nil {
		return nil, ErrNoObject // never made, and perhaps no key of a table
	}
	key := objectKey(app.ID, id)
	r.mu.Lock()
	e := r.cache.findKey(key)
	var o *Object
	fresh := false
	if e != nil {
		o, fresh = e.object, r.fresh(e)
	}
	r.mu.Unlock()
	if !fresh {
		loaded, err := r.loads.do(ctx, key, func(ctx context.Context) (*Object, error) {
			return r.load(ctx, app, id)
		})
		switch {
		case err == nil:
			o = loaded
		case e == nil:
			return nil, fmt.Errorf("broker: object: %w", err)
		default:
			r.postpone(e)
		}
	}
	if o == nil || o.deleted {
		return nil, ErrNoObject
	}
	return o, nil
}

// newest returns an object as it was last seen, which may be o, without asking the
// store: changes are announced.
func (r *registry) newest(o *Object) *Object {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cache.newer(o)
}

// fresh reports whether an entry may be used without asking the store. r.mu is held.
func (r *registry) fresh(e *cacheEntry) bool {
	if r.watched {
		return time.Since(e.loaded) < freshWatched
	}
	return time.Since(e.loaded) < freshBlind
}

// postpone lets an entry live on while the store does not answer: it is asked
// again after freshBlind, so that an outage does not slow each subscribe down.
func (r *registry) postpone(e *cacheEntry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	age := freshBlind
	if r.watched {
		age = freshWatched
	}
	e.loaded = time.Now().Add(freshBlind - age)
}

// loadOID reads the object an oid leads to, or nil, and caches what it finds. With
// cached, where to look is known.
func (r *registry) loadOID(ctx context.Context, oid channels.OID, cached *Object) (*Object, error) {
	if cached != nil {
		return r.load(ctx, cached.App, cached.ID)
	}
	v, err := r.store.Get(ctx, tableOID, oid.String())
	switch {
	case errors.Is(err, store.ErrNotFound):
		r.none(oid)
		return nil, nil
	case err != nil:
		return nil, err
	}
	app, id, ok := r.parseRow(string(v.Data))
	if !ok {
		r.none(oid)
		return nil, nil
	}
	o, err := r.load(ctx, app, id)
	if err != nil {
		return nil, err
	}
	if o == nil || !o.holds(oid, r.now()) {
		r.none(oid)
	}
	return o, nil
}

// idOf returns the id of the object whose topic an oid is, also after resets of its
// root. ErrNoObject when there is none any more; the store's error.
func (r *registry) idOf(ctx context.Context, topic channels.OID) (string, error) {
	r.mu.Lock()
	e := r.cache.byOID[topic]
	r.mu.Unlock()
	if e != nil {
		if o := e.Value.(*cacheEntry).object; o != nil && o.Topic == topic && !o.deleted {
			return o.ID, nil
		}
	}
	v, err := r.store.Get(ctx, tableOID, topic.String())
	if errors.Is(err, store.ErrNotFound) {
		return "", ErrNoObject
	}
	if err != nil {
		return "", fmt.Errorf("broker: object of a topic: %w", err)
	}
	_, id, ok := r.parseRow(string(v.Data))
	if !ok {
		return "", ErrNoObject
	}
	return id, nil
}

// none caches that an oid leads nowhere.
func (r *registry) none(oid channels.OID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.cache.find(oid); e == nil || e.object == nil {
		r.cache.putNone(oid, time.Now())
	}
}

// load reads an object from the store and caches it, also a deleted one; nil when
// there never was one.
func (r *registry) load(ctx context.Context, app *Application, id string) (*Object, error) {
	loaded := time.Now() // before the store looks: what changes then is announced later
	v, err := r.store.Get(ctx, tableObject, objectKey(app.ID, id))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	o, err := decodeObject(app, id, v.Data, v.Version)
	if err != nil {
		return nil, err
	}
	r.keep(o, loaded)
	return o, nil
}

// keep caches an object and tells of the oids that led to it before.
func (r *registry) keep(o *Object, loaded time.Time) {
	now := r.now()
	r.mu.Lock()
	before := r.cache.put(o, now, loaded)
	r.schedule(o, now)
	r.mu.Unlock()
	if before != nil && before.version < o.version {
		r.tell(before.Topic, goneOIDs(before, o, now))
	}
}

// goneOIDs returns the oids that led to before and do not lead to after.
func goneOIDs(before, after *Object, now time.Time) []channels.OID {
	var gone []channels.OID
	for _, oid := range before.oids(now) {
		if !after.holds(oid, now) {
			gone = append(gone, oid)
		}
	}
	return gone
}

func (r *registry) tell(topic channels.OID, gone []channels.OID) {
	for _, oid := range gone {
		r.withdrawn(topic, oid)
	}
}

// parseRow reads the row of an oid; ok is false for one of an application that
// is not configured any more.
func (r *registry) parseRow(row string) (app *Application, id string, ok bool) {
	number, rest, _ := strings.Cut(row, "/")
	end := strings.LastIndexByte(rest, '/')
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil || end < 0 {
		return nil, "", false
	}
	app = r.apps[uint32(n)]
	return app, rest[:end], app != nil
}

// create makes an object, or returns the one that is there: created is false if
// that is the same. One that differs is refused with 4009, unless only a mention
// had made it: that one is described now.
func (r *registry) create(ctx context.Context, app *Application, spec ObjectSpec) (o *Object, created bool, err error) {
	if spec.ID == "" {
		spec.ID = ulid.Make().String()
	}
	if spec.Type == "" {
		spec.Type = TypeLive
	}
	if err := spec.check(); err != nil {
		return nil, false, err
	}
	return r.make(ctx, app, spec, false)
}

// ensure returns an object, and makes it if it never was: its first mention by a
// trusted party (product.md §3). One that was deleted stays so.
func (r *registry) ensure(ctx context.Context, app *Application, id string) (*Object, error) {
	o, err := r.get(ctx, app, id)
	if !errors.Is(err, ErrNoObject) {
		return o, err
	}
	spec := ObjectSpec{ID: id, Type: TypeLive}
	if err := spec.check(); err != nil {
		return nil, err
	}
	o, _, err = r.make(ctx, app, spec, true)
	return o, err
}

// make does the work of create and, with auto, of ensure.
func (r *registry) make(ctx context.Context, app *Application, spec ObjectSpec, auto bool) (*Object, bool, error) {
	for range maxAttempts {
		old, err := r.load(ctx, app, spec.ID)
		if err != nil {
			return nil, false, fmt.Errorf("broker: create object: %w", err)
		}
		next := &Object{
			App: app, ID: spec.ID, Type: spec.Type, Name: spec.Name, OwnerRef: spec.OwnerRef, URL: spec.URL,
			Public: !spec.Private, Created: r.now(), auto: auto,
		}
		switch {
		case old == nil:
			next.OID, next.N, err = r.claim(ctx, app, spec.ID, 0)
			next.Topic = next.OID
		case old.deleted && auto:
			return nil, false, ErrNoObject
		case old.deleted:
			next.OID, next.N, err = r.claim(ctx, app, spec.ID, int(old.N)+1)
			next.Topic, next.version = next.OID, old.version
		case auto:
			return old, false, nil
		case old.auto:
			next.OID, next.N, next.Topic, next.aliases = old.OID, old.N, old.Topic, old.aliases
			next.Created, next.version = old.Created, old.version
		case old.matches(spec):
			return old, false, nil
		default:
			return nil, false, &Error{Result: 4009, Text: "the object exists and is another; change it with PATCH"}
		}
		if err != nil {
			return nil, false, fmt.Errorf("broker: create object: %w", err)
		}
		made, err := r.write(ctx, next, nil)
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		return made, err == nil, err
	}
	return nil, false, errContended()
}

func errContended() error {
	return fmt.Errorf("broker: object: changed by others all the time: %w", store.ErrUnavailable)
}

// claim takes an oid for an object: that of the first n from n on which no other
// object has (security.md §1.3). What it took in an earlier attempt is its own.
func (r *registry) claim(ctx context.Context, app *Application, id string, n int) (channels.OID, uint16, error) {
	for range maxAttempts {
		if n > 1<<16-1 {
			break
		}
		oid := r.keyring.OID(app.ID, id, uint16(n))
		row := objectKey(app.ID, id) + "/" + strconv.Itoa(n)
		absent := uint64(0)
		_, err := r.store.Put(ctx, tableOID, oid.String(), store.Put{Data: []byte(row), IfVersion: &absent})
		if err == nil {
			return oid, uint16(n), nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return channels.OID{}, 0, err
		}
		v, err := r.store.Get(ctx, tableOID, oid.String())
		switch {
		case errors.Is(err, store.ErrNotFound): // removed just now: once more
		case err != nil:
			return channels.OID{}, 0, err
		case string(v.Data) == row:
			return oid, uint16(n), nil
		default:
			n++
		}
	}
	return channels.OID{}, 0, &Error{Result: 4000, Text: "the object has no further roots; use another object_id"}
}
