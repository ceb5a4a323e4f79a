package broker

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
)

// target is a channel or pattern, resolved: which log or space it means, and
// what the asker may do there.
type target struct {
	// prefix is "/<root>", or "" for an open channel: what stands before the
	// name in deliveries to this subscriber.
	prefix string
	oid    channels.OID // of the root used; zero for open channels
	feed   string       // the space
	name   channels.Name
	log    store.LogName
	// pattern is set for a wildcard; then name and log are zero.
	pattern channels.Pattern

	object  *Object // of the root used; nil for open channels
	kind    *kind
	class   RootClass
	token   Role             // level of the asker's token on the object
	speaker *Identity        // the token that acts on the object; nil: there is none
	catchup catchup.Interval // of a catch-up; zero for live
	after   store.Position   // what its client had last of it; zero: nothing
	placed  bool             // of a live one: the client wants to know where it begins
	replay  replayID         // from where a live one is asked for
	open    *OpenPrefix
	user    string   // the user_ref whose document it is, in scope user
	shared  []target // of a wildcard: the same in spaces that objects share (data.go)
	tap     uint32   // of a tap: the application it hears (tap.go); feed is empty where nothing else is meant
	fresh   bool     // the subscription did not stand before (subscriber.take)
	begun   *unread  // the catch-up that it began, likewise
}

// openChannels is an open prefix with its kind.
type openChannels struct {
	OpenPrefix
	kind *kind
}

// openFeed begins the feed of every open channel, objectFeed an object's.
const (
	openFeed   = "c/"
	objectFeed = "o/"
)

// asker is who asks: the session's identity and the message's.
type asker struct {
	session, message *Identity
	// granted is the grade of a subscription that is taken up again, user its user_ref.
	granted grade
	user    string
	now     time.Time
}

// level returns the higher of the two on an object. A token that has ended
// counts for nothing, while what it opened stays open (product.md §3).
func (a asker) level(app uint32, objectID string) Role {
	level := RoleNone
	if a.granted.token() {
		level = a.granted.level()
	}
	for _, id := range []*Identity{a.session, a.message} {
		if a.stands(id) {
			level = max(level, id.LevelFor(app, objectID))
		}
	}
	return level
}

// stands reports whether a token has not ended.
func (a asker) stands(id *Identity) bool {
	return id != nil && (id.Expires.IsZero() || a.now.Before(id.Expires.Add(tokenLeeway)))
}

// speaker is who the asker is on an object, the message's token before the session's;
// nil for nobody.
func (a asker) speaker(app uint32, objectID string) *Identity {
	for _, id := range []*Identity{a.message, a.session} {
		if a.stands(id) && id.LevelFor(app, objectID) > RoleNone {
			return id
		}
	}
	return nil
}

// subscription resolves what is asked for in a subscribe, or refuses it. All
// faults of a root give one refusal (security.md §1.5).
func (b *Broker) subscription(ctx context.Context, p channels.Pattern, a asker) (target, error) {
	text := p.String()
	if name, plain := p.Name(); plain {
		base, interval, isCatchup, err := catchup.Split(name)
		if errors.Is(err, catchup.ErrPlace) || (isCatchup || err != nil) && channels.IsRoot(name.First()) && base.Segments() < 2 {
			return target{}, bayeux.ErrInvalidChannel(text)
		}
		if err != nil {
			// The grammar is told only to who may hear the base.
			if t, e := b.listen(ctx, base.Pattern(), a); e != nil {
				return target{}, refuseAs(e, text)
			} else if t.kind.catchup == 0 {
				return target{}, errNoCatchup(text)
			}
			return target{}, &bayeux.Error{Code: 400, Args: []string{text}, Text: "Invalid catch-up interval"}
		}
		if isCatchup {
			return b.catchupTarget(ctx, base, interval, text, a)
		}
	} else if parent := p.Parent(); !parent.IsZero() && catchup.Reserved(parent) {
		return target{}, bayeux.ErrInvalidChannel(text)
	}
	t, err := b.listen(ctx, p, a)
	return t, refuseAs(err, text)
}

func (b *Broker) catchupTarget(ctx context.Context, base channels.Name, interval catchup.Interval, text string, a asker) (target, error) {
	t, err := b.listen(ctx, base.Pattern(), a)
	if err != nil {
		return target{}, refuseAs(err, text)
	}
	if t.class.Catchup == 0 {
		return target{}, bayeux.ErrForbidden(text)
	}
	if t.kind.catchup == 0 {
		return target{}, errNoCatchup(text)
	}
	if longest := t.longest(); interval.Age > longest {
		return target{}, &bayeux.Error{Code: 413, Args: []string{text, wholeUnits(longest)}, Text: "Catch-up interval too long"}
	}
	t.catchup = interval
	return t, nil
}

func errNoCatchup(text string) error {
	return &bayeux.Error{Code: 404, Args: []string{text}, Text: "Catch-up not supported"}
}

// wholeUnits writes a limit as an interval: whole hours, else minutes, else seconds.
func wholeUnits(d time.Duration) string {
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{time.Hour, "h"}, {time.Minute, "m"}} {
		if d >= u.unit && d%u.unit == 0 {
			return strconv.FormatInt(int64(d/u.unit), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(d/time.Second), 10) + "s"
}

// refuseAs gives a refusal of the base channel the name that was asked for.
func refuseAs(err error, text string) error {
	var refusal *bayeux.Error
	if errors.As(err, &refusal) && len(refusal.Args) > 0 {
		again := *refusal
		again.Args = append([]string{text}, refusal.Args[1:]...)
		return &again
	}
	return err
}

// listen resolves a channel or pattern that somebody wants to hear.
func (b *Broker) listen(ctx context.Context, p channels.Pattern, a asker) (target, error) {
	if !channels.IsRoot(p.First()) {
		return b.listenTap(p, a)
	}
	t, err := b.underRoot(ctx, p.First(), p.String(), a)
	if err != nil {
		return target{}, err
	}
	sub := p.Tail()
	if sub.IsZero() {
		return target{}, bayeux.ErrForbidden(p.String())
	}
	if sub.Wild() {
		if t.hears() == RoleNone {
			return target{}, bayeux.ErrForbidden(p.String())
		}
		t.pattern = sub
		b.share(&t)
		return t, nil
	}
	t.name, _ = sub.Name()
	t.kind = b.kinds.of(t.name)
	if t.kind == nil {
		return target{}, bayeux.ErrInvalidChannel(p.String())
	}
	if t.grade() < t.kind.hearing() {
		return target{}, bayeux.ErrForbidden(p.String())
	}
	return t, b.locate(&t, a, p.String())
}

// underRoot verifies a root and finds its object. text is what the refusal names.
func (b *Broker) underRoot(ctx context.Context, root, text string, a asker) (target, error) {
	verified, ok := b.keyring().Verify(root, b.opt.Now())
	if !ok || b.retiredKeys.Load()&(1<<verified.KID) != 0 {
		b.metrics.refusedRoots.Inc()
		return target{}, bayeux.ErrForbidden(text)
	}
	object, err := b.objects.resolve(ctx, verified.OID)
	if err != nil {
		if errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrClosed) {
			return target{}, errUnavailable()
		}
		return target{}, bayeux.ErrForbidden(text)
	}
	if err := b.refuseSuspended(object.App, text); err != nil {
		return target{}, err
	}
	c, known := b.classOf(verified.Class)
	if !known {
		return target{}, bayeux.ErrForbidden(text)
	}
	return target{
		prefix:  "/" + root,
		oid:     verified.OID,
		feed:    feedOf(object),
		object:  object,
		class:   c,
		token:   a.level(object.App.ID, object.ID),
		speaker: a.speaker(object.App.ID, object.ID),
	}, nil
}

// hears is the level at which the target may be listened to: grants add up
// (security.md §1.4).
func (t target) hears() Role {
	if t.class.Subscribe {
		return max(t.class.Level, t.token)
	}
	return t.token
}

// longest is how far back a catch-up may reach, by its channel and by the root used.
func (t target) longest() time.Duration { return min(t.kind.catchup, t.class.Catchup) }

// grade is hears, and whether a token counted for it.
func (t target) grade() grade { return gradeOf(t.hears(), t.token > RoleNone) }

// mayPublish reports whether the target's kind may be published to.
func (t target) mayPublish() bool {
	if t.kind.own {
		return false
	}
	if t.kind.entries {
		return t.speaker.LevelFor(t.object.App.ID, t.object.ID) >= t.kind.publish
	}
	if t.token >= t.kind.publish {
		return true
	}
	return !t.kind.token && t.class.Publish > ReachNothing && t.class.Level >= t.kind.publish && (t.class.Publish == ReachAll || t.kind.name == customKind)
}

// feedOf names an object's space by what stays through resets and rotations.
func feedOf(o *Object) string {
	return objectFeed + strconv.FormatUint(uint64(o.App.ID), 10) + "/" + o.Topic.String()
}

// listenOpen resolves a name or pattern below the open prefixes.
func (b *Broker) listenOpen(p channels.Pattern) (target, error) {
	if !p.Wild() {
		n, _ := p.Name()
		return b.openTarget(n)
	}
	for i := range b.open {
		o := &b.open[i]
		if !covers(o.Pattern, p) {
			continue
		}
		if p.Segments() == 1 && o.Publish != publishAnyone {
			continue
		}
		return target{feed: openFeed, pattern: p, open: &o.OpenPrefix, class: openClass}, nil
	}
	return target{}, bayeux.ErrForbidden(p.String())
}

var openClass = RootClass{Level: RoleViewer, Subscribe: true, Publish: ReachAll, Catchup: AnyCatchup}

// openTarget resolves one open channel, by the first prefix that covers it.
func (b *Broker) openTarget(n channels.Name) (target, error) {
	for i := range b.open {
		o := &b.open[i]
		if !o.Pattern.Matches(n) {
			continue
		}
		return target{
			feed: openFeed, name: n, open: &o.OpenPrefix, class: openClass, kind: o.kind,
			log: store.LogName{Feed: openFeedOf(n), Path: n.String()},
		}, nil
	}
	return target{}, bayeux.ErrForbidden(n.String())
}

// openFeedOf names the feed of an open channel by its first segment, cut so that the
// longest channel still is a name to the store; the path tells channels apart.
func openFeedOf(n channels.Name) string {
	first := n.First()
	return openFeed + first[:min(len(first), 128)]
}

// covers reports whether every name that q matches is matched by p.
func covers(p, q channels.Pattern) bool {
	if !p.Wild() {
		return p == q
	}
	if p.Deep() {
		parent := p.Parent()
		return parent.IsZero() || q.Parent() == parent || !q.Parent().IsZero() && q.Parent().HasPrefix(parent)
	}
	return p == q
}

// publication resolves the channel of a publish over Bayeux, or refuses it.
// session says whether it comes with a live session.
func (b *Broker) publication(ctx context.Context, n channels.Name, a asker, session bool) (target, error) {
	if catchup.Reserved(n) {
		return target{}, bayeux.ErrForbidden(n.String())
	}
	if !channels.IsRoot(n.First()) {
		t, err := b.openTarget(n)
		if err != nil {
			return target{}, err
		}
		if t.open.Publish == publishAnyone || t.open.Publish == publishSession && session {
			return t, nil
		}
		return target{}, bayeux.ErrForbidden(n.String())
	}
	t, err := b.underRoot(ctx, n.First(), n.String(), a)
	if err != nil {
		return target{}, err
	}
	t.name = n.Tail()
	t.kind = b.kinds.of(t.name)
	if t.kind == nil {
		return target{}, bayeux.ErrInvalidChannel(n.String())
	}
	if !t.mayPublish() {
		return target{}, bayeux.ErrForbidden(n.String())
	}
	return t, b.locate(&t, a, n.String())
}

// Who may publish on an open prefix.
const (
	publishAnyone  = "anyone"
	publishSession = "session"
	publishServer  = "server"
)
