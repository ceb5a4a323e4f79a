package api

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"

	"github.com/gobelin-broker/gobelin/broker"
)

// extensionRoutes are what a browser kit asks for before it accumulates
// (product.md §5.1, M14, M15).
var extensionRoutes = []route{
	{path: "/v1/e/user_info", form: v1Form, methods: map[string]handler{http.MethodGet: userInfo}},
	{path: "/v1/e/authtoken", form: v1Form, methods: map[string]handler{http.MethodPost: authToken}},
}

// userInfo: GET /v1/e/user_info, who the caller is, to the caller.
func userInfo(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	if who == nil {
		return reply{}, atLeast(broker.RoleViewer, who, "")
	}
	return reply{http.StatusOK, struct {
		IPAddress       string `json:"ip_address"`
		Registered      bool   `json:"registered"`
		ServerTime      int64  `json:"server_time"` // ms, by the clock that observes entries
		VisualizationID string `json:"visualization_id"`
	}{a.ClientAddr(r), who.UserID != "", a.service.Now().UnixMilli(), visualizationID(who)}}, nil
}

// visualizationID is a stable name of a user that may be shown to others: it leads to no
// other id. "" for a token that names nobody.
func visualizationID(who *broker.Identity) string {
	id := who.OpaqueUserID
	if id == "" {
		id = who.UserID
	}
	if id == "" {
		return ""
	}
	sum := sha256.Sum256([]byte("visualization\x00" + who.App.Name + "\x00" + string(who.App.TokenSecret.Reveal()) + "\x00" + id))
	return hex.EncodeToString(sum[:10])
}

// authToken: POST /v1/e/authtoken {app_id or extension_id, channel_id, role, user_id}, a
// token for trying things out. Where there is no sandbox there is no such endpoint.
func authToken(a *api, r *http.Request, _ *broker.Identity) (reply, error) {
	if !a.service.Sandbox() {
		return reply{}, &broker.Error{Result: 4004, Text: "no such endpoint"}
	}
	body, err := a.readBody(r)
	if err != nil {
		return reply{}, err
	}
	f, err := a.oneObject(body, "app_id", "extension_id", "channel_id", "role", "user_id")
	if err != nil {
		return reply{}, err
	}
	if f["app_id"] != "" && f["extension_id"] != "" && f["app_id"] != f["extension_id"] {
		return reply{}, badRequest("app_id and extension_id are the same field and differ")
	}
	if f["app_id"] == "" {
		f["app_id"] = f["extension_id"]
	}
	if f["role"] == "" {
		f["role"] = r.URL.Query().Get("role")
	}
	token, err := a.service.SandboxToken(f["app_id"], f["channel_id"], f["role"], f["user_id"])
	if err != nil {
		return reply{}, err
	}
	return reply{http.StatusOK, map[string]string{"token": token}}, nil
}
