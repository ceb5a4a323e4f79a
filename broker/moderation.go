package broker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/oklog/ulid/v2"
)

// The channels of comments (product.md §4).
const (
	allJSON      = "/all_json"
	allHTML      = "/all_html"
	promotedJSON = "/promoted_json"
	promotedHTML = "/promoted_html"
)

// tableComment has what was decided about a comment: "<app>/<topic>/<comment id>" →
// moderation. Comments about which nothing was have no row.
const tableComment = "comment"

// moderation is a row of tableComment. It only ever gains: nothing takes a promotion
// or a withdrawal back.
type moderation struct {
	Promoted  int64 `json:"promoted,omitempty"`  // when, in ms of the store's clock
	Withdrawn int64 `json:"withdrawn,omitempty"` // likewise
	Done      bool  `json:"done,omitempty"`      // every form is redacted, and it was said
}

// A comment is found by the time in its id: it was appended between commentBefore
// that and commentAfter. Clocks of a shared store may differ a little, and a write
// takes its time, but less than that.
const (
	commentBefore = 2 * time.Second
	commentAfter  = time.Minute
)

var errNoComment = &Error{Result: 4004, Text: "no such comment"}

// judged is a comment to be moderated.
type judged struct {
	b      *Broker
	object *Object
	feed   string // of its object
	key    string // of its row
	id     string
	at     time.Time // in its id

	row     moderation
	version uint64 // of the row; 0: there is none
}

// Promote publishes a comment to promoted_json and promoted_html, once, whoever asks
// however often on whatever node, and returns it as it is there (product.md T9). The
// caller has checked the rights. Errors: ErrNoObject, *Error with result 4004 for a
// comment that is not there, has expired or was withdrawn, the store's.
func (b *Broker) Promote(ctx context.Context, app *Application, objectID, commentID string) (*Comment, error) {
	j, err := b.judge(ctx, app, objectID, commentID)
	if err != nil {
		return nil, err
	}
	found, err := j.find(ctx, allJSON)
	if err != nil {
		return nil, err
	}
	if found == nil || j.row.Withdrawn != 0 {
		return nil, errNoComment
	}
	var c commentObject
	if err := json.Unmarshal(found.Data, &c); err != nil {
		return nil, fmt.Errorf("broker: promote: %w", err)
	}
	c.PromotedP = 1
	forms, err := c.encode()
	if err != nil {
		return nil, err
	}
	now := b.opt.Store.Now().UnixMilli()
	err = j.decide(ctx, func(m *moderation) error {
		if m.Withdrawn != 0 {
			return errNoComment
		}
		if m.Promoted == 0 {
			m.Promoted = now
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	at, err := j.say("promote", said{promotedJSON, forms.JSON, true}, said{promotedHTML, forms.HTML, false})
	if err != nil {
		return nil, err
	}
	return forms, j.overtaken(ctx, at)
}

// overtaken takes a promotion back whose comment was withdrawn meanwhile: the
// withdrawal may not have found it.
func (j *judged) overtaken(ctx context.Context, at []store.Position) error {
	if err := j.load(ctx); err != nil {
		return err
	}
	if j.row.Withdrawn == 0 {
		return nil
	}
	for i, path := range []string{promotedJSON, promotedHTML} {
		if err := j.redact(ctx, path, at[i]); err != nil {
			return err
		}
	}
	if _, err := j.say("withdraw late", said{promotedJSON, j.deleted(), true}); err != nil {
		return err
	}
	return errNoComment
}

// Withdraw takes a comment out of every later replay of its channels and says so on
// all_json and, if it was promoted, on promoted_json (product.md T16); again, it does
// nothing. The caller has checked the rights. Errors as of Promote.
func (b *Broker) Withdraw(ctx context.Context, app *Application, objectID, commentID string) error {
	j, err := b.judge(ctx, app, objectID, commentID)
	if err != nil {
		return err
	}
	if j.row.Done {
		return nil
	}
	if j.row == (moderation{}) {
		found, err := j.find(ctx, allJSON)
		if err != nil {
			return err
		}
		if found == nil {
			return errNoComment
		}
	}
	// From here on nobody promotes it; one who is at it looks again afterwards.
	now := b.opt.Store.Now().UnixMilli()
	err = j.decide(ctx, func(m *moderation) error {
		if m.Withdrawn == 0 {
			m.Withdrawn = now
		}
		return nil
	})
	if err != nil {
		return err
	}
	told := []said{{allJSON, j.deleted(), true}}
	if j.row.Promoted != 0 {
		told = append(told, said{promotedJSON, j.deleted(), false})
	}
	for _, path := range []string{allJSON, allHTML, promotedJSON, promotedHTML} {
		if err := j.erase(ctx, path); err != nil {
			return err
		}
	}
	if _, err := j.say("withdraw", told...); err != nil {
		return err
	}
	return j.decide(ctx, func(m *moderation) error { m.Done = true; return nil })
}

// judge finds an object's comment's row. A comment may be there without one.
func (b *Broker) judge(ctx context.Context, app *Application, objectID, commentID string) (*judged, error) {
	object, err := b.objects.get(ctx, app, objectID)
	if err != nil {
		return nil, err
	}
	id, err := ulid.ParseStrict(commentID)
	if err != nil || id.String() != commentID { // one spelling only: it is part of a key
		return nil, errNoComment
	}
	j := &judged{
		b: b, object: object, feed: feedOf(object), id: commentID, at: id.Timestamp(),
		key: strconv.FormatUint(uint64(app.ID), 10) + "/" + object.Topic.String() + "/" + commentID,
	}
	return j, j.load(ctx)
}

// load reads the row anew.
func (j *judged) load(ctx context.Context) error {
	j.row, j.version = moderation{}, 0
	v, err := j.b.opt.Store.Get(ctx, tableComment, j.key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("broker: moderation: %w", err)
	}
	j.version = v.Version
	if err := json.Unmarshal(v.Data, &j.row); err != nil {
		return fmt.Errorf("broker: moderation: %w", err)
	}
	return nil
}

// decide changes the row, over again while others are faster. What changes nothing
// is not written.
func (j *judged) decide(ctx context.Context, change func(*moderation) error) error {
	for range maxAttempts {
		next := j.row
		if err := change(&next); err != nil || next == j.row {
			return err
		}
		data, err := json.Marshal(next)
		if err != nil {
			return fmt.Errorf("broker: moderation: %w", err)
		}
		version, err := j.b.opt.Store.Put(ctx, tableComment, j.key, store.Put{Data: data, TTL: j.life(), IfVersion: &j.version})
		switch {
		case err == nil:
			j.row, j.version = next, version
			return nil
		case !errors.Is(err, store.ErrConflict):
			return fmt.Errorf("broker: moderation: %w", err)
		}
		if err := j.load(ctx); err != nil {
			return err
		}
	}
	return errContended()
}

// life is how long a row, and the nonces of what was said, must be remembered: as
// long as any form of the comment may be kept. 0: for ever.
func (j *judged) life() time.Duration {
	longest := time.Duration(0)
	for _, path := range []string{allJSON, allHTML, promotedJSON, promotedHTML} {
		longest = max(longest, j.b.kinds.reserved[path[1:]].limits.Age)
	}
	if longest == store.Forever {
		return 0
	}
	return longest + commentAfter
}

func (j *judged) log(path string) (store.LogName, store.Limits) {
	return store.LogName{Feed: j.feed, Path: path}, j.b.kinds.reserved[path[1:]].limits
}

// find returns the comment as a channel has it, or nil.
func (j *judged) find(ctx context.Context, path string) (*catchup.Message, error) {
	log, limits := j.log(path)
	since, until := j.at.Add(-commentBefore), j.at.Add(commentAfter)
	if path == promotedJSON || path == promotedHTML {
		// It was promoted at any time since, and few are.
		if j.row.Promoted == 0 {
			return nil, nil
		}
		since, until = time.UnixMilli(j.row.Promoted).Add(-commentBefore), time.Time{}
	}
	if err := j.b.reads.take(ctx); err != nil {
		return nil, err
	}
	defer j.b.reads.giveBack()
	r := store.Range{Since: since, Limits: limits}
	for {
		page, err := j.b.opt.Store.Read(ctx, log, r, 1000, catchup.PageBytes)
		if err != nil {
			return nil, fmt.Errorf("broker: comment: %w", err)
		}
		for _, e := range page.Entries {
			if !until.IsZero() && e.Position.Time().After(until) {
				return nil, nil
			}
			if m, is := j.is(e); is {
				return &m, nil
			}
			r.After = e.Position
		}
		if !page.More || len(page.Entries) == 0 {
			return nil, nil
		}
	}
}

// is reports whether an entry is a form of the comment; that it was withdrawn is none.
func (j *judged) is(e store.Entry) (catchup.Message, bool) {
	m, err := catchup.Decode(e)
	if err != nil || !bytes.Contains(m.Data, []byte(j.id)) {
		return m, false
	}
	var head struct {
		CommentID string `json:"comment_id"`
		DeletedP  int    `json:"deleted_p"`
	}
	return m, json.Unmarshal(m.Data, &head) == nil && head.CommentID == j.id && head.DeletedP == 0
}

// erase redacts the comment's form on a channel, if it is there.
func (j *judged) erase(ctx context.Context, path string) error {
	found, err := j.find(ctx, path)
	if err != nil || found == nil {
		return err
	}
	return j.redact(ctx, path, found.Position)
}

func (j *judged) redact(ctx context.Context, path string, at store.Position) error {
	log, _ := j.log(path)
	err := j.b.opt.Store.Redact(ctx, log, at)
	if err != nil && !errors.Is(err, store.ErrNotFound) { // else it has expired
		return fmt.Errorf("broker: redact comment: %w", err)
	}
	j.b.rewrote(log)
	return nil
}

// said is a message of the broker's own about a comment.
type said struct {
	path string
	data []byte
	told bool // to the account's streams, too
}

// deleted says that the comment is withdrawn.
func (j *judged) deleted() []byte {
	return []byte(`{"comment_id":"` + j.id + `","deleted_p":1}`)
}

// say publishes messages about the comment, each once for a purpose, and returns
// their positions, also of those that were there.
func (j *judged) say(purpose string, all ...said) ([]store.Position, error) {
	type outcome struct {
		i   int
		at  store.Appended
		err error
	}
	outcomes := make(chan outcome, len(all))
	for i, m := range all {
		log, limits := j.log(m.path)
		rec := store.Record{Data: catchup.Encode(m.data, nil, 0), Nonce: j.nonce(purpose), Remember: j.life()}
		if m.told {
			rec.Copy = j.b.copyComment(j.object, nil, j.id, m.data)
		}
		j.b.opt.Store.Submit(log, limits, []store.Record{rec}, func(at store.Appended, err error) { outcomes <- outcome{i, at, err} })
	}
	at := make([]store.Position, len(all))
	var failed error
	for range all {
		o := <-outcomes
		if o.err != nil {
			failed = errors.Join(failed, o.err)
			continue
		}
		if at[o.i] = o.at.Positions[0]; !o.at.Prior[0] {
			j.b.metrics.published.Inc()
		}
	}
	if failed != nil {
		return nil, fmt.Errorf("broker: %s comment: %w", purpose, failed)
	}
	return at, nil
}

// nonce is that of what is said of the comment for a purpose.
func (j *judged) nonce(purpose string) store.Nonce {
	sum := sha256.Sum256([]byte("comment\x00" + purpose + "\x00" + j.id))
	return store.Nonce(sum[:16])
}
