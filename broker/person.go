package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/gobelin-broker/gobelin/store"
	"go.uber.org/zap"
)

// tablePerson says as whom the users of live sessions are in a room:
// "<app>/<topic>/<hash of user_ref>/<hash of the clientId>" → person. A row lives as
// long as its session's record.
const tablePerson = "person"

// maxPersons bounds the sessions of one user that are looked through for the newest.
const maxPersons = 100

// person is who a user is by one of its sessions.
type person struct {
	Name string `json:"name"`
	Role string `json:"role"`
	// At is when the session came, by the store's clock, in ms.
	At int64 `json:"at"`
}

func personKey(room, userRef string) string {
	return room[len(objectFeed):] + "/" + refHash(userRef) + "/"
}

// present returns who a user is in a room, by its newest live session on any node
// (product.md §7); ok is false if it has none.
func (b *Broker) present(ctx context.Context, o *Object, userRef string) (newest person, ok bool, err error) {
	items, err := b.opt.Store.List(ctx, tablePerson, personKey(feedOf(o), userRef), "", maxPersons)
	if err != nil {
		return person{}, false, fmt.Errorf("broker: sessions of a user: %w", err)
	}
	for _, it := range items {
		var p person
		if err := json.Unmarshal(it.Data, &p); err != nil {
			return person{}, false, fmt.Errorf("broker: row of a user's session: %w", err)
		}
		if !ok || newest.At < p.At {
			newest, ok = p, true
		}
	}
	return newest, ok, nil
}

// introduce writes down as whom the session's user is in its rooms, and takes back what
// was written of rooms that it has left. A fault costs a name in an answer, so it is
// only logged. The caller holds saving.
func (s *subscriber) introduce(ctx context.Context) {
	if s.identity == nil || s.identity.UserRef == "" {
		return
	}
	s.mu.Lock()
	rooms, came := slices.Clone(s.acting), s.memory.record.Came
	s.mu.Unlock()
	m := &s.memory
	for room, written := range m.introduced {
		if !slices.Contains(rooms, room) {
			s.takeLeave(ctx, room)
		} else if time.Since(written) > s.b.recordLife()/2 {
			delete(m.introduced, room)
		}
	}
	for _, room := range rooms {
		if _, there := m.introduced[room]; there {
			continue
		}
		data, err := json.Marshal(person{Name: s.identity.Name, Role: s.identity.RoleName, At: came})
		if err == nil {
			_, err = s.b.opt.Store.Put(ctx, tablePerson, personKey(room, s.identity.UserRef)+s.key, store.Put{Data: data, TTL: s.b.recordLife()})
		}
		if err != nil {
			s.b.log.Debug("as whom a user is in a room could not be written", zap.Error(err))
			return
		}
		if m.introduced == nil {
			m.introduced = map[string]time.Time{}
		}
		m.introduced[room] = time.Now()
	}
}

// takeLeave removes what introduce wrote of one room. The caller holds saving.
func (s *subscriber) takeLeave(ctx context.Context, room string) {
	if err := s.b.opt.Store.Remove(ctx, tablePerson, personKey(room, s.identity.UserRef)+s.key, nil); err != nil {
		s.b.log.Debug("as whom a user was in a room stays until it expires", zap.Error(err))
	}
	delete(s.memory.introduced, room)
}

// takeLeaves does so for all rooms.
func (s *subscriber) takeLeaves(ctx context.Context) {
	for _, room := range slices.Collect(maps.Keys(s.memory.introduced)) {
		s.takeLeave(ctx, room)
	}
}
