package api

import (
	"encoding/json"
	"net/http"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/catchup"
)

// sessionRoutes are the sessions of an object (product.md §5.2, Sessions).
var sessionRoutes = []route{
	{path: "/v1/objects/{id}/sessions", form: v1Form, methods: map[string]handler{
		http.MethodPost: openSession, http.MethodGet: listSessions, http.MethodDelete: endSession,
	}},
}

// sessionView is a session as callers see it, its times in ms since 1970.
type sessionView struct {
	ConfNum   string          `json:"conf_num"`
	StartedAt int64           `json:"started_at"`
	EndedAt   *int64          `json:"ended_at"` // null while it is open
	Data      json.RawMessage `json:"data,omitempty"`
}

func viewSession(c catchup.Conference) sessionView {
	v := sessionView{ConfNum: c.ConfNum, StartedAt: c.Started.UnixMilli()}
	if !c.Open() {
		ended := c.Ended.UnixMilli()
		v.EndedAt = &ended
	}
	return v
}

func sessionReply(status int, c catchup.Conference) reply {
	return reply{status, struct {
		Result  int         `json:"result"`
		Session sessionView `json:"session"`
	}{Session: viewSession(c)}}
}

// sessionObject returns the object of a request, for its broadcaster and up.
func (a *api) sessionObject(r *http.Request, who *broker.Identity) (*broker.Object, error) {
	id := r.PathValue("id")
	if err := atLeast(broker.RoleBroadcaster, who, id); err != nil {
		return nil, err
	}
	return a.service.Object(r.Context(), who.App, id)
}

// openSession: POST /v1/objects/{id}/sessions. 201, or 200 if one is open.
func openSession(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	o, err := a.sessionObject(r, who)
	if err != nil {
		return reply{}, err
	}
	c, opened, err := a.service.OpenConference(r.Context(), o)
	if err != nil {
		return reply{}, err
	}
	if opened {
		return sessionReply(http.StatusCreated, c), nil
	}
	return sessionReply(http.StatusOK, c), nil
}

// endSession: DELETE /v1/objects/{id}/sessions ends the open one; 404 without one.
func endSession(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	o, err := a.sessionObject(r, who)
	if err != nil {
		return reply{}, err
	}
	c, err := a.service.EndConference(r.Context(), o)
	if err != nil {
		return reply{}, err
	}
	return sessionReply(http.StatusOK, c), nil
}

// listSessions: GET /v1/objects/{id}/sessions, newest first.
func listSessions(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	o, err := a.sessionObject(r, who)
	if err != nil {
		return reply{}, err
	}
	all, err := a.service.Conferences(r.Context(), o)
	if err != nil {
		return reply{}, err
	}
	views := make([]sessionView, len(all))
	for i, c := range all {
		views[i] = viewSession(c)
	}
	return reply{http.StatusOK, struct {
		Result   int           `json:"result"`
		Sessions []sessionView `json:"sessions"`
	}{Sessions: views}}, nil
}
