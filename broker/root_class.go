package broker

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/gobelin-broker/gobelin/channels"
)

// RootClass is what the roots of a class are good for (security.md §1.4). What of an
// object's statistics and accumulations they open follows from their level.
type RootClass struct {
	// Number is in its roots: 6 to 14 for one that is not built in.
	Number channels.Class
	Name   string
	// Level is whose channels it opens: RoleViewer to RoleBroadcaster.
	Level     Role
	Subscribe bool
	Publish   Reach
	// Catchup is the longest interval of a catch-up, where that of the channel's kind is
	// not shorter: AnyCatchup; 0: none at all.
	Catchup time.Duration
}

// AnyCatchup is the Catchup of a class that has no bound of its own.
const AnyCatchup = time.Duration(math.MaxInt64)

// Reach is what a class may publish to, up to its level.
type Reach uint8

// The reaches, from the least.
const (
	ReachNothing Reach = iota
	ReachCustom        // channels of the application's own
	ReachAll
)

// The numbers that a class which is not built in may have.
const (
	firstFreeClass = channels.ClassDaily + 1
	lastFreeClass  = channels.Class(14)
)

// builtIn are the classes there always are, by number.
var builtIn = []RootClass{
	{Number: channels.ClassView, Name: "view", Level: RoleViewer, Subscribe: true, Catchup: AnyCatchup},
	{Number: channels.ClassGuest, Name: "guest", Level: RoleViewer, Subscribe: true},
	{Number: channels.ClassControl, Name: "control", Level: RoleBroadcaster, Subscribe: true, Publish: ReachAll, Catchup: AnyCatchup},
	{Number: channels.ClassIngest, Name: "ingest", Level: RoleBroadcaster, Publish: ReachCustom},
	{Number: channels.ClassDaily, Name: "daily", Level: RoleViewer, Subscribe: true, Catchup: AnyCatchup},
}

// BuiltInClass returns the built-in class of a name.
func BuiltInClass(name string) (c RootClass, ok bool) {
	i := slices.IndexFunc(builtIn, func(c RootClass) bool { return c.Name == name })
	if i < 0 {
		return RootClass{}, false
	}
	return builtIn[i], true
}

// Fault says what is wrong with a row of configuration; "": nothing. One of a built-in
// name takes rights away from it: pages that have such roots expect no more than is
// documented, and get no more.
func (c RootClass) Fault() string {
	of, is := BuiltInClass(c.Name)
	switch {
	case c.Level < RoleViewer || c.Level > RoleBroadcaster:
		return "level must be viewer, moderator or broadcaster"
	case c.Publish > ReachAll || c.Catchup < 0:
		return "publish must be one of those there are, catch-up at least 0"
	case !is && (c.Number < firstFreeClass || c.Number > lastFreeClass):
		return fmt.Sprintf("number must be %d to %d: the digit of its roots, never to be given to another class", firstFreeClass, lastFreeClass)
	case is && c.Number != of.Number:
		return "a built-in class keeps its number"
	case is && (c.Level > of.Level || c.Subscribe && !of.Subscribe || c.Publish > of.Publish || c.Catchup > of.Catchup):
		return "a built-in class can be given fewer rights, not more: make a class with a name of its own"
	}
	return ""
}

// RootClasses returns the built-in classes and the rows of a configuration, which may
// lower some of those, by number.
func RootClasses(rows []RootClass) ([]RootClass, error) {
	all := slices.Clone(builtIn)
	for i, c := range rows {
		if text := c.Fault(); text != "" {
			return nil, fmt.Errorf("broker: classes: %s: %s", c.Name, text)
		}
		if slices.ContainsFunc(rows[:i], func(o RootClass) bool { return o.Number == c.Number || o.Name == c.Name }) {
			return nil, fmt.Errorf("broker: classes: %s: its number or its name is there twice", c.Name)
		}
		if at := slices.IndexFunc(all, func(o RootClass) bool { return o.Number == c.Number }); at >= 0 {
			all[at] = c
		} else {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b RootClass) int { return int(a.Number) - int(b.Number) })
	return all, nil
}

// classOf returns the class of a number.
func (b *Broker) classOf(number channels.Class) (RootClass, bool) {
	for i := range b.classes {
		if b.classes[i].Number == number {
			return b.classes[i], true
		}
	}
	return RootClass{}, false
}

// Root is one name of an object (security.md §1.4).
type Root struct {
	// Class is "view", "guest", "control", "ingest", "daily", or one of Options.Classes.
	Class string
	// Channel is the root channel, with its slash.
	Channel string
	// Expires is when it stops working; zero: it does not by itself.
	Expires time.Time
}

// RootsByClass returns an object's root of every class as of now; only admins may see
// them.
func (s Service) RootsByClass(o *Object) []Root {
	now := s.b.opt.Now()
	all := make([]Root, len(s.b.classes))
	for i, c := range s.b.classes {
		all[i] = Root{
			Class: c.Name, Channel: "/" + s.b.keyring().Root(o.OID, c.Number, now), Expires: s.b.keyring().Expires(c.Number, now),
		}
	}
	return all
}
