package broker

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLevelFor(t *testing.T) {
	level := func(id *Identity, app uint32, object string, want Role) {
		t.Helper()
		require.Equal(t, want, id.LevelFor(app, object))
	}
	level(nil, 7, "a", RoleNone)
	level(&Identity{Role: RoleAdmin}, 7, "a", RoleNone)
	for _, role := range []Role{RoleViewer, RoleModerator, RoleBroadcaster} {
		id := &Identity{App: &demoApp, Role: role, ChannelID: "a"}
		level(id, 7, "a", role)
		level(id, 7, "b", RoleNone)
		level(id, 8, "a", RoleNone)
		level(id, 7, "", RoleNone)
		level(&Identity{App: &demoApp, Role: role}, 7, "", RoleNone)
	}
	for _, role := range []Role{RoleAdmin, RoleServer} {
		id := &Identity{App: &demoApp, Role: role, ChannelID: "a"}
		level(id, 7, "b", role)
		level(id, 7, "", role)
		level(id, 8, "a", RoleNone)
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	app := Application{Name: "n", AppKey: "planted-1", TokenSecret: "planted-2"}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		require.NotContains(t, fmt.Sprintf(format, app), "planted", format)
	}
}
