package broker

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/oklog/ulid/v2"
	"go.uber.org/zap"
)

// known is how a publish is known again when it comes twice; the zero value: not.
type known struct {
	tag   uint64      // kept with the message
	nonce store.Nonce // remembered by the store for repeatAge
	// change is kept with the change that a publish makes of a document; maybe says
	// that it may have been made already, by another node or before a restart.
	change uint64
	maybe  bool
}

// publishMessage takes a Bayeux publish: rights, bounds, its place in the log. done
// hears of it once it is as durable as the store makes it.
func (b *Broker) publishMessage(ctx context.Context, m *bayeux.Message, a asker, session bool, k known, done func(bayeux.Ack, error)) {
	t, err := b.publication(ctx, m.Channel, a, session)
	data := m.Data
	if err == nil && len(data) > b.limits().Message {
		err = errMessageSize(m)
	}
	if err == nil {
		data, err = b.shaped(t, data)
		err = shapeRefusal(err, m)
	}
	if err != nil {
		b.metrics.refused("publish").Inc()
		done(bayeux.Ack{}, err)
		return
	}
	switch {
	case t.kind.entries:
		b.accumulateMessage(ctx, m, &t, k, done)
		return
	case t.kind.scope != "":
		done(b.publishDocument(ctx, &t, m, a, k))
		return
	}
	kind, began := t.kind, time.Now()
	rec := store.Record{Data: catchup.Encode(data, b.forwardExt(m.Ext), k.tag), Nonce: k.nonce, Remember: repeatAge, Copy: b.copyOf(&t, t.speaker, data)}
	b.opt.Store.Submit(t.log, t.kind.limits, []store.Record{rec}, func(at store.Appended, err error) {
		if err != nil {
			done(bayeux.Ack{}, storeRefusal(err, b, "publish"))
			return
		}
		if at.Prior[0] {
			b.metrics.repeats.Inc()
		} else {
			b.metrics.published.Inc()
			b.metrics.stored.Observe(time.Since(began).Seconds())
		}
		done(bayeux.Ack{Ext: kind.ackExt(at.Positions[0])}, nil)
	})
}

func errMessageSize(m *bayeux.Message) error {
	return &bayeux.Error{Code: 413, Args: []string{m.ChannelText}, Text: "Message too large"}
}

// shapeRefusal says over Bayeux that data has not the shape of its channel's kind.
func shapeRefusal(err error, m *bayeux.Message) error {
	var refusal *Error
	switch {
	case !errors.As(err, &refusal):
		return err
	case refusal.Result == 4013:
		return errMessageSize(m)
	}
	return &bayeux.Error{Code: 400, Args: []string{m.ChannelText}, Text: "Invalid data for this channel"}
}

// ackExt tells the publisher the id under which the message is kept, and of an entry
// when it was observed (product.md §6).
func (k *kind) ackExt(p store.Position) []byte {
	b := ackExt(p)
	if !k.entries {
		return b
	}
	b = append(b[:len(b)-1], `,"observed":`...)
	b = strconv.AppendInt(b, p.MS(), 10)
	return append(b, '}')
}

// ackExt tells the publisher the id under which the message is kept.
func ackExt(p store.Position) []byte {
	b := make([]byte, 0, 112)
	b = append(b, `{"history":`...)
	b = catchup.AppendHistory(b, p, false)
	return append(b, '}')
}

// storeRefusal turns the store's errors into what the peer is told (decided.md 3);
// a *bayeux.Error passes.
func storeRefusal(err error, b *Broker, doing string) error {
	var refusal *bayeux.Error
	switch {
	case errors.As(err, &refusal):
		return refusal
	case errors.Is(err, store.ErrFull):
		b.metrics.refused("store full").Inc()
		return &bayeux.Error{Code: 507, Text: "Store full"}
	case errors.Is(err, store.ErrUncertain):
		return &bayeux.Error{Code: 504, Text: "Outcome unknown"}
	case errors.Is(err, store.ErrTooLarge):
		return &bayeux.Error{Code: 413, Text: "Message too large"}
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrClosed), errors.Is(err, errMoved), errors.Is(err, errNoAnswer),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		b.metrics.refused("unavailable").Inc()
		return errUnavailable()
	}
	b.log.Error("store failed", zap.String("doing", doing), zap.Error(err))
	return &bayeux.Error{Code: 500, Text: "Internal server error"}
}

func errUnavailable() error { return &bayeux.Error{Code: 503, Text: "Service unavailable"} }

// ownExt are the ext keys that only the broker may set (bayeux-faye.md §14).
var ownExt = []string{"token", "history", "catchup", "ack", "replay", "timesync"}

// forwardExt returns what of a publisher's ext is passed on, as a JSON object, or
// nil. When everything may pass the bytes stay as they came.
func (b *Broker) forwardExt(ext []byte) []byte {
	if len(ext) == 0 || len(b.opt.ForwardExt) == 0 {
		return nil
	}
	// The decoder has refused repeated names, so the map holds every member.
	var members map[string]json.RawMessage
	if json.Unmarshal(ext, &members) != nil || len(members) == 0 {
		return nil
	}
	all := slices.Contains(b.opt.ForwardExt, "*")
	dropped := false
	for key := range members {
		if slices.Contains(ownExt, key) || !all && !slices.Contains(b.opt.ForwardExt, key) {
			delete(members, key)
			dropped = true
		}
	}
	switch {
	case len(members) == 0:
		return nil
	case !dropped:
		return ext
	}
	kept, err := json.Marshal(members)
	if err != nil {
		return nil
	}
	return kept
}

// httpTarget resolves where a backend publishes, or refuses it.
func (b *Broker) httpTarget(ctx context.Context, who *Identity, p Publication) (target, error) {
	if p.ObjectID == "" {
		return b.httpOpen(who, p.Channel)
	}
	if who == nil || who.App == nil {
		return target{}, &Error{Result: 4001, Text: "a token or the server key is required"}
	}
	level := who.LevelFor(who.App.ID, p.ObjectID)
	if level < RoleBroadcaster {
		return target{}, &Error{Result: 4003, Text: "not allowed to publish to this object"}
	}
	name, err := channels.Parse("/" + strings.TrimPrefix(p.Channel, "/"))
	if err != nil {
		return target{}, &Error{Result: 4000, Text: "channel: a path below the object's root is required, such as chat"}
	}
	kind := b.kinds.of(name)
	if kind == nil || catchup.Reserved(name) || kind.own || kind.entries || kind.scope != "" || level < kind.publish {
		return target{}, &Error{Result: 4003, Text: "channel: nobody may publish to " + name.String()[1:] + " this way"}
	}
	object, err := b.Object(ctx, who.App, p.ObjectID)
	if err != nil {
		return target{}, err
	}
	feed := feedOf(object)
	return target{object: object, feed: feed, name: name, kind: kind, log: store.LogName{Feed: feed, Path: name.String()}}, nil
}

func (b *Broker) httpOpen(who *Identity, channel string) (target, error) {
	name, err := channels.Parse(channel)
	if err != nil || len(channel) > b.limits().Channel || name.Segments() > b.limits().Segments {
		return target{}, &Error{Result: 4000, Text: "channel: not a channel name"}
	}
	refusal := &Error{Result: 4003, Text: "channel: not an open channel that may be published to"}
	if catchup.Reserved(name) || channels.IsRoot(name.First()) || name.First() == "meta" || name.First() == "service" {
		return target{}, refusal
	}
	t, err := b.openTarget(name)
	if err != nil {
		return target{}, refusal
	}
	switch t.open.Publish {
	case publishAnyone:
		return t, nil
	case publishServer:
		if who != nil && who.Role >= RoleServer {
			return t, nil
		}
	default:
		if who != nil {
			return t, nil
		}
	}
	return target{}, refusal
}

// Comment publishes a comment to all_json and all_html of an object and returns
// it once both are stored (product.md §5.3, T8). The caller has checked that who
// acts on the object. If one of the two is not stored the error says so; a
// repeated request makes a new comment.
func (b *Broker) Comment(ctx context.Context, who *Identity, objectID string, draft CommentDraft) (*Comment, error) {
	object, err := b.Object(ctx, who.App, objectID)
	if err != nil {
		return nil, err
	}
	at := b.opt.Store.Now()
	id, err := ulid.New(ulid.Timestamp(at), b.entropy)
	if err != nil {
		return nil, err
	}
	c, err := newComment(object, who, draft, id, at)
	if err != nil {
		return nil, err
	}
	feed := feedOf(object)
	outcome := make(chan error, 2)
	forms := map[string][]byte{allJSON: c.JSON, allHTML: c.HTML}
	for path, data := range forms {
		k := b.kinds.reserved[path[1:]]
		rec := store.Record{Data: catchup.Encode(data, nil, 0)}
		if path == allJSON {
			rec.Copy = b.copyComment(object, who, c.ID, data)
		}
		b.opt.Store.Submit(store.LogName{Feed: feed, Path: path}, k.limits, []store.Record{rec}, func(_ store.Appended, err error) { outcome <- err })
	}
	for range forms {
		err = errors.Join(err, <-outcome)
	}
	if err != nil {
		return nil, err
	}
	b.metrics.published.Inc()
	return c, nil
}
