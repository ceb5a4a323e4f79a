package broker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/store"
)

// sessionRecord is what is kept of a session, so that a broker that was restarted
// takes it up without a handshake (architecture.md §3). It is written when the
// session's subscriptions change, before the client hears that they did, and else
// seldom: see remember.go.
type sessionRecord struct {
	Identity *identityRecord `json:"identity,omitempty"`
	Patterns []patternRecord `json:"patterns,omitempty"`
	Topics   []topicRecord   `json:"topics,omitempty"`
	Unread   []unreadRecord  `json:"unread,omitempty"`
	// Behind is a time of the store's clock, in ms, up to which everything live is
	// known to have reached the client; 0: it keeps up (decided.md 18).
	Behind int64 `json:"behind,omitempty"`
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
	Seam     catchup.SeamState `json:"seam"`
	Catchups map[string]int    `json:"catchups,omitempty"`
}

// unreadRecord is a catch-up of which the client is not known to have everything.
type unreadRecord struct {
	Channel string         `json:"channel"` // X/catchup/6h; X where it is a snapshot
	Since   time.Time      `json:"since"`
	UpTo    store.Position `json:"up_to"`
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

// Tables of what outlives the process.
const (
	tableSession = "session" // key: a hash of the clientId, which is a secret
	tableMark    = "node"    // key: watermarkKey
	watermarkKey = "watermark"
)

func sessionKey(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:20])
}

// loadSession returns the record of a session; store.ErrNotFound without one.
func (b *Broker) loadSession(ctx context.Context, id string) (*sessionRecord, error) {
	v, err := b.opt.Store.Get(ctx, tableSession, sessionKey(id))
	if err != nil {
		return nil, fmt.Errorf("broker: session record: %w", err)
	}
	r := new(sessionRecord)
	if err := json.Unmarshal(v.Data, r); err != nil {
		return nil, fmt.Errorf("broker: session record: %w", err)
	}
	return r, nil
}

// watermark says how far the node had come when it last wrote it.
type watermark struct {
	// At is a time of the store's clock, in ms: everything committed up to it had
	// been handed to the sessions' queues.
	At int64 `json:"at"`
	// Recent are the channels that said something shortly before, for sessions that
	// listen by wildcards; Many means that they were too many to name.
	Recent []store.LogName `json:"recent,omitempty"`
	Many   bool            `json:"many,omitempty"`
}
