package broker

import (
	"fmt"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
)

// kind is a row of the channel tree (product.md §4): what a channel below a root
// is for, who may use it and how long it is kept. Rows are read-only once the
// broker runs.
type kind struct {
	name string
	// subscribe is the level that may listen; a guest root listens to level 1.
	subscribe Role
	// publish is the level that may publish; over Bayeux RoleServer is nobody,
	// since no token has that role.
	publish Role
	// catchup is the longest interval, 0 when there is no catch-up.
	catchup time.Duration
	// limits are those of the log.
	limits store.Limits
	// closed kinds belong to a family that this version does not have: nobody
	// may use them, so that nothing can be said there that would later be refused.
	closed bool
	// own kinds are filled by the broker itself, never by a publisher.
	own bool
	// shape makes what is kept of what was sent; nil: as it was sent.
	shape shape
}

const (
	day          = 24 * time.Hour
	maxSegment   = 64 // product.md §4: a name at most 64
	maxSubLevels = 3  // segments below the root
	customKind   = "custom"
	presenceKind = "presence"
)

// kinds maps first segments to rows; custom is every other path.
type kinds struct {
	reserved map[string]*kind
	custom   *kind
}

// newKinds builds the table, with overrides by kind name and the default length.
func newKinds(override map[string]KindOptions, length int) (*kinds, error) {
	kept := func(name string, sub, pub Role, catch, keep time.Duration) *kind {
		return &kind{name: name, subscribe: sub, publish: pub, catchup: catch, limits: store.Limits{Age: keep, Length: length}}
	}
	comments := func(name string) *kind {
		k := kept(name, RoleViewer, RoleServer, day, day)
		k.own = true
		return k
	}
	k := &kinds{reserved: map[string]*kind{}, custom: kept(customKind, RoleViewer, RoleBroadcaster, day, day)}
	there := &kind{name: presenceKind, subscribe: RoleBroadcaster, publish: RoleServer, own: true}
	events := kept("events", RoleBroadcaster, RoleBroadcaster, 0, 30*day)
	events.shape = shapeEvent
	analytics := kept("analytics", RoleBroadcaster, RoleServer, day, day)
	analytics.shape = shapeObject
	for _, row := range []*kind{
		comments("all_json"), comments("all_html"), comments("promoted_json"), comments("promoted_html"),
		events, analytics, there,
		{name: "accumulate", closed: true},
		{name: "data", closed: true},
		{name: "stats", closed: true},
	} {
		k.reserved[row.name] = row
	}
	for name, o := range override {
		row := k.reserved[name]
		if name == k.custom.name {
			row = k.custom
		}
		if row == nil || row.closed || row == there {
			return nil, fmt.Errorf("broker: kinds: %q is not a kind of channel that can be set: %s", name, strings.Join(k.names(), ", "))
		}
		row.apply(o)
	}
	for _, row := range append([]*kind{k.custom}, k.rows()...) {
		row.catchup = min(row.catchup, row.limits.Age)
		if row.limits.Keeps() {
			row.limits.Age += catchup.Grace
		}
	}
	return k, nil
}

func (k *kind) apply(o KindOptions) {
	if o.Retention > 0 {
		k.limits.Age = o.Retention
	}
	if o.Length > 0 {
		k.limits.Length = o.Length
	}
	switch {
	case o.Catchup > 0:
		k.catchup = o.Catchup
	case o.Catchup < 0:
		k.catchup = 0
	}
}

func (k *kinds) rows() []*kind {
	rows := make([]*kind, 0, len(k.reserved))
	for _, row := range k.reserved {
		rows = append(rows, row)
	}
	return rows
}

func (k *kinds) names() []string {
	names := []string{k.custom.name}
	for name, row := range k.reserved {
		if !row.closed && name != presenceKind {
			names = append(names, name)
		}
	}
	return names
}

// of returns the row for a path below a root, or nil for a path that can be no
// channel: too deep, a segment too long, or more than a reserved name.
func (k *kinds) of(sub channels.Name) *kind {
	if sub.IsZero() || sub.Segments() > maxSubLevels || len(sub.Last()) > maxSegment {
		return nil
	}
	for n := sub.Parent(); !n.IsZero(); n = n.Parent() {
		if len(n.Last()) > maxSegment {
			return nil
		}
	}
	row := k.reserved[sub.First()]
	if row == nil {
		return k.custom
	}
	if sub.Segments() > 1 && !row.closed {
		return nil
	}
	return row
}
