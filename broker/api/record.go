package api

import (
	"bytes"
	"net/http"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/broker/exact"
)

// recordRoutes take records into an account's log (product.md V8, V10).
var recordRoutes = []route{
	{path: "/v1/records", form: v1Form, signed: true, methods: map[string]handler{http.MethodPost: postRecords}},
}

// recordView is a record that was taken.
type recordView struct {
	ID   string `json:"id,omitempty"` // of data
	Time int64  `json:"time"`
}

// postRecords: POST /v1/records, a record, or an array of records of which all are taken
// or none.
func postRecords(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	if err := atLeast(broker.RoleServer, who, ""); err != nil {
		return reply{}, err
	}
	body, err := a.readBody(r)
	if err != nil {
		return reply{}, err
	}
	all, several, err := a.recordBodies(body)
	if err != nil {
		return reply{}, err
	}
	if err := a.chargePublish(r, who, len(all)); err != nil {
		return reply{}, err
	}
	posts := make([]broker.RecordPost, len(all))
	key, err := a.idempotencyKey(r, who, "", "/v1/records", body)
	if err != nil {
		return reply{}, err
	}
	for i, text := range all {
		posts[i].Data = text
		if key != "" {
			posts[i].Nonce = broker.PublicationNonce(who.App.ID, "/v1/records\x00"+key, i)
		}
	}
	taken, err := a.service.PostRecords(r.Context(), who, posts)
	if err != nil {
		return reply{}, err
	}
	views := make([]recordView, len(taken))
	for i, t := range taken {
		views[i] = recordView(t)
	}
	if several {
		return reply{http.StatusCreated, struct {
			Result  int          `json:"result"`
			Records []recordView `json:"records"`
		}{Records: views}}, nil
	}
	return reply{http.StatusCreated, struct {
		Result int `json:"result"`
		recordView
	}{recordView: views[0]}}, nil
}

// recordBodies takes the records from a body; several says that it is an array.
func (a *api) recordBodies(body []byte) (all [][]byte, several bool, err error) {
	text := bytes.Trim(body, " \t\r\n")
	if len(text) == 0 || text[0] != '[' {
		return [][]byte{text}, false, nil // the broker says what is wrong with it
	}
	if err := exact.Check(text, a.Depth+1); err != nil {
		return nil, false, a.bodyError("body", err)
	}
	all, err = exact.Elements(text, a.Batch)
	if err != nil || len(all) == 0 {
		return nil, false, badRequest("an array must be of 1 to %d records", a.Batch)
	}
	return all, true, nil
}
