package broker

import (
	"container/list"
	"time"

	"github.com/gobelin-broker/gobelin/channels"
)

// objectCache keeps the objects used last, and the oids that lead nowhere. It is
// not safe for concurrent use: registry.mu guards it.
type objectCache struct {
	capacity int
	order    *list.List // of *cacheEntry, the one used last in front
	byKey    map[string]*list.Element
	byOID    map[channels.OID]*list.Element
}

// cacheEntry is one object (also a deleted one), or one oid that leads nowhere.
// The latter can be made only by a root with a good tag, so by nobody who
// invents names (security.md §1.5).
type cacheEntry struct {
	key    string         // objectKey; "" for an oid that leads nowhere
	object *Object        // nil for an oid that leads nowhere
	oids   []channels.OID // that lead here
	loaded time.Time      // when the store said so
}

func newObjectCache(capacity int) *objectCache {
	return &objectCache{
		capacity: capacity,
		order:    list.New(),
		byKey:    map[string]*list.Element{},
		byOID:    map[channels.OID]*list.Element{},
	}
}

// find returns the entry of an oid, or nil, and counts as a use.
func (c *objectCache) find(oid channels.OID) *cacheEntry { return c.use(c.byOID[oid]) }

// findKey returns the entry of an object key, or nil, and counts as a use.
func (c *objectCache) findKey(key string) *cacheEntry { return c.use(c.byKey[key]) }

func (c *objectCache) use(e *list.Element) *cacheEntry {
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*cacheEntry)
}

// newer returns the object if it is there in a newer version and not deleted, else o.
// It does not count as a use.
func (c *objectCache) newer(o *Object) *Object {
	if e := c.byKey[objectKey(o.App.ID, o.ID)]; e != nil {
		if n := e.Value.(*cacheEntry).object; n.version > o.version && !n.deleted {
			return n
		}
	}
	return o
}

// put takes an object as the store had it at loaded, unless a newer version is
// there already. It returns the object that was there, or nil.
func (c *objectCache) put(o *Object, now, loaded time.Time) (before *Object) {
	key := objectKey(o.App.ID, o.ID)
	entry := &cacheEntry{key: key, object: o, loaded: loaded, oids: o.oids(now)}
	if e := c.byKey[key]; e != nil {
		old := e.Value.(*cacheEntry)
		if old.object.version > o.version {
			return old.object
		}
		before = old.object
		if o.deleted {
			entry.oids = old.oids // they lead to the tombstone, so to a refusal
		}
		c.drop(e)
	}
	c.add(entry)
	return before
}

// putNone takes an oid that leads nowhere.
func (c *objectCache) putNone(oid channels.OID, loaded time.Time) {
	c.add(&cacheEntry{oids: []channels.OID{oid}, loaded: loaded})
}

func (c *objectCache) add(entry *cacheEntry) {
	e := c.order.PushFront(entry)
	if entry.key != "" {
		c.byKey[entry.key] = e
	}
	for _, oid := range entry.oids {
		if other := c.byOID[oid]; other != nil && other.Value.(*cacheEntry).key == "" {
			c.drop(other)
		}
		c.byOID[oid] = e
	}
	for c.order.Len() > c.capacity {
		c.drop(c.order.Back())
	}
}

func (c *objectCache) drop(e *list.Element) {
	entry := c.order.Remove(e).(*cacheEntry)
	if c.byKey[entry.key] == e {
		delete(c.byKey, entry.key)
	}
	for _, oid := range entry.oids {
		if c.byOID[oid] == e {
			delete(c.byOID, oid)
		}
	}
}

// age makes every entry one that the store must be asked about again, forgets
// the oids that led nowhere, and returns the objects.
func (c *objectCache) age() []*Object {
	var all []*Object
	for e := c.order.Front(); e != nil; {
		next, entry := e.Next(), e.Value.(*cacheEntry)
		if entry.object == nil {
			c.drop(e)
		} else {
			entry.loaded = time.Time{}
			all = append(all, entry.object)
		}
		e = next
	}
	return all
}
