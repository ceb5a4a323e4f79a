package broker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
)

// The scopes of data, widest first but for user, which follows its user through rooms
// (product.md §5.2).
const (
	scopeApp     = "app"
	scopeOwner   = "owner"
	scopeRoom    = "room"
	scopeSession = "session"
	scopeUser    = "user"
)

// Feeds of what several objects share: an application, an owner_ref, a user_ref. A
// subscription below an object's root to one of their channels is one in their space,
// under that root's prefix, so a change reaches all rooms with one entry.
const (
	appFeed   = "a/"
	ownerFeed = "w/"
	userFeed  = "u/"
)

// refHash stands for an owner_ref or user_ref in names: they may be long, and hold
// any character.
func refHash(ref string) string {
	sum := sha256.Sum256([]byte(ref))
	return hex.EncodeToString(sum[:16])
}

func appNumber(app *Application) string { return strconv.FormatUint(uint64(app.ID), 10) }

// place is what a scope is resolved to: what its document belongs to.
type place struct {
	app    *Application
	object *Object // in scopes owner, room and session
	user   string  // in scope user
}

// scopeFeed returns the feed of a scope's changes.
func (p place) scopeFeed(scope string) string {
	switch scope {
	case scopeApp:
		return appFeed + appNumber(p.app)
	case scopeOwner:
		return ownerFeed + appNumber(p.app) + "/" + refHash(p.object.OwnerRef)
	case scopeUser:
		return userFeed + appNumber(p.app) + "/" + refHash(p.user)
	}
	return feedOf(p.object)
}

// document names the document of a scope. confNum is that of scope session.
func (b *Broker) document(scope string, p place, confNum string) catchup.DocumentName {
	k := b.kinds.data[scope]
	n := catchup.DocumentName{
		Scope: scope, Limits: k.limits,
		Log: store.LogName{Feed: p.scopeFeed(scope), Path: "/" + dataKind + "/" + scope},
	}
	key := appNumber(p.app) + "/"
	switch scope {
	case scopeApp:
		n.Key = key + "a"
	case scopeOwner:
		n.Key = key + "w/" + refHash(p.object.OwnerRef)
	case scopeUser:
		n.Key = key + "u/" + refHash(p.user)
	case scopeRoom:
		n.Key = key + "o/" + p.object.Topic.String()
		n.Copy = b.copyChanges(scope, p.object, n.Key)
	case scopeSession:
		n.Key = sessionDataKey(p.object) + confNum
		n.ConfNum, n.TTL = confNum, b.conferences.Life()
		n.Copy = b.copyChanges(scope, p.object, n.Key)
	}
	return n
}

// sessionDataKey begins the keys of what the conferences of an object hold.
func sessionDataKey(o *Object) string { return sessionDataPrefix(conferenceKey(o)) }

// sessionDataPrefix is sessionDataKey of a conferenceKey.
func sessionDataPrefix(key string) string {
	app, topic, _ := strings.Cut(key, "/")
	return app + "/s/" + topic + "/"
}

// changeLog returns the log of the changes of a document, by its key.
func changeLog(key string) (log store.LogName, ok bool) {
	app, rest, _ := strings.Cut(key, "/")
	kind, what, _ := strings.Cut(rest, "/")
	feed, scope := "", ""
	switch kind {
	case "a":
		feed, scope = appFeed+app, scopeApp
	case "w":
		feed, scope = ownerFeed+app+"/"+what, scopeOwner
	case "u":
		feed, scope = userFeed+app+"/"+what, scopeUser
	case "o":
		feed, scope = objectFeed+app+"/"+what, scopeRoom
	case "s":
		topic, _, _ := strings.Cut(what, "/")
		feed, scope = objectFeed+app+"/"+topic, scopeSession
	default:
		return store.LogName{}, false
	}
	return store.LogName{Feed: feed, Path: "/" + dataKind + "/" + scope}, true
}

// holds reports whether a feed below roots is the one in which a channel is.
func (b *Broker) holds(feed string, sub channels.Name) bool {
	k := b.kinds.of(sub)
	if k == nil {
		return false
	}
	switch k.scope {
	case scopeApp:
		return strings.HasPrefix(feed, appFeed)
	case scopeOwner:
		return strings.HasPrefix(feed, ownerFeed)
	case scopeUser:
		return strings.HasPrefix(feed, userFeed)
	}
	return strings.HasPrefix(feed, objectFeed)
}

// conferenceKey names an object among the conferences.
func conferenceKey(o *Object) string { return strings.TrimPrefix(feedOf(o), objectFeed) }

// locate says which log a target below a root means, and in which space it is heard.
// text is what a refusal names.
func (b *Broker) locate(t *target, a asker, text string) error {
	p := place{app: t.object.App, object: t.object}
	switch t.kind.scope {
	case scopeOwner:
		if t.object.OwnerRef == "" {
			return &bayeux.Error{Code: 404, Args: []string{text}, Text: "No owner"}
		}
	case scopeUser:
		if p.user = a.userRef(t.object); p.user == "" {
			return bayeux.ErrForbidden(text)
		}
		t.user = p.user
	}
	if t.kind.scope != "" {
		t.feed = p.scopeFeed(t.kind.scope)
	}
	t.log = store.LogName{Feed: t.feed, Path: t.name.String()}
	return nil
}

// userRef is the asker's user on an object, "" without one.
func (a asker) userRef(o *Object) string {
	if a.user != "" {
		return a.user
	}
	if who := a.speaker(o.App.ID, o.ID); who != nil {
		return who.UserRef
	}
	return ""
}

// share adds to a wildcard below a root what it hears beside the object: the changes
// of its application and its owner, but never those of a user.
func (b *Broker) share(t *target) {
	p := place{app: t.object.App, object: t.object}
	for _, scope := range []string{scopeApp, scopeOwner} {
		name, err := channels.Parse("/" + dataKind + "/" + scope)
		if err != nil || !t.pattern.Matches(name) || scope == scopeOwner && t.object.OwnerRef == "" {
			continue
		}
		beside := *t
		beside.feed, beside.shared = p.scopeFeed(scope), nil
		t.shared = append(t.shared, beside)
	}
}

// besides reports whether a listener is in a space that its object shares.
func (l *listener) besides() bool { return l.room != "" && l.room != l.space.feed }

// documentOf names the document that a channel of a target is about; in scope session
// that of the open conference, opened if need be.
func (b *Broker) documentOf(ctx context.Context, t *target) (catchup.DocumentName, error) {
	p := place{app: t.object.App, object: t.object, user: t.user}
	confNum := ""
	if t.kind.scope == scopeSession {
		conf, err := b.useConference(ctx, t.object)
		if err != nil {
			return catchup.DocumentName{}, err
		}
		confNum = conf.ConfNum
	}
	return b.document(t.kind.scope, p, confNum), nil
}
