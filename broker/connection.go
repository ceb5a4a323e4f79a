package broker

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/store"
	"go.uber.org/zap"
)

// Connection is a session as an application's admins see it (decided.md 27).
type Connection struct {
	// ID is a hash of the clientId, which is a secret.
	ID string
	// Node is the name, or else the id, of the node where it lives; empty: nowhere
	// just now, and its client may take it up again.
	Node string
	// Identity is that of the handshake; nil without a token of the application.
	Identity *Identity
	// Objects are the ids of the application's objects that it listens to.
	Objects []string
	// Channels is how many channels and wildcards it is subscribed to.
	Channels int
}

// ConnectionQuery selects a page of an application's connections.
type ConnectionQuery struct {
	UserRef  string // those of this user only; empty: of all
	ObjectID string // those that listen to this object only; empty: to any
	After    string // ids after this one; empty: from the first
	Limit    int    // 1 to 1,000
}

// ConnectionPage is a page of connections in the order of their ids.
type ConnectionPage struct {
	Connections []Connection
	// Next is the After of the following page; empty: this is the last.
	Next string
}

// connectionScan bounds the records that one page looks at: those of all applications
// are in one table.
const connectionScan = 10_000

// sessionKeySize is the length of a session's key, in hex digits.
const sessionKeySize = 40

var errNoConnection = &Error{Result: 4004, Text: "no such connection"}

// Connections returns the sessions that belong to an application, wherever they live:
// by their token, or because they listen to one of its objects. A page can be short,
// even empty, and still have a Next. The caller has checked the rights.
func (b *Broker) Connections(ctx context.Context, app *Application, q ConnectionQuery) (ConnectionPage, error) {
	room := ""
	if q.ObjectID != "" {
		o, err := b.objects.get(ctx, app, q.ObjectID)
		if err != nil {
			return ConnectionPage{}, err
		}
		room = feedOf(o)
	}
	limit := min(max(q.Limit, 1), maxList)
	var page ConnectionPage
	names := map[string]string{}
	next, err := b.eachSession(ctx, q.After, connectionScan, func(key string, r *sessionRecord) (bool, error) {
		if !r.belongs(app.ID) || room != "" && !r.listens(room) || q.UserRef != "" && !r.isUser(app.ID, q.UserRef) {
			return true, nil
		}
		c, err := b.connection(ctx, app, key, r, names)
		if err != nil {
			return false, err
		}
		page.Connections = append(page.Connections, c)
		return len(page.Connections) < limit, nil
	})
	page.Next = next
	return page, err
}

// eachSession calls f with the records after a key, in order, until f returns false or
// most were looked at, and returns the key to go on after; "" at the end.
func (b *Broker) eachSession(ctx context.Context, after string, most int, f func(key string, r *sessionRecord) (bool, error)) (next string, err error) {
	const at = 500
	for scanned := 0; scanned < most; scanned += at {
		items, err := b.opt.Store.List(ctx, tableSession, "", after, at)
		if err != nil {
			return "", fmt.Errorf("broker: connections: %w", err)
		}
		for i, item := range items {
			after = item.Key
			r := new(sessionRecord)
			if err := json.Unmarshal(item.Data, r); err != nil {
				b.log.Error("a session's record that cannot be read", zap.Error(err))
				continue
			}
			more, err := f(item.Key, r)
			if err != nil {
				return "", err
			}
			if !more {
				if i == len(items)-1 && len(items) < at {
					return "", nil
				}
				return after, nil
			}
		}
		if len(items) < at {
			return "", nil
		}
	}
	return after, nil
}

// belongs reports whether an application's admins may see the session.
func (r *sessionRecord) belongs(app uint32) bool {
	if r.Identity != nil && r.Identity.App == app {
		return true
	}
	for _, room := range r.Rooms {
		if strings.HasPrefix(room, roomsOf(app)) {
			return true
		}
	}
	return false
}

// roomsOf begins the feeds of an application's objects.
func roomsOf(app uint32) string { return objectFeed + strconv.FormatUint(uint64(app), 10) + "/" }

// subscriptions is how many channels and wildcards it is subscribed to.
func (r *sessionRecord) subscriptions() int {
	n := len(r.Patterns)
	for _, t := range r.Topics {
		if t.Exact {
			n++
		}
		n += len(t.Catchups)
	}
	return n
}

func (r *sessionRecord) listens(room string) bool {
	for _, in := range r.Rooms {
		if in == room {
			return true
		}
	}
	return false
}

func (r *sessionRecord) isUser(app uint32, userRef string) bool {
	return r.Identity != nil && r.Identity.App == app && r.Identity.UserRef == userRef
}

// connection shows a session to an application. names holds the ids of objects that
// were looked up already.
func (b *Broker) connection(ctx context.Context, app *Application, key string, r *sessionRecord, names map[string]string) (Connection, error) {
	c := Connection{ID: key, Channels: r.subscriptions()}
	if r.Identity != nil && r.Identity.App == app.ID {
		c.Identity = r.Identity.identity(b.tokens)
	}
	var err error
	if c.Node, err = b.nodeName(ctx, r.Owner); err != nil {
		return c, err
	}
	for _, room := range r.Rooms {
		oid, mine := strings.CutPrefix(room, roomsOf(app.ID))
		if !mine {
			continue
		}
		id, known := names[oid]
		if !known {
			if _, id, err = b.objects.named(ctx, oid); err != nil {
				return c, err
			}
			names[oid] = id
		}
		if id != "" {
			c.Objects = append(c.Objects, id)
		}
	}
	return c, nil
}

// named returns the application and the id of the object that a topic's oid was made
// for, "" where that is gone.
func (r *registry) named(ctx context.Context, oid string) (*Application, string, error) {
	v, err := r.store.Get(ctx, tableOID, oid)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, "", nil
	case err != nil:
		return nil, "", fmt.Errorf("broker: object of a topic: %w", err)
	}
	app, id, _ := r.parseRow(string(v.Data))
	return app, id, nil
}

// nodeName returns what people call a node, "" for one that does not live.
func (b *Broker) nodeName(ctx context.Context, id string) (string, error) {
	if id == b.nodes.id {
		return b.nodes.label(), nil
	}
	alive, err := b.nodes.alive(ctx, id)
	if err != nil || !alive {
		return "", err
	}
	row, err := b.nodes.look(ctx, id)
	return cmp.Or(row.Name, id), err
}

// EndConnection ends a session of an application for good, on every node within a
// second: its client handshakes again, with what rights it then has. Errors: *Error
// with result 4004 where the application has no such connection, the store's.
func (b *Broker) EndConnection(ctx context.Context, app *Application, id string) error {
	r, err := b.sessionAt(ctx, id)
	switch {
	case err != nil:
		return err
	case !r.belongs(app.ID):
		return errNoConnection
	}
	return b.endConnection(ctx, id)
}

// sessionAt returns the record of a session by its public id; errNoConnection where
// there is none.
func (b *Broker) sessionAt(ctx context.Context, id string) (*sessionRecord, error) {
	if raw, err := hex.DecodeString(id); err != nil || len(id) != sessionKeySize || hex.EncodeToString(raw) != id {
		return nil, errNoConnection
	}
	r, _, err := b.loadSession(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, errNoConnection
	}
	return r, err
}

// EndUser ends every session of a user of an application and returns how many there
// were.
func (b *Broker) EndUser(ctx context.Context, app *Application, userRef string) (int, error) {
	ended := 0
	for after := ""; ; {
		next, err := b.eachSession(ctx, after, connectionScan, func(key string, r *sessionRecord) (bool, error) {
			if !r.isUser(app.ID, userRef) {
				return true, nil
			}
			ended++
			return true, b.endConnection(ctx, key)
		})
		if err != nil || next == "" {
			return ended, err
		}
		after = next
	}
}

// endConnection ends a session. Without its record no node takes it up again, and the
// node that has it hears so.
func (b *Broker) endConnection(ctx context.Context, key string) error {
	if err := b.opt.Store.Remove(ctx, tableSession, key, nil); err != nil {
		return fmt.Errorf("broker: end connection: %w", err)
	}
	b.ended(key)
	b.post(notice{Ended: key})
	return nil
}

// ended closes a session here, if it is here.
func (b *Broker) ended(key string) {
	b.mu.Lock()
	s := b.subscribers[key]
	b.mu.Unlock()
	if s != nil {
		s.session.Close(bayeux.ReasonKicked)
	}
}
