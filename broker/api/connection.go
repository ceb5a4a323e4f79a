package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/broker/exact"
)

// connectionRoutes are the sessions of an application, and the tokens they come with
// (decided.md 27).
var connectionRoutes = []route{
	{path: "/v1/connections", form: v1Form, methods: map[string]handler{
		http.MethodGet: listConnections, http.MethodDelete: endUser,
	}, audit: audited{http.MethodGet: "connection.list", http.MethodDelete: "connection.end_user"}},
	{path: "/v1/connections/{connection}", form: v1Form, methods: map[string]handler{
		http.MethodDelete: endConnection,
	}, audit: audited{http.MethodDelete: "connection.end"}},
	{path: "/v1/tokens/revoke", form: v1Form, methods: map[string]handler{
		http.MethodPost: revokeToken,
	}, audit: audited{http.MethodPost: "token.revoke"}},
}

// connectionView is a connection as callers see it.
type connectionView struct {
	ID           string   `json:"id"`
	Node         string   `json:"node"`
	Role         string   `json:"role"`
	UserRef      string   `json:"user_ref"`
	UserID       string   `json:"user_id"`
	OpaqueUserID string   `json:"opaque_user_id"`
	Name         string   `json:"name"`
	Objects      []string `json:"objects"`
	Channels     int      `json:"channels"`
}

// listConnections: GET /v1/connections[?user_ref=][&object_id=][&limit=][&cursor=],
// from admin up. The answer's cursor is "" on the last page.
func listConnections(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	if err := atLeast(broker.RoleAdmin, who, ""); err != nil {
		return reply{}, err
	}
	params := r.URL.Query()
	limit, err := positive(params, "limit", 100, 1000)
	if err != nil {
		return reply{}, err
	}
	q := broker.ConnectionQuery{UserRef: params.Get("user_ref"), ObjectID: params.Get("object_id"), After: params.Get("cursor"), Limit: limit}
	if len(q.After) > 255 {
		return reply{}, badRequest("cursor must be one of an earlier answer")
	}
	page, err := a.service.Connections(r.Context(), who.App, q)
	if err != nil {
		return reply{}, err
	}
	answer := struct {
		Result      int              `json:"result"`
		Connections []connectionView `json:"connections"`
		Cursor      string           `json:"cursor"`
	}{Connections: make([]connectionView, len(page.Connections)), Cursor: page.Next}
	for i, c := range page.Connections {
		v := connectionView{ID: c.ID, Node: c.Node, Objects: c.Objects, Channels: c.Channels}
		if v.Objects == nil {
			v.Objects = []string{}
		}
		if id := c.Identity; id != nil {
			v.Role, v.UserRef, v.UserID, v.OpaqueUserID, v.Name = id.RoleName, id.UserRef, id.UserID, id.OpaqueUserID, id.Name
		}
		answer.Connections[i] = v
	}
	return reply{http.StatusOK, answer}, nil
}

// endConnection: DELETE /v1/connections/{connection}, from admin up.
func endConnection(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	if err := atLeast(broker.RoleAdmin, who, ""); err != nil {
		return reply{}, err
	}
	if err := a.service.EndConnection(r.Context(), who.App, r.PathValue("connection")); err != nil {
		return reply{}, err
	}
	return done, nil
}

// endUser: DELETE /v1/connections?user_ref=, every session of a user, from admin up.
func endUser(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	if err := atLeast(broker.RoleAdmin, who, ""); err != nil {
		return reply{}, err
	}
	user := r.URL.Query().Get("user_ref")
	if user == "" {
		return reply{}, badRequest("the parameter user_ref is required")
	}
	n, err := a.service.EndUser(r.Context(), who.App, user)
	if err != nil {
		return reply{}, err
	}
	return reply{http.StatusOK, struct {
		Result int `json:"result"`
		Ended  int `json:"ended"`
	}{Ended: n}}, nil
}

// revokeToken: POST /v1/tokens/revoke {"jti"[,"exp"]}, from admin up: the token is
// taken nowhere any more, and the sessions made with it end. exp is the token's; one
// that is not given is the latest that it can be.
func revokeToken(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	if err := atLeast(broker.RoleAdmin, who, ""); err != nil {
		return reply{}, err
	}
	body, err := a.readBody(r)
	if err != nil {
		return reply{}, err
	}
	f, err := a.object(body, []string{"jti", "exp"}, nil)
	if err != nil {
		return reply{}, err
	}
	jti, there, err := f.text("jti")
	if err != nil {
		return reply{}, err
	}
	if !there {
		return reply{}, badRequest("jti is required")
	}
	var until time.Time
	if raw := f.get("exp"); raw != nil {
		seconds, err := exact.Int(raw)
		if err != nil || seconds <= 0 || seconds > maxUnixSeconds {
			return reply{}, badRequest("exp must be a whole number of seconds since 1970, up to %s", strconv.Itoa(maxUnixSeconds))
		}
		until = time.Unix(seconds, 0)
	}
	if err := a.service.Revoke(r.Context(), who.App, jti, until); err != nil {
		return reply{}, err
	}
	return done, nil
}
