package api

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"net/http"
	"strconv"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/broker/exact"
)

// publishRoutes are the two forms of publishing (product.md §9).
var publishRoutes = []route{
	{path: "/v1/objects/{id}/publish", form: v1Form, methods: map[string]handler{http.MethodPost: publishOne}, signed: true},
	{path: "/v1/publish", form: v1Form, methods: map[string]handler{http.MethodPost: publishBatch}, signed: true},
}

// publishOne: POST /v1/objects/{id}/publish {"channel","data"}. It answers once
// the message is in history.
func publishOne(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	id := r.PathValue("id")
	if err := atLeast(broker.RoleBroadcaster, who, id); err != nil {
		return reply{}, err
	}
	body, err := a.readBody(r)
	if err != nil {
		return reply{}, err
	}
	members, err := exact.Members(body, a.Depth)
	if err != nil {
		return reply{}, a.bodyError("body", err)
	}
	// An object_id here would be another name for what the path says.
	p, err := publication(members, oneFields, []string{"object_id"})
	if err != nil {
		return reply{}, err
	}
	p.ObjectID = id
	if err := a.chargePublish(r, who, 1); err != nil {
		return reply{}, err
	}
	pubs := []broker.Publication{p}
	if err := a.bindKey(r, who, "/v1/objects/"+id+"/publish", body, pubs); err != nil {
		return reply{}, err
	}
	done := a.service.Publish(r.Context(), who, pubs)[0]
	if done.Err != nil {
		return reply{}, done.Err
	}
	b := append(make([]byte, 0, 80), `{"result":0,`...)
	return reply{http.StatusOK, encoded(append(appendTaken(b, done), "}\n"...))}, nil
}

// publishBatch: POST /v1/publish {"messages":[…]}, over objects and open channels,
// with one result each in order. A fault in the form of one refuses all; a
// refusal or failure of one leaves the others. Without a credential only open
// channels can be named.
func publishBatch(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	body, err := a.readBody(r)
	if err != nil {
		return reply{}, err
	}
	pubs, err := a.batch(body)
	if err != nil {
		return reply{}, err
	}
	for _, p := range pubs {
		if who == nil && p.ObjectID != "" {
			return reply{}, atLeast(broker.RoleBroadcaster, who, p.ObjectID)
		}
	}
	if err := a.chargePublish(r, who, len(pubs)); err != nil {
		return reply{}, err
	}
	if err := a.bindKey(r, who, "/v1/publish", body, pubs); err != nil {
		return reply{}, err
	}
	outcomes := make([]broker.Published, len(pubs))
	// What the caller may not do at all is not shown to the broker.
	allowed, places := pubs[:0], make([]int, 0, len(pubs))
	for i, p := range pubs {
		if p.ObjectID != "" {
			if outcomes[i].Err = atLeast(broker.RoleBroadcaster, who, p.ObjectID); outcomes[i].Err != nil {
				continue
			}
		}
		allowed, places = append(allowed, p), append(places, i)
	}
	if len(allowed) > 0 {
		for i, done := range a.service.Publish(r.Context(), who, allowed) {
			outcomes[places[i]] = done
		}
	}
	return a.results(outcomes)
}

// results answers a batch with the outcome of each message.
func (a *api) results(outcomes []broker.Published) (reply, error) {
	w := writer{log: a.Logger, route: "/v1/publish"}
	b := append(make([]byte, 0, 64*(len(outcomes)+1)), `{"result":0,"results":[`...)
	for i, o := range outcomes {
		if i > 0 {
			b = append(b, ',')
		}
		if o.Err == nil {
			b = append(appendTaken(append(b, '{'), o), '}')
			continue
		}
		refusal, err := encode(v1Form(w.shown(o.Err)))
		if err != nil {
			return reply{}, err
		}
		b = append(b, bytes.TrimSuffix(refusal, newline)...)
	}
	return reply{http.StatusOK, encoded(append(b, "]}\n"...))}, nil
}

// appendTaken appends what is said of a message that was taken: its id, and the ms since
// 1970 by the store's clock.
func appendTaken(b []byte, p broker.Published) []byte {
	b = append(append(b, `"id":"`...), p.ID...) // a ULID, which needs no escapes
	return strconv.AppendInt(append(b, `","time":`...), p.Time, 10)
}

// batch reads the messages of a batch.
func (a *api) batch(body []byte) ([]broker.Publication, error) {
	f, err := a.object(body, []string{"messages"}, nil)
	if err != nil {
		return nil, err
	}
	raw := f.get("messages")
	if raw == nil {
		return nil, badRequest("messages is required")
	}
	if raw[0] != '[' {
		return nil, badRequest("messages must be an array")
	}
	elements, err := exact.Elements(raw, a.Batch)
	if err != nil {
		return nil, &broker.Error{Result: 4013, Text: "more messages than one request may have"}
	}
	if len(elements) == 0 {
		return nil, badRequest("messages must not be empty")
	}
	pubs := make([]broker.Publication, len(elements))
	var members []exact.Member
	for i, e := range elements {
		if members, err = exact.Inner(members, e); err == nil {
			pubs[i], err = publication(members, batchFields, nil)
		}
		if err == nil && pubs[i].ObjectID == "" && pubs[i].Channel[0] != '/' {
			err = badRequest("object_id is required, or a whole channel name that begins with a slash")
		}
		if err != nil {
			return nil, a.within("messages["+strconv.Itoa(i)+"]", err)
		}
	}
	return pubs, nil
}

// The fields of one message of a batch, and of one alone.
var (
	batchFields = []string{"object_id", "channel", "data"}
	oneFields   = []string{"channel", "data"}
)

// within says in which part of a body a fault is.
func (a *api) within(where string, err error) error {
	var refusal *broker.Error
	if errors.As(err, &refusal) {
		return badRequest("%s: %s", where, refusal.Text)
	}
	return a.bodyError(where, err)
}

// publication reads one message.
func publication(members []exact.Member, known, ignored []string) (p broker.Publication, err error) {
	f, err := pick("", members, known, ignored)
	if err != nil {
		return p, err
	}
	p.ObjectID, _, err = f.text("object_id")
	if err == nil {
		p.Channel, _, err = f.text("channel")
	}
	if err != nil {
		return p, err
	}
	if p.Channel == "" {
		return p, badRequest("channel is required")
	}
	if p.Data = f.get("data"); p.Data == nil {
		return p, badRequest("data is required")
	}
	return p, nil
}

// bindKey gives the messages of a request with an Idempotency-Key their nonces
// and refuses a key that came with another request (decided.md 19).
func (a *api) bindKey(r *http.Request, who *broker.Identity, path string, body []byte, pubs []broker.Publication) error {
	key, err := a.idempotencyKey(r, who, "", path, body)
	if err != nil || key == "" {
		return err
	}
	for i := range pubs {
		pubs[i].Nonce = broker.PublicationNonce(who.App.ID, key, i)
	}
	return nil
}

// idempotencyKey returns a request's Idempotency-Key, made one of its caller's own, and
// "" without one. user tells apart those who share an object. One that came with another
// request is refused.
func (a *api) idempotencyKey(r *http.Request, who *broker.Identity, user, path string, body []byte) (string, error) {
	keys := r.Header.Values("Idempotency-Key")
	signed := signedNonce(r)
	switch {
	case signed != "":
		return signed, a.bind(r, who, signed, path, body)
	case len(keys) == 0:
		return "", nil
	case len(keys) > 1 || !visible(keys[0]):
		return "", badRequest("Idempotency-Key must be one text of 1 to 255 visible ASCII characters")
	case who == nil:
		return "", &broker.Error{Result: 4001, Text: "unauthorized: Idempotency-Key needs a token or the server key"}
	}
	key := keys[0]
	if who.Role < broker.RoleAdmin {
		// Else one object's broadcaster could spoil the keys of another's, or of
		// the backend. The zero byte cannot be sent in a header.
		key = who.ChannelID + "\x00" + key
	}
	if user != "" {
		key = user + "\x00" + key
	}
	return key, a.bind(r, who, key, path, body)
}

// bind binds a key to a request, or refuses one that is bound to another.
func (a *api) bind(r *http.Request, who *broker.Identity, key, path string, body []byte) error {
	h := sha256.New()
	h.Write([]byte(path + "\n"))
	h.Write(body)
	return a.service.Remember(r.Context(), who.App.ID, key, [32]byte(h.Sum(nil)))
}

// visible reports whether s is 1 to 255 visible ASCII characters.
func visible(s string) bool {
	if s == "" || len(s) > 255 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
