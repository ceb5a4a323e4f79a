package broker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/store"
	"go.uber.org/zap"
)

// tableVisit says what streams have heard of who is where, so that they hear it once,
// on whatever nodes a session lives: "<app>/<topic>/<session>" → visitRow, of a session
// with a token, and "<app>/<topic>/" of the object being occupied. A row that nobody
// takes back, because its node has died, expires.
const tableVisit = "visit"

const (
	visitLife = day
	// maxVisits bounds what waits for the store to be back.
	maxVisits = 10_000
	// visitsAtOnce bounds how much of it is done in one round.
	visitsAtOnce = 2000
)

// visitRow is what the streams of an account know.
type visitRow struct {
	ID    string `json:"id"`
	Since int64  `json:"since"` // ms of the store's clock
}

// visit is that a session with a token has joined an object, or has left it (product.md
// V10).
type visit struct {
	account *account
	object  *Object
	feed    string
	who     here
	came    bool
}

// visit notes one for the streams of the object's account.
func (p *presence) visit(feed string, o *Object, h *here, came bool) {
	a := p.b.accounts.of(o)
	if a == nil || !h.known {
		return
	}
	if len(p.visits) >= maxVisits {
		p.b.metrics.lostVisits.Inc()
		return
	}
	p.visits = append(p.visits, visit{a, o, feed, *h, came})
}

// tellStreams puts what is new into the accounts' logs. What the store does not take is
// tried again in the next round.
func (p *presence) tellStreams(ctx context.Context) {
	if len(p.b.accounts.all) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, presenceEvery)
	defer cancel()
	for n := 0; len(p.visits) > 0 && n < visitsAtOnce; n++ {
		if err := p.b.tellVisit(ctx, p.visits[0]); err != nil {
			p.b.log.Debug("streams were not told who came and left; it is tried again", zap.Error(err))
			return
		}
		p.visits = p.visits[1:]
	}
	for feed, r := range p.rooms {
		a := p.b.accounts.of(r.object)
		if a == nil || r.told == (len(r.here) > 0) {
			continue
		}
		if err := p.tellOccupied(ctx, a, feed, r); err != nil {
			p.b.log.Debug("streams were not told where somebody is; it is tried again", zap.Error(err))
			return
		}
		r.told = !r.told
	}
}

// tellVisit tells of one visit. The row is the truth: who comes to another node has one,
// and who has left for another node is there.
func (b *Broker) tellVisit(ctx context.Context, v visit) error {
	key := visitKey(v.feed) + v.who.ID
	if v.came {
		row, made, err := b.openVisit(ctx, key)
		if err != nil || !made {
			return err
		}
		return b.keepVisit(ctx, v, row, 0)
	}
	moved, err := b.livesElsewhere(ctx, v.who.ID)
	if err != nil || moved {
		return err
	}
	return b.closeVisit(ctx, key, func(row visitRow) error {
		return b.keepVisit(ctx, v, row, b.opt.Store.Now().UnixMilli())
	})
}

func visitKey(feed string) string { return feed[len(objectFeed):] + "/" }

// openVisit makes the row; made is false if it is there.
func (b *Broker) openVisit(ctx context.Context, key string) (row visitRow, made bool, err error) {
	var raw [12]byte
	_, _ = rand.Read(raw[:]) // it never fails
	row = visitRow{ID: hex.EncodeToString(raw[:]), Since: b.opt.Store.Now().UnixMilli()}
	data, err := json.Marshal(row)
	if err != nil {
		return row, false, fmt.Errorf("broker: visit: %w", err)
	}
	absent := uint64(0)
	_, err = b.opt.Store.Put(ctx, tableVisit, key, store.Put{Data: data, TTL: visitLife, IfVersion: &absent})
	if errors.Is(err, store.ErrConflict) {
		return row, false, nil
	}
	return row, err == nil, err
}

// closeVisit says that a visit is over, once, and removes its row.
func (b *Broker) closeVisit(ctx context.Context, key string, say func(visitRow) error) error {
	v, err := b.opt.Store.Get(ctx, tableVisit, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var row visitRow
	if err := json.Unmarshal(v.Data, &row); err != nil {
		return fmt.Errorf("broker: row of a visit: %w", err)
	}
	if err := say(row); err != nil {
		return err
	}
	err = b.opt.Store.Remove(ctx, tableVisit, key, &v.Version)
	if errors.Is(err, store.ErrConflict) {
		return nil // it has begun again
	}
	return err
}

// livesElsewhere reports whether a session is on another node that lives.
func (b *Broker) livesElsewhere(ctx context.Context, key string) (bool, error) {
	r, _, err := b.loadSession(ctx, key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	}
	return b.nodes.alive(ctx, r.Owner)
}

// connectionEvent is what a stream is told (product.md V10).
type connectionEvent struct {
	Connection struct {
		ID     string `json:"id"`
		Type   string `json:"type"`
		Source struct {
			Type string `json:"type"`
		} `json:"source"`
		ObjectID string `json:"object_id"`
		User     struct {
			OrganizationID string `json:"organization_id"`
			UID            string `json:"uid"`
			UserID         string `json:"user_id"`
		} `json:"user"`
		CreatedAt string  `json:"created_at"`
		DeletedAt *string `json:"deleted_at"`
		Version   string  `json:"version"`
	} `json:"connection"`
}

// keepVisit puts the event of a visit into the account's log; ended is when it was
// over, in ms, 0: it has begun.
func (b *Broker) keepVisit(ctx context.Context, v visit, row visitRow, ended int64) error {
	var e connectionEvent
	c := &e.Connection
	c.ID, c.Type, c.ObjectID, c.Version = row.ID, "create", v.object.ID, catchup.RecordVersion
	c.Source.Type = catchup.RecordSource
	c.User.OrganizationID, c.User.UID, c.User.UserID = appNumber(v.object.App), v.who.userRef, v.who.OpaqueUserID
	c.CreatedAt = recordTime(row.Since)
	if ended != 0 {
		at := recordTime(ended)
		c.Type, c.DeletedAt = "delete", &at
	}
	text, err := encodeText(e)
	if err != nil {
		return err
	}
	record := store.Record{Data: catchup.EncodeConnection(c.Type, text), Nonce: recordNonce([]byte(c.Type), []byte(row.ID))}
	_, err = b.keepRecords(ctx, v.account, []store.Record{record})
	return err
}

func recordTime(ms int64) string { return time.UnixMilli(ms).UTC().Format(catchup.RecordTime) }

// tellOccupied says that an object has somebody who listens, or has nobody any more,
// on all nodes (decided.md 26).
func (p *presence) tellOccupied(ctx context.Context, a *account, feed string, r *room) error {
	say := func(kind string, row visitRow) error {
		data, err := encodeText(map[string]string{"since": recordTime(row.Since)})
		if err != nil {
			return err
		}
		return p.b.keepOwn(ctx, a, recordHead(kind, r.object, nil, presenceKind), data, recordNonce([]byte(kind), []byte(row.ID)))
	}
	if len(r.here) > 0 {
		row, made, err := p.b.openVisit(ctx, visitKey(feed))
		if err != nil || !made {
			return err
		}
		return say(occupiedRecord, row)
	}
	seen, err := p.read(ctx, feed)
	if err != nil || seen.Count > 0 {
		return err
	}
	return p.b.closeVisit(ctx, visitKey(feed), func(row visitRow) error { return say(vacatedRecord, row) })
}
