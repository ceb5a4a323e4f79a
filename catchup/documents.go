package catchup

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// ErrContended: others were faster each time; nothing was changed.
var ErrContended = errors.New("catchup: too many writers of one document")

// tableDocument holds the documents: what a DocumentName calls Key → Document.encode.
const tableDocument = "data"

// Bounds of keeping documents.
const (
	// changeAttempts is how often a change is tried when other nodes were faster
	// (store.md D10); between two a node waits up to changePause, doubled each time.
	changeAttempts = 8
	changePause    = 2 * time.Millisecond
	// restless is for how long after a change its writer is left to put it into the
	// log; after that whoever meets the document does.
	restless = time.Second
	// changeRemember is how long a change's nonce is remembered; up to trustNonce
	// submitting it again is harmless, later the log is searched.
	changeRemember = time.Hour
	trustNonce     = 30 * time.Minute
	// maxKnown bounds what is remembered about changes that are in their logs, and
	// maxOwed those that are not and have to be tried again.
	maxKnown = 20_000
	maxOwed  = 10_000
	// turns is how many documents of a node can be changed at the same time.
	turns = 256
)

// DocumentName says where a document is and how it is called.
type DocumentName struct {
	// Key is the row's, at most store.MaxName bytes.
	Key string
	// Scope and ConfNum are in its messages; ConfNum "" is in none.
	Scope, ConfNum string
	// Log has its changes, Limits are those of the log. Documents of several
	// conferences share one.
	Log    store.LogName
	Limits store.Limits
	// Copy says where its changes go, too; nil: nowhere.
	Copy *Copying
	// TTL is how long the row stays after its last change; 0: until it is removed.
	TTL time.Duration
}

// Copying says how the changes of a document get into an account's log: the head of
// their records, whose user is who made the change.
type Copying struct {
	To     store.LogName
	Limits store.Limits
	Head   RecordHead
}

// of makes the copy of a change's message.
func (c *Copying) of(change []byte) *store.Copy {
	if c == nil {
		return nil
	}
	head := c.Head
	var message struct {
		By Author `json:"by"`
	}
	if json.Unmarshal(change, &message) == nil { // it is one of ours
		head.UID = message.By.UserRef
	}
	return &store.Copy{To: c.To, Limits: c.Limits, Data: head.Encode(change)}
}

// Documents keeps documents and their changes on a store that several nodes may
// share. A change is in the row first, by compare-and-set, and in the log right after.
// Nobody makes a change before the last one is in the log, so the log has every
// version once and in order, also when a node dies between the two: who meets the row
// then puts its last change there. All methods may be called by many goroutines.
type Documents struct {
	store store.Store
	most  int // bytes of one
	seed  maphash.Seed
	// turn lets one goroutine at a time change a document on this node: only nodes
	// compete for a row.
	turn [turns]chan struct{}

	mu    sync.Mutex
	known map[string]ChangeID // by key: the last change known to be in its log
	owed  map[string]DocumentName
}

// NewDocuments returns the documents of a store, each of at most most bytes; 0:
// MaxDocument.
func NewDocuments(s store.Store, most int) *Documents {
	if most == 0 {
		most = MaxDocument
	}
	d := &Documents{store: s, most: most, seed: maphash.MakeSeed(), known: map[string]ChangeID{}, owed: map[string]DocumentName{}}
	for i := range d.turn {
		d.turn[i] = make(chan struct{}, 1)
	}
	return d
}

// Read returns a document; the zero Document where there is none. It sees to it that
// the last change is in the log unless that is younger than a second.
func (d *Documents) Read(ctx context.Context, n DocumentName) (Document, error) {
	doc, err := d.load(ctx, n)
	if err == nil && d.store.Now().Sub(doc.Changed) > restless {
		err = d.settle(ctx, n, doc)
	}
	return doc, err
}

// ReadSettled is Read for who needs the last change to be in the log.
func (d *Documents) ReadSettled(ctx context.Context, n DocumentName) (Document, error) {
	doc, err := d.load(ctx, n)
	if err == nil {
		err = d.settle(ctx, n, doc)
	}
	return doc, err
}

func (d *Documents) load(ctx context.Context, n DocumentName) (Document, error) {
	v, err := d.store.Get(ctx, tableDocument, n.Key)
	if errors.Is(err, store.ErrNotFound) {
		return Document{}, nil
	}
	if err != nil {
		return Document{}, fmt.Errorf("catchup: read document: %w", err)
	}
	return decodeDocument(v)
}

// Changed is the outcome of a change.
type Changed struct {
	Document
	// Position is that of the change's message, zero where there was no change, or
	// where the log did not answer: then the message comes later.
	Position store.Position
}

// Change changes a document. A change without effect keeps the version and says
// nothing to anybody. Errors: *VersionError, ErrDocumentSize, ErrContended, and the
// store's; with any of them but store.ErrUncertain nothing was changed.
func (d *Documents) Change(ctx context.Context, n DocumentName, c Change) (Changed, error) {
	turn := d.turn[maphash.String(d.seed, n.Key)%turns]
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return Changed{}, ctx.Err()
	}
	var id ChangeID
	_, _ = rand.Read(id[:]) // it never fails
	w := writing{d: d, n: n, c: c, id: id}
	for attempt := range changeAttempts {
		if attempt > 0 {
			if err := backOff(ctx, attempt); err != nil {
				return Changed{}, errors.Join(w.uncertain, err)
			}
		}
		out, again, err := w.try(ctx)
		if !again {
			return out, err
		}
	}
	if w.uncertain != nil {
		return Changed{}, w.uncertain
	}
	return Changed{}, ErrContended
}

// writing is one change on its way into the row.
type writing struct {
	d  *Documents
	n  DocumentName
	c  Change
	id ChangeID
	// uncertain, when not nil, says that an attempt upon version base may have come
	// through.
	uncertain error
	base      uint64
}

// try makes one attempt; again says that another may do better.
func (w *writing) try(ctx context.Context) (out Changed, again bool, err error) {
	old, err := w.d.load(ctx, w.n)
	switch {
	case err != nil:
		return Changed{}, false, errors.Join(w.uncertain, err)
	case w.uncertain != nil && old.id == w.id:
		out, err = w.d.announce(ctx, w.n, old)
		return out, false, err
	case w.uncertain != nil && old.Version > w.base+1:
		return Changed{}, false, w.uncertain // others came on top of it, or instead
	}
	next, changed, err := old.apply(w.n, w.c, w.d.most, w.d.store.Now(), w.id)
	if err != nil || !changed {
		return Changed{Document: old}, false, err
	}
	// The log gets what the row has before the row gets the next.
	if err := w.d.settle(ctx, w.n, old); err != nil {
		return Changed{}, false, err
	}
	row := old.row
	_, err = w.d.store.Put(ctx, tableDocument, w.n.Key, store.Put{Data: next.encode(), TTL: w.n.TTL, IfVersion: &row})
	switch {
	case err == nil:
		out, err = w.d.announce(ctx, w.n, next)
		return out, false, err
	case errors.Is(err, store.ErrUncertain):
		w.uncertain, w.base = fmt.Errorf("catchup: change document: %w", err), old.Version
	case !errors.Is(err, store.ErrConflict):
		return Changed{}, false, errors.Join(w.uncertain, fmt.Errorf("catchup: change document: %w", err))
	}
	return Changed{}, true, nil
}

// backOff waits before another attempt, so that nodes that compete take turns.
func backOff(ctx context.Context, attempt int) error {
	pause := time.NewTimer(mathrand.N(changePause << attempt))
	defer pause.Stop()
	select {
	case <-pause.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// announce puts a change that is in the row into the log. If the log does not answer
// it is owed: the change is made, and its message comes as soon as there is a way.
func (d *Documents) announce(ctx context.Context, n DocumentName, doc Document) (Changed, error) {
	p, err := d.submit(ctx, n, doc)
	if err != nil {
		d.mu.Lock()
		if len(d.owed) < maxOwed {
			d.owed[n.Key] = n
		}
		d.mu.Unlock()
	}
	return Changed{Document: doc, Position: p}, nil
}

// Settle tries again what Change could not put into the log; a broker calls it now and
// then. It returns how many are still owed, and why.
func (d *Documents) Settle(ctx context.Context) (owed int, err error) {
	d.mu.Lock()
	all := make([]DocumentName, 0, len(d.owed))
	for _, n := range d.owed {
		all = append(all, n)
	}
	d.mu.Unlock()
	for _, n := range all {
		if _, e := d.ReadSettled(ctx, n); e != nil {
			owed++
			err = e
			continue
		}
		d.mu.Lock()
		delete(d.owed, n.Key)
		d.mu.Unlock()
	}
	return owed, err
}

// settle sees to it that the last change of a document is in the log.
func (d *Documents) settle(ctx context.Context, n DocumentName, doc Document) error {
	if doc.Version == 0 || d.knows(n.Key, doc.id) {
		return nil
	}
	age := d.store.Now().Sub(doc.Changed)
	if age >= n.Limits.Age {
		return nil // nobody could read it there any more
	}
	if age > trustNonce {
		found, err := d.inLog(ctx, n, doc)
		if err != nil || found {
			return err
		}
	}
	_, err := d.submit(ctx, n, doc)
	return err
}

// submit appends the message of a document's last change, once.
func (d *Documents) submit(ctx context.Context, n DocumentName, doc Document) (store.Position, error) {
	rec := store.Record{Data: Encode(doc.change, nil, doc.tag), Nonce: doc.nonce(n), Remember: changeRemember, Copy: n.Copy.of(doc.change)}
	type outcome struct {
		at  store.Appended
		err error
	}
	done := make(chan outcome, 1)
	d.store.Submit(n.Log, n.Limits, []store.Record{rec}, func(at store.Appended, err error) { done <- outcome{at, err} })
	select {
	case o := <-done:
		if o.err != nil {
			return store.Position{}, fmt.Errorf("catchup: log a change: %w", o.err)
		}
		d.note(n.Key, doc.id)
		return o.at.Positions[0], nil
	case <-ctx.Done():
		return store.Position{}, fmt.Errorf("catchup: log a change: %w", ctx.Err())
	}
}

// inLog looks for a document's last change in the log, from when it was made.
func (d *Documents) inLog(ctx context.Context, n DocumentName, doc Document) (bool, error) {
	span := store.Range{Since: doc.Changed.Add(-restless), Limits: n.Limits}
	for {
		page, err := d.store.Read(ctx, n.Log, span, 1000, PageBytes)
		if err != nil {
			return false, fmt.Errorf("catchup: look for a change: %w", err)
		}
		for _, e := range page.Entries {
			if m, err := Decode(e); err == nil && string(m.Data) == string(doc.change) {
				d.note(n.Key, doc.id)
				return true, nil
			}
		}
		if !page.More || len(page.Entries) == 0 {
			return false, nil
		}
		span.After = page.Entries[len(page.Entries)-1].Position
	}
}

func (d *Documents) knows(key string, id ChangeID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.known[key] == id
}

func (d *Documents) note(key string, id ChangeID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, there := d.known[key]; !there && len(d.known) >= maxKnown {
		for other := range d.known { // any: who is forgotten is asked about again
			delete(d.known, other)
			break
		}
	}
	d.known[key] = id
}

// Extend lets a document's row stay for ttl from now on at least, and with exactly
// for no longer. A document that is not there is no error.
func (d *Documents) Extend(ctx context.Context, n DocumentName, ttl time.Duration, exactly bool) error {
	for attempt := range changeAttempts {
		if attempt > 0 {
			if err := backOff(ctx, attempt); err != nil {
				return err
			}
		}
		v, err := d.store.Get(ctx, tableDocument, n.Key)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("catchup: extend document: %w", err)
		}
		if !exactly && (v.Expires.IsZero() || v.Expires.Sub(d.store.Now()) >= ttl) {
			return nil
		}
		_, err = d.store.Put(ctx, tableDocument, n.Key, store.Put{Data: v.Data, TTL: ttl, IfVersion: &v.Version})
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return ErrContended
}

// Remove deletes a document's row, not its log: its messages go with their age, or
// when the caller deletes the log.
func (d *Documents) Remove(ctx context.Context, key string) error {
	if err := d.store.Remove(ctx, tableDocument, key, nil); err != nil {
		return fmt.Errorf("catchup: remove document: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.known, key)
	delete(d.owed, key)
	return nil
}

// Keys returns keys of documents that begin with prefix, after after, at most limit.
func (d *Documents) Keys(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	items, err := d.store.List(ctx, tableDocument, prefix, after, limit)
	if err != nil {
		return nil, fmt.Errorf("catchup: list documents: %w", err)
	}
	keys := make([]string, len(items))
	for i, it := range items {
		keys[i] = it.Key
	}
	return keys, nil
}
