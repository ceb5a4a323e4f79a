package broker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/store"
)

// sessionRecord is what is kept of a session, so that a broker that was restarted
// takes it up without a handshake (architecture.md §3). It is written when the
// session's subscriptions change, before the client hears that they did, and else
// seldom: see remember.go.
//
// Its version is the fence: a node that finds another one than it wrote has lost the
// session (store.md §5.6).
type sessionRecord struct {
	// Owner is the id of the node where the session lives; empty: nowhere just now,
	// and Left says what it left behind.
	Owner    string          `json:"owner,omitempty"`
	Identity *identityRecord `json:"identity,omitempty"`
	Patterns []patternRecord `json:"patterns,omitempty"`
	Topics   []topicRecord   `json:"topics,omitempty"`
	Unread   []unreadRecord  `json:"unread,omitempty"`
	// Behind is a time of the store's clock, in ms, up to which everything live is
	// known to have reached the client; 0: it keeps up (decided.md 18).
	Behind int64 `json:"behind,omitempty"`
	// Came is when the session was handshaken, by the store's clock, in ms.
	Came int64       `json:"came,omitempty"`
	Left *leftRecord `json:"left,omitempty"`
	// Rooms are the feeds of the objects it listens to.
	Rooms []string `json:"rooms,omitempty"`
	// Viewed are the feeds of objects that it is or was a viewer of, and since when, by the
	// store's clock, in ms: a session is counted as new once for each (viewers.go).
	Viewed map[string]int64 `json:"viewed,omitempty"`
	// Tap is the application whose every message it hears (tap.go); 0: none.
	Tap uint32 `json:"tap,omitempty"`
	// Ends is when the first token ends that the session's rights come from, in ms
	// since 1970; 0: never.
	Ends int64 `json:"ends,omitempty"`
	// Counts: its client numbers its connects (bayeux.Session.Counts).
	Counts bool `json:"counts,omitempty"`
	// Seq rises with each record of the session that was written, also over what the store
	// loses: a record with a lower one than was written is one that it went back to.
	Seq uint64 `json:"seq,omitempty"`
	// Errands are what other nodes had carried out of late (errand.go).
	Errands []errand `json:"errands,omitempty"`
	// Paced is when all its moves would be over had each taken paceEach, in ms.
	Paced int64 `json:"paced,omitempty"`
}

// identityRecord is an Identity whose application is named by its number.
type identityRecord struct {
	App          uint32    `json:"app"`
	Role         Role      `json:"role"`
	RoleName     string    `json:"role_name"`
	ChannelID    string    `json:"channel_id,omitempty"`
	UserID       string    `json:"user_id,omitempty"`
	OpaqueUserID string    `json:"opaque_user_id,omitempty"`
	UserRef      string    `json:"user_ref,omitempty"`
	Name         string    `json:"name,omitempty"`
	JTI          string    `json:"jti,omitempty"`
	Tap          bool      `json:"tap,omitempty"`
	Expires      time.Time `json:"expires"`
}

// patternRecord is a wildcard subscription, with the grade it was granted at.
type patternRecord struct {
	Pattern string `json:"pattern"`
	Grade   grade  `json:"grade"`
	Since   int64  `json:"since"` // when it was taken, by the store's clock, in ms
}

// topicRecord is a session's hold on one channel.
type topicRecord struct {
	Channel  string            `json:"channel"` // the base, as the client names it
	Grade    grade             `json:"grade"`
	User     string            `json:"user,omitempty"` // whose document it is, in scope user
	Exact    bool              `json:"exact,omitempty"`
	Numbered bool              `json:"numbered,omitempty"` // by a replay id
	Seam     catchup.SeamState `json:"seam"`
	Catchups map[string]int    `json:"catchups,omitempty"`
}

// unreadRecord is a catch-up of which the client is not known to have everything.
type unreadRecord struct {
	Channel string         `json:"channel"` // X/catchup/6h; X where it is a snapshot or by a replay id
	Since   time.Time      `json:"since"`
	UpTo    store.Position `json:"up_to"`
	// After is where a catch-up of so many messages begins, since of those younger than
	// Since it has only the newest, and where a subscription by replay id did. Otherwise
	// zero.
	After store.Position `json:"after,omitzero"`
}

// byID reports whether it is of a subscription by replay id.
func (r *unreadRecord) byID() bool {
	return !r.After.IsZero() && !strings.Contains(r.Channel, "/"+catchup.Word+"/")
}

func recordOf(id *Identity) *identityRecord {
	if id == nil {
		return nil
	}
	return &identityRecord{
		App: id.App.ID, Role: id.Role, RoleName: id.RoleName, ChannelID: id.ChannelID, UserID: id.UserID,
		OpaqueUserID: id.OpaqueUserID, UserRef: id.UserRef, Name: id.Name, JTI: id.JTI, Tap: id.Tap, Expires: id.Expires,
	}
}

// identity gives the application back; nil where it is gone.
func (r *identityRecord) identity(t *tokens) *Identity {
	app := t.applicationByID(r.App)
	if app == nil {
		return nil
	}
	return &Identity{
		App: app, Role: r.Role, RoleName: r.RoleName, ChannelID: r.ChannelID, UserID: r.UserID,
		OpaqueUserID: r.OpaqueUserID, UserRef: r.UserRef, Name: r.Name, JTI: r.JTI, Tap: r.Tap, Expires: r.Expires,
	}
}

// tableSession holds the records; the key is a hash of the clientId, which is a secret.
const tableSession = "session"

func sessionKey(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:20])
}

// loadSession returns the record of a session and its version; store.ErrNotFound
// without one.
func (b *Broker) loadSession(ctx context.Context, key string) (*sessionRecord, uint64, error) {
	v, err := b.opt.Store.Get(ctx, tableSession, key)
	if err != nil {
		return nil, 0, fmt.Errorf("broker: session record: %w", err)
	}
	r := new(sessionRecord)
	if err := json.Unmarshal(v.Data, r); err != nil {
		return nil, 0, fmt.Errorf("broker: session record: %w", err)
	}
	return r, v.Version, nil
}
