package api

import (
	"net/http"

	"github.com/gobelin-broker/gobelin/broker"
)

// presenceRoutes say who listens to an object (decided.md 26).
var presenceRoutes = []route{
	{path: "/v1/objects/{id}/presence", form: v1Form, methods: map[string]handler{http.MethodGet: objectPresence}},
}

// objectPresence: GET /v1/objects/{id}/presence, for who may subscribe to /presence:
// from broadcaster up, or from viewer up where presence.public is set. members is
// there only while they are few enough to be named.
func objectPresence(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	id := r.PathValue("id")
	if err := atLeast(broker.RoleViewer, who, id); err != nil {
		return reply{}, err
	}
	p, err := a.service.Presence(r.Context(), who, id)
	if err != nil {
		return reply{}, err
	}
	answer := struct {
		Result  int              `json:"result"`
		Count   int              `json:"count"`
		Members *[]broker.Member `json:"members,omitempty"`
	}{Count: p.Count}
	if p.Members != nil {
		answer.Members = &p.Members
	}
	return reply{http.StatusOK, answer}, nil
}
