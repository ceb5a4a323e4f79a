package broker

import "time"

// Role is what a token or key makes of its bearer (product.md §3); the numbers
// are levels and compare.
type Role uint8

// The roles. Viewer and participant are one.
const (
	RoleNone Role = iota
	RoleViewer
	RoleModerator
	RoleBroadcaster
	RoleAdmin
	RoleServer
)

// Identity is who a request comes from, once verified.
type Identity struct {
	App  *Application
	Role Role
	// RoleName is the role as the token spelled it ("viewer" or "participant").
	RoleName string
	// ChannelID is the object that roles up to broadcaster act on.
	ChannelID                           string
	UserID, OpaqueUserID, UserRef, Name string
	// JTI names the token on the deny list; Tap lets an admin hear /**.
	JTI string
	Tap bool
	// Expires is the token's exp; zero for the server key.
	Expires time.Time
}

// LevelFor returns the identity's level on an object of an application: its
// role, if it acts there, else RoleNone. A nil identity is nobody.
func (id *Identity) LevelFor(app uint32, objectID string) Role {
	if id == nil || id.App == nil || id.App.ID != app {
		return RoleNone
	}
	if id.Role >= RoleAdmin || (id.ChannelID == objectID && objectID != "") {
		return id.Role
	}
	return RoleNone
}
