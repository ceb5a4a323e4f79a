package broker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/store"
)

// account is a tenant with a stream_token: what is said in its objects is copied to one
// log, which its streams read (product.md §5.4).
type account struct {
	name   string // its cdn
	token  atomic.Pointer[[sha256.Size]byte]
	log    store.LogName
	limits store.Limits
	desk   *desk // its readers on this node
}

// accounts are those that have streams.
type accounts struct {
	all   []*account
	byApp map[uint32]*account
}

func newAccounts(all []Account, o StreamOptions) (*accounts, error) {
	a := &accounts{byApp: map[uint32]*account{}}
	cdns, tokens := map[int]bool{}, map[Secret]bool{}
	for i := range all {
		if all[i].StreamToken == "" {
			continue
		}
		cdn := all[i].CDN
		if cdn <= 0 || cdns[cdn] {
			return nil, fmt.Errorf("broker: account: cdn %d: an account with a stream_token needs one of its own, above 0, for it names its log", cdn)
		}
		if tokens[all[i].StreamToken] {
			return nil, errors.New("broker: account: two accounts have the same stream_token")
		}
		cdns[cdn], tokens[all[i].StreamToken] = true, true
		name := strconv.Itoa(cdn)
		one := &account{
			name: name, log: catchup.RecordLog(name),
			limits: store.Limits{Age: o.Retention, Length: o.Records}, desk: newDesk(),
		}
		one.token.Store(new(sha256.Sum256([]byte(all[i].StreamToken.Reveal()))))
		a.all = append(a.all, one)
		for _, app := range all[i].Apps {
			a.byApp[app.ID] = one
		}
	}
	return a, nil
}

// StreamAccount is an account whose stream_token somebody has shown.
type StreamAccount struct{ account *account }

// StreamAccount returns the account of a stream_token, nil for any other text. How long
// it takes says nothing about the tokens there are.
func (b *Broker) StreamAccount(token string) *StreamAccount {
	sum := sha256.Sum256([]byte(token))
	var found *StreamAccount
	for _, a := range b.accounts.all {
		if subtle.ConstantTimeCompare(sum[:], a.token.Load()[:]) == 1 {
			found = &StreamAccount{a}
		}
	}
	return found
}

// The types of the broker's own records (product.md §5.4).
const (
	messageRecord      = "message"
	commentRecord      = "comment"
	eventRecord        = "event"
	analyticsRecord    = "analytics"
	accumulationRecord = "accumulation"
	dataRecord         = "session_data"
	viewersRecord      = "viewer_stats"
	occupiedRecord     = "occupied"
	vacatedRecord      = "vacated"
)

// of returns the account that an object's records go to, nil if they go nowhere.
func (a *accounts) of(o *Object) *account {
	if o == nil || len(a.byApp) == 0 {
		return nil
	}
	return a.byApp[o.App.ID]
}

// head begins the record of what happens to an object.
func recordHead(kind string, o *Object, who *Identity, logID string) catchup.RecordHead {
	h := catchup.RecordHead{Type: kind, LogID: logID, ObjectID: o.ID, Organization: appNumber(o.App)}
	if who != nil {
		h.UID, h.UserID = who.UserRef, who.OpaqueUserID
	}
	return h
}

// copy is a record on its way to the account's log, together with what it is made of.
func (a *account) copy(h catchup.RecordHead, data []byte) *store.Copy {
	return &store.Copy{To: a.log, Limits: a.limits, Data: h.Encode(data)}
}

// copyOf makes the copy of a message on a channel of an object; nil where none is due.
// The data is not looked at. who is its publisher, or nil.
func (b *Broker) copyOf(t *target, who *Identity, data []byte) *store.Copy {
	a := b.accounts.of(t.object)
	if a == nil || t.kind.record == "" {
		return nil
	}
	return a.copy(recordHead(t.kind.record, t.object, who, t.name.String()[1:]), data)
}

// copyComment makes the copy of what became of a comment.
func (b *Broker) copyComment(o *Object, who *Identity, id string, data []byte) *store.Copy {
	a := b.accounts.of(o)
	if a == nil {
		return nil
	}
	h := recordHead(commentRecord, o, who, id)
	h.Key = h.Organization + "/" + id
	return a.copy(h, data)
}

// copyEntry makes the copy of an entry of an accumulation.
func (b *Broker) copyEntry(o *Object, who *Identity, name string, blob []byte) *store.Copy {
	a := b.accounts.of(o)
	if a == nil {
		return nil
	}
	return a.copy(recordHead(accumulationRecord, o, who, name), blob)
}

// copyChanges says where the changes of a document go, too; nil for nowhere. They do in
// scopes room and session, and never in that of a user.
func (b *Broker) copyChanges(scope string, o *Object, key string) *catchup.Copying {
	a := b.accounts.of(o)
	if a == nil || scope != scopeRoom && scope != scopeSession {
		return nil
	}
	h := recordHead(dataRecord, o, nil, dataKind+"/"+scope)
	h.Key = key
	return &catchup.Copying{To: a.log, Limits: a.limits, Head: h}
}

// keepRecords appends records that are no copies to an account's log and waits until
// they are kept. Errors are the store's.
func (b *Broker) keepRecords(ctx context.Context, a *account, records []store.Record) (store.Appended, error) {
	for i := range records {
		records[i].Data = catchup.Uncopied(records[i].Data)
	}
	type outcome struct {
		at  store.Appended
		err error
	}
	done := make(chan outcome, 1)
	b.opt.Store.Submit(a.log, a.limits, records, func(at store.Appended, err error) { done <- outcome{at, err} })
	select {
	case o := <-done:
		if o.err != nil {
			return store.Appended{}, fmt.Errorf("broker: records: %w", o.err)
		}
		for _, prior := range o.at.Prior {
			if !prior {
				b.metrics.records.Inc()
			}
		}
		return o.at, nil
	case <-ctx.Done():
		return store.Appended{}, fmt.Errorf("broker: records: %w", ctx.Err())
	}
}

// keepOwn appends a record of the broker's own, once for its nonce.
func (b *Broker) keepOwn(ctx context.Context, a *account, h catchup.RecordHead, data []byte, nonce store.Nonce) error {
	_, err := b.keepRecords(ctx, a, []store.Record{{Data: h.Encode(data), Nonce: nonce}})
	return err
}

// recordNonce is that of something that is said once.
func recordNonce(parts ...[]byte) store.Nonce {
	sum := sha256.Sum256(bytes.Join(parts, []byte{0}))
	return store.Nonce(sum[:16])
}

// viewerStats is a row of the viewers of a url, for who reads streams.
type viewerStats struct {
	ObjectID string // "" where several objects share the url
	URL      string
	Grain    string    // hour or day
	Bucket   time.Time // its start
	Row      []byte    // the row of viewer.log, a JSON object
}

// recordViewerStats puts a row of viewers into the log of the application's account, if
// it has one. The row of a bucket has one id however often it changes; one that did not
// change is said once, however many nodes say it.
func (b *Broker) recordViewerStats(ctx context.Context, app *Application, s viewerStats) error {
	a := b.accounts.byApp[app.ID]
	if a == nil {
		return nil
	}
	bucket := s.Bucket.UTC().Format(time.RFC3339)
	h := catchup.RecordHead{Type: viewersRecord, LogID: s.Grain + "/" + bucket, ObjectID: s.ObjectID, Organization: appNumber(app)}
	h.Key = h.Organization + "/" + s.Grain + "/" + bucket + "/" + s.URL
	return b.keepOwn(ctx, a, h, s.Row, recordNonce([]byte(viewersRecord), []byte(h.Key), s.Row))
}
