package broker

import (
	"fmt"
	"slices"
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
	// own kinds are filled by the broker itself, never by a publisher.
	own bool
	// entries: its channels are accumulations (accumulate.go). Who publishes must have
	// a token of the object, whatever the root; nothing but entries is kept there.
	entries bool
	// token: publishing needs a token of the object, and listening, too, below level 3.
	token bool
	// scope: the channel has the changes of a document (product.md §7); a publish
	// changes that, and is no message.
	scope string
	// shape makes what is kept of what was sent; nil: as it was sent.
	shape shape
	// record is what its messages are called in the account's log; "": they are not
	// there, or get there by a way of their own.
	record string
}

// grade is how far somebody may hear: twice the level, and one more with a token of
// the object. What needs level 1 and a token lies between levels 1 and 2.
type grade uint8

func gradeOf(level Role, token bool) grade {
	g := 2 * grade(level)
	if token && level > RoleNone {
		g++
	}
	return g
}

func (g grade) level() Role { return Role(g / 2) }

func (g grade) token() bool { return g%2 == 1 }

// hearing is the grade that may listen.
func (k *kind) hearing() grade { return gradeOf(k.subscribe, k.token && k.subscribe < RoleModerator) }

const (
	day          = 24 * time.Hour
	maxSegment   = 64 // product.md §4: a name at most 64
	maxSubLevels = 3  // segments below the root
	customKind   = "custom"
	// accumulateKind is also the first segment of its channels.
	accumulateKind = "accumulate"
	dataKind       = "data"
	dataKept       = 7 * day
	presenceKind   = "presence"
	// statsKind is the first segment of the channels of viewer statistics.
	statsKind = "stats"
)

// The channels of viewer statistics below their segment (product.md §4).
const (
	statsLive   = "live"
	statsMinute = "minute"
	statsHour   = "hour"
	statsDay    = "day"
)

// kinds maps first segments to rows; data are the scopes below that segment, stats the
// channels below theirs; custom is every other path.
type kinds struct {
	reserved map[string]*kind
	data     map[string]*kind
	stats    map[string]*kind
	custom   *kind
}

// newKinds builds the table, with overrides by kind name, the default length, how long an
// accumulation outlives its last entry, and how long rows of viewer statistics are kept.
func newKinds(override map[string]KindOptions, length int, ttl time.Duration, rows catchup.ViewerKeep) (*kinds, error) {
	kept := func(name string, sub, pub Role, catch, keep time.Duration) *kind {
		return &kind{name: name, subscribe: sub, publish: pub, catchup: catch, limits: store.Limits{Age: keep, Length: length}}
	}
	comments := func(name string) *kind {
		k := kept(name, RoleViewer, RoleServer, day, day)
		k.own = true
		return k
	}
	k := &kinds{reserved: map[string]*kind{}, data: map[string]*kind{}, stats: map[string]*kind{}, custom: kept(customKind, RoleViewer, RoleBroadcaster, day, day)}
	for scope, publish := range map[string]Role{scopeApp: RoleServer, scopeOwner: RoleServer, scopeRoom: RoleViewer, scopeSession: RoleViewer, scopeUser: RoleViewer} {
		row := kept(dataKind, RoleViewer, publish, dataKept, dataKept)
		row.token, row.scope = true, scope
		k.data[scope] = row
	}
	k.custom.record = messageRecord
	for name, times := range map[string][2]time.Duration{ // longest catch-up, kept
		statsLive: {day, day}, statsMinute: {rows.Minutes, rows.Minutes}, statsHour: {rows.Hours, rows.Hours}, statsDay: {365 * day, store.Forever},
	} {
		row := kept(statsKind+"/"+name, RoleBroadcaster, RoleServer, times[0], times[1])
		row.own = true
		k.stats[name] = row
	}
	there := &kind{name: presenceKind, subscribe: RoleBroadcaster, publish: RoleServer, own: true}
	events := kept("events", RoleBroadcaster, RoleBroadcaster, 0, 30*day)
	events.shape, events.record = shapeEvent, eventRecord
	analytics := kept("analytics", RoleBroadcaster, RoleServer, day, day)
	analytics.shape, analytics.record = shapeObject, analyticsRecord
	for _, row := range []*kind{
		comments("all_json"), comments("all_html"), comments("promoted_json"), comments("promoted_html"),
		events, analytics, there,
		{
			name: accumulateKind, subscribe: RoleBroadcaster, publish: RoleViewer, catchup: day, entries: true,
			limits: store.Limits{Age: store.Forever, Idle: ttl},
		},
	} {
		k.reserved[row.name] = row
	}
	if err := k.override(override); err != nil {
		return nil, err
	}
	for _, row := range append([]*kind{k.custom}, k.rows()...) {
		row.catchup = min(row.catchup, row.limits.Age)
		if row.limits.Keeps() && row.limits.Age != store.Forever {
			row.limits.Age += catchup.Grace
		}
	}
	return k, nil
}

// override applies options by kind name; those of data are for all of its scopes.
func (k *kinds) override(options map[string]KindOptions) error {
	for name, o := range options {
		if name == dataKind {
			for _, row := range k.data {
				row.apply(o)
			}
			continue
		}
		row := k.reserved[name]
		if below, ok := strings.CutPrefix(name, statsKind+"/"); ok {
			row = k.stats[below]
		}
		if name == k.custom.name {
			row = k.custom
		}
		if row == nil || row.name == presenceKind {
			return fmt.Errorf("broker: kinds: %q is not a kind of channel that can be set: %s", name, strings.Join(k.names(), ", "))
		}
		if row.entries && (o.Retention > 0 || o.Length > 0) {
			return fmt.Errorf("broker: kinds: %q goes whole, a time after its last entry: that time and its size are set by themselves", name)
		}
		row.apply(o)
	}
	return nil
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
	rows := make([]*kind, 0, len(k.reserved)+len(k.data)+len(k.stats))
	for _, below := range []map[string]*kind{k.data, k.stats, k.reserved} {
		for _, row := range below {
			rows = append(rows, row)
		}
	}
	return rows
}

func (k *kinds) names() []string {
	names := []string{k.custom.name, dataKind}
	for name := range k.reserved {
		if name != presenceKind {
			names = append(names, name)
		}
	}
	for _, row := range k.stats {
		names = append(names, row.name)
	}
	slices.Sort(names)
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
	switch sub.First() {
	case dataKind:
		return second(k.data, sub)
	case statsKind:
		return second(k.stats, sub)
	}
	row := k.reserved[sub.First()]
	if row == nil {
		return k.custom
	}
	segments := 1
	if row.entries {
		segments = 2
	}
	if sub.Segments() != segments {
		return nil
	}
	return row
}

// second returns the row of a path's second and last segment.
func second(rows map[string]*kind, sub channels.Name) *kind {
	if sub.Segments() != 2 {
		return nil
	}
	return rows[sub.Last()]
}
