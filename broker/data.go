package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/oklog/ulid/v2"
	"go.uber.org/zap"
)

// Bounds of data.
const (
	// dataWait bounds the time for one change, whose few steps in the store follow one
	// after the other.
	dataWait = 5 * time.Second
	// sessionsShown and sessionsBytes bound an answer that holds the data of all
	// sessions of an object; the newest come first, others are asked for by conf_num.
	sessionsShown = 100
	sessionsBytes = 8 << 20
)

// scopes are the names of the scopes of data (product.md E2).
var scopes = []string{scopeApp, scopeOwner, scopeRoom, scopeSession, scopeUser}

// DataQuery says which data a request is about (product.md §5.2, §7).
type DataQuery struct {
	Scope string
	// ObjectID is the room; it counts from admin up, others act on their token's.
	ObjectID string
	// UserRef is required to read scope user; in scope session it selects what that
	// user has written.
	UserRef string
	// Session is "last" or "all", ConfNum names one session; both empty: the open one.
	Session, ConfNum string
	// ClientID is the caller's live Bayeux session, which is then shown in the answer.
	ClientID string
}

// Data is a document with whom it is shown as.
type Data struct {
	ClientID, Name, UserRef, Role string

	Object  []byte // the document
	Version uint64
	ConfNum string // in scope session
	// Sessions is the answer to session=all; Truncated says that older ones were left
	// out.
	Sessions  []SessionData
	Truncated bool
}

// SessionData is what a session holds.
type SessionData struct {
	catchup.Conference
	Object []byte
}

// check refuses qualifiers that do not fit (product.md E2, E9, E14).
func (q DataQuery) check(write bool) error {
	qualifier := func(text string) error { return &Error{Result: 4022, Text: text} }
	if !slices.Contains(scopes, q.Scope) {
		return qualifier("scope must be one of " + strings.Join(scopes, ", "))
	}
	switch {
	case len(q.UserRef) > maxClaim || !plain(q.UserRef):
		return qualifier(fmt.Sprintf("user_ref must be at most %d bytes of UTF-8 without control characters", maxClaim))
	case len(q.ObjectID) > maxObjectID:
		return ErrNoObject
	case (q.Session != "" || q.ConfNum != "") && q.Scope != scopeSession:
		return qualifier("session and conf_num are for scope session alone")
	case (q.Session != "" || q.ConfNum != "") && write:
		return qualifier("only the open session can be changed")
	case q.Session != "" && q.ConfNum != "":
		return qualifier("session and conf_num exclude each other")
	case q.Session != "" && q.Session != "last" && q.Session != "all":
		return qualifier(`session must be "last" or "all"`)
	case q.UserRef != "" && q.Scope != scopeUser && (q.Scope != scopeSession || write):
		return qualifier("user_ref is for scope user, and to read scope session")
	}
	if q.ConfNum != "" {
		if id, err := ulid.ParseStrict(q.ConfNum); err != nil || id.String() != q.ConfNum {
			return qualifier("conf_num must be one that a session has")
		}
	}
	return nil
}

// Data reads a document. Errors: *Error with 4000, 4001, 4003, 4004, 4022, and the
// store's.
func (b *Broker) Data(ctx context.Context, who *Identity, q DataQuery) (Data, error) {
	p, err := b.dataPlace(ctx, who, q, false)
	if err != nil {
		b.metrics.refused("data").Inc()
		return Data{}, err
	}
	answer, err := b.answerAs(ctx, who, q, p)
	if err != nil {
		return Data{}, err
	}
	if q.Session == "all" {
		return answer, b.allSessions(ctx, q, p, &answer)
	}
	conf, err := b.conferenceOf(ctx, q, p)
	if err != nil {
		return Data{}, err
	}
	doc, err := b.documents.Read(ctx, b.document(q.Scope, p, conf.ConfNum))
	if err != nil {
		return Data{}, err
	}
	answer.Object, answer.Version, answer.ConfNum = shownOf(doc, q), doc.Version, conf.ConfNum
	return answer, nil
}

// shownOf is the part of a document that a query asks for.
func shownOf(doc catchup.Document, q DataQuery) []byte {
	if q.Scope == scopeSession && q.UserRef != "" {
		return doc.By(q.UserRef)
	}
	return doc.Object()
}

// conferenceOf returns the session a query is about, the zero one in other scopes.
func (b *Broker) conferenceOf(ctx context.Context, q DataQuery, p place) (catchup.Conference, error) {
	switch {
	case q.Scope != scopeSession:
		return catchup.Conference{}, nil
	case q.Session == "" && q.ConfNum == "":
		return b.useConference(ctx, p.object)
	}
	all, err := b.Conferences(ctx, p.object)
	if err != nil {
		return catchup.Conference{}, err
	}
	for _, c := range all {
		if q.ConfNum == c.ConfNum || q.Session == "last" && !c.Open() {
			return c, nil
		}
	}
	return catchup.Conference{}, &Error{Result: 4004, Text: "no such session"}
}

// allSessions fills in the answer to session=all (product.md E12).
func (b *Broker) allSessions(ctx context.Context, q DataQuery, p place, answer *Data) error {
	all, err := b.Conferences(ctx, p.object)
	if err != nil {
		return err
	}
	size := 0
	answer.Sessions = []SessionData{}
	for _, c := range all {
		if len(answer.Sessions) == sessionsShown || size > sessionsBytes {
			answer.Truncated = true
			break
		}
		doc, err := b.documents.Read(ctx, b.document(scopeSession, p, c.ConfNum))
		if err != nil {
			return err
		}
		object := shownOf(doc, q)
		size += len(object)
		answer.Sessions = append(answer.Sessions, SessionData{c, object})
	}
	return nil
}

// ChangeData changes a document: merge, replace or clear (product.md E15). text is the
// JSON that was sent; ifVersion as in catchup.Change. Errors: as Data, *Error with 4012
// and the version, 4013, 5003.
func (b *Broker) ChangeData(ctx context.Context, who *Identity, q DataQuery, kind catchup.ChangeKind, text []byte, ifVersion *uint64) (Data, error) {
	p, err := b.dataPlace(ctx, who, q, true)
	if err != nil {
		b.metrics.refused("data").Inc()
		return Data{}, err
	}
	c := catchup.Change{Kind: kind, IfVersion: ifVersion, By: authorOf(who)}
	if kind != catchup.Clearing {
		if c.Data, err = catchup.Canonical(text); err != nil {
			return Data{}, dataRefusal(err)
		}
	}
	answer, err := b.answerAs(ctx, who, q, p)
	if err != nil {
		return Data{}, err
	}
	conf, err := b.conferenceOf(ctx, q, p)
	if err != nil {
		return Data{}, err
	}
	doc, err := b.changeDocument(ctx, b.document(q.Scope, p, conf.ConfNum), c)
	if err != nil {
		return Data{}, err
	}
	answer.Object, answer.Version, answer.ConfNum = doc.Object(), doc.Version, conf.ConfNum
	return answer, nil
}

// changeDocument is the one way of a change, over HTTP and Bayeux.
func (b *Broker) changeDocument(ctx context.Context, n catchup.DocumentName, c catchup.Change) (catchup.Changed, error) {
	ctx, cancel := context.WithTimeout(ctx, dataWait)
	defer cancel()
	doc, err := b.documents.Change(ctx, n, c)
	if err != nil {
		b.metrics.refused("data").Inc()
		return doc, dataRefusal(err)
	}
	b.metrics.changes.Inc()
	return doc, nil
}

func authorOf(who *Identity) catchup.Author {
	if who.RoleName == "" && who.Role == RoleServer {
		return catchup.Author{UserRef: who.UserRef, Role: "server"}
	}
	return catchup.Author{UserRef: who.UserRef, Role: who.RoleName}
}

// dataRefusal turns the faults of documents into refusals; other errors pass.
func dataRefusal(err error) error {
	var version *catchup.VersionError
	var large *catchup.DocumentSizeError
	switch {
	case errors.As(err, &version):
		return &Error{Result: 4012, Text: "the document has version " + strconv.FormatUint(version.Version, 10), Version: version.Version}
	case errors.As(err, &large):
		return &Error{Result: 4013, Text: fmt.Sprintf("a document, and a change of one, is at most %d bytes as compact JSON", large.Most)}
	case errors.Is(err, catchup.ErrDepth):
		return &Error{Result: 4000, Text: fmt.Sprintf("data is nested deeper than %d", catchup.MaxDepth)}
	case errors.Is(err, catchup.ErrObject), errors.Is(err, catchup.ErrJSON):
		return &Error{Result: 4000, Text: "data must be a JSON object"}
	case errors.Is(err, catchup.ErrContended):
		return &Error{Result: 5003, Text: "too many writers at the same time; try again"}
	}
	return err
}

// dataPlace checks the rights of a request and finds what it is about
// (security.md §2.4, rows of data).
func (b *Broker) dataPlace(ctx context.Context, who *Identity, q DataQuery, write bool) (place, error) {
	if who == nil || who.App == nil {
		return place{}, &Error{Result: 4001, Text: "unauthorized: a token or the server key is required"}
	}
	if err := q.check(write); err != nil {
		return place{}, err
	}
	if write && (q.Scope == scopeApp || q.Scope == scopeOwner) && who.Role < RoleServer {
		return place{}, &Error{Result: 4003, Text: "scope " + q.Scope + " is read-only"}
	}
	p := place{app: who.App}
	var err error
	switch q.Scope {
	case scopeApp:
		return p, nil
	case scopeUser:
		p.user, err = b.dataUser(who, q, write)
		return p, err
	}
	p.object, err = b.dataRoom(ctx, who, q)
	if err == nil && q.Scope == scopeOwner && p.object.OwnerRef == "" {
		err = &Error{Result: 4004, Text: "the object has no owner_ref"}
	}
	return p, err
}

// dataUser returns whose data a request in scope user is about (product.md E7, E9,
// E24).
func (b *Broker) dataUser(who *Identity, q DataQuery, write bool) (string, error) {
	client := who.Role < RoleAdmin
	switch {
	case write && client && who.UserRef == "":
		return "", &Error{Result: 4000, Text: "the token has no user_ref"}
	case write && client && q.UserRef == "":
		return who.UserRef, nil
	case q.UserRef == "":
		return "", &Error{Result: 4022, Text: "user_ref is required with scope user"}
	case client && q.UserRef != who.UserRef && (write || b.opt.OwnDataOnly):
		return "", &Error{Result: 4003, Text: "the data of another user"}
	}
	return q.UserRef, nil
}

// dataRoom returns the object of a request: the token's own, from admin up the one
// that is named (product.md §7).
func (b *Broker) dataRoom(ctx context.Context, who *Identity, q DataQuery) (*Object, error) {
	id := who.ChannelID
	if who.Role >= RoleAdmin {
		if id = q.ObjectID; id == "" {
			return nil, &Error{Result: 4000, Text: "object_id is required"}
		}
	}
	if who.LevelFor(who.App.ID, id) < RoleViewer {
		return nil, &Error{Result: 4003, Text: "the token names no object"}
	}
	return b.Object(ctx, who.App, id)
}

// answerAs says as whom data is shown: the caller, or the user that was asked for, as
// it is in the room (product.md §7).
func (b *Broker) answerAs(ctx context.Context, who *Identity, q DataQuery, p place) (Data, error) {
	if q.UserRef == "" || q.UserRef == who.UserRef {
		d := Data{Name: who.Name, UserRef: who.UserRef, Role: authorOf(who).Role}
		if b.owns(ctx, who, q.ClientID) {
			d.ClientID = q.ClientID
		}
		return d, nil
	}
	d := Data{UserRef: q.UserRef, Role: "participant"}
	room := p.object
	if room == nil {
		id := who.ChannelID
		if who.Role >= RoleAdmin {
			id = q.ObjectID
		}
		var err error
		if room, err = b.objects.get(ctx, who.App, id); errors.Is(err, ErrNoObject) {
			return d, nil
		} else if err != nil {
			return d, err
		}
	}
	other, ok, err := b.present(ctx, room, q.UserRef)
	if ok {
		d.Name, d.Role = other.Name, other.Role
	}
	return d, err
}

// owns reports whether a clientId is a live session of the caller, on any node. One
// that cannot be looked up is not shown.
func (b *Broker) owns(ctx context.Context, who *Identity, clientID string) bool {
	if clientID == "" || len(clientID) > maxClaim {
		return false
	}
	r, _, err := b.loadSession(ctx, sessionKey(clientID))
	if err != nil || r.Identity == nil {
		return false
	}
	return r.Identity.App == who.App.ID && r.Identity.UserRef == who.UserRef && r.Identity.ChannelID == who.ChannelID
}

// publishDocument takes a publish to the channel of a document: a merge, as POST is
// (product.md E15). Calls of one session do not overlap, so its changes keep their
// order.
func (b *Broker) publishDocument(ctx context.Context, t *target, m *bayeux.Message, a asker, k known) (bayeux.Ack, error) {
	ctx, cancel := context.WithTimeout(ctx, dataWait)
	defer cancel()
	who := a.speaker(t.object.App.ID, t.object.ID)
	if who == nil {
		return bayeux.Ack{}, bayeux.ErrForbidden(m.ChannelText)
	}
	data, err := catchup.Canonical(m.Data)
	if err != nil {
		return bayeux.Ack{}, b.documentRefusal(err, m.ChannelText)
	}
	if k.maybe {
		if stored, found := b.taggedLately(ctx, *t, k.change); found {
			b.metrics.repeats.Inc()
			return bayeux.Ack{Ext: ackAgain(*t, stored)}, nil
		}
	}
	name, err := b.documentOf(ctx, t)
	if err != nil {
		return bayeux.Ack{}, b.documentRefusal(err, m.ChannelText)
	}
	doc, err := b.changeDocument(ctx, name, catchup.Change{Kind: catchup.Merging, Data: data, By: authorOf(who), Tag: k.change})
	if err != nil {
		return bayeux.Ack{}, b.documentRefusal(err, m.ChannelText)
	}
	b.metrics.published.Inc()
	return bayeux.Ack{Ext: dataExt(doc.Position, doc.Version, name.ConfNum)}, nil
}

// dataExt is ackExt with data {version[, conf_num]}; p is zero where there is no
// message.
func dataExt(p store.Position, version uint64, confNum string) []byte {
	ext := []byte{'{'}
	if !p.IsZero() {
		ext = ackExt(p)
		ext[len(ext)-1] = ','
	}
	ext = append(ext, `"data":{"version":`...)
	ext = strconv.AppendUint(ext, version, 10)
	if confNum != "" {
		ext = append(ext, `,"conf_num":"`+confNum+`"`...)
	}
	return append(ext, "}}"...)
}

// documentRefusal is dataRefusal for Bayeux: text without what Faye cannot read.
func (b *Broker) documentRefusal(err error, channel string) error {
	err = dataRefusal(err)
	var refusal *Error
	if !errors.As(err, &refusal) {
		return storeRefusal(err, b, "change data")
	}
	e := &bayeux.Error{Code: refusal.Status(), Args: []string{channel}, Text: "Data must be a JSON object"}
	switch refusal.Result {
	case 4013:
		e.Text = "Document too large"
	case 5003:
		return errUnavailable()
	}
	return e
}

// settleDocuments tries again what could not be put into logs.
func (b *Broker) settleDocuments(ctx context.Context) {
	if owed, err := b.documents.Settle(ctx); owed > 0 && ctx.Err() == nil {
		b.log.Warn("changes of data have not been announced yet; it is tried again", zap.Int("changes", owed), zap.Error(err))
	}
}

// forgetData removes what belongs to an object that is deleted (product.md E20).
func (b *Broker) forgetData(ctx context.Context, o *Object) error {
	room := b.document(scopeRoom, place{app: o.App, object: o}, "")
	if err := b.dropDocument(ctx, room.Key); err != nil {
		return err
	}
	if err := b.dropDocuments(ctx, sessionDataKey(o)); err != nil {
		return err
	}
	return b.conferences.Remove(ctx, conferenceKey(o))
}

// dropDocuments removes every document whose key begins with prefix.
func (b *Broker) dropDocuments(ctx context.Context, prefix string) error {
	for {
		keys, err := b.documents.Keys(ctx, prefix, "", 500)
		if err != nil || len(keys) == 0 {
			return err
		}
		for _, key := range keys {
			if err := b.dropDocument(ctx, key); err != nil {
				return err
			}
		}
	}
}

// dropDocument removes a document and its log.
func (b *Broker) dropDocument(ctx context.Context, key string) error {
	if err := b.documents.Remove(ctx, key); err != nil {
		return err
	}
	log, ok := changeLog(key)
	if !ok {
		return nil
	}
	if err := b.opt.Store.Delete(ctx, log); err != nil {
		return fmt.Errorf("broker: delete the changes of a document: %w", err)
	}
	b.rewrote(log)
	return nil
}
