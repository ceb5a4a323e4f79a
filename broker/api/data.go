package api

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/catchup"
)

// dataRoutes are the shared documents (product.md §5.2, §7).
var dataRoutes = []route{
	{path: "/v1/data/{scope}", form: v1Form, methods: map[string]handler{
		http.MethodGet: getData, http.MethodPost: changeData, http.MethodPut: changeData, http.MethodDelete: changeData,
	}},
}

// dataView is a document as callers see it (product.md E8). A read in scope user has no
// version in its body; the header ETag has it in every answer.
type dataView struct {
	Result   int             `json:"result"`
	ClientID string          `json:"clientId"`
	Name     string          `json:"name"`
	UserRef  string          `json:"user_ref"`
	Role     string          `json:"role"`
	Data     json.RawMessage `json:"data,omitempty"`
	ConfNum  string          `json:"conf_num,omitempty"`
	Version  *uint64         `json:"version,omitempty"`
	Sessions *[]sessionView  `json:"sessions,omitempty"`
	// Truncated: older sessions were left out.
	Truncated bool `json:"truncated,omitempty"`
}

func viewData(d broker.Data) dataView {
	v := dataView{ClientID: d.ClientID, Name: d.Name, UserRef: d.UserRef, Role: d.Role, Data: d.Object, ConfNum: d.ConfNum, Truncated: d.Truncated}
	if d.Sessions != nil {
		all := make([]sessionView, len(d.Sessions))
		for i, s := range d.Sessions {
			all[i] = viewSession(s.Conference)
			all[i].Data = s.Object
		}
		v.Sessions = &all
	}
	return v
}

// getData: GET /v1/data/{scope}?user_ref=&session=&conf_num=.
func getData(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	q, err := dataQuery(r, who)
	if err != nil {
		return reply{}, err
	}
	d, err := a.service.Data(r.Context(), who, q)
	if err != nil {
		return reply{}, err
	}
	v := viewData(d)
	if d.Sessions != nil {
		return reply{http.StatusOK, v}, nil
	}
	if q.Scope != "user" {
		v.Version = &d.Version
	}
	return reply{http.StatusOK, versioned{d.Version, v}}, nil
}

// changeData: POST merges, PUT replaces, DELETE clears; the answer holds the whole
// document and its version (product.md E15, E16).
func changeData(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	q, err := dataQuery(r, who)
	if err != nil {
		return reply{}, err
	}
	ifVersion, err := ifMatch(r)
	if err != nil {
		return reply{}, err
	}
	var body []byte
	kind := catchup.Clearing
	if r.Method != http.MethodDelete {
		if kind = catchup.Merging; r.Method == http.MethodPut {
			kind = catchup.Replacing
		}
		if body, err = a.readBody(r); err != nil {
			return reply{}, err
		}
	}
	if err := a.chargePublish(r, who, 1); err != nil {
		return reply{}, err
	}
	d, err := a.service.ChangeData(r.Context(), who, q, kind, body, ifVersion)
	if err != nil {
		return reply{}, err
	}
	v := viewData(d)
	v.Version = &d.Version
	return reply{http.StatusOK, versioned{d.Version, v}}, nil
}

// dataQuery reads what a request is about. Who asks is in the credential alone.
func dataQuery(r *http.Request, who *broker.Identity) (broker.DataQuery, error) {
	if who == nil {
		return broker.DataQuery{}, &broker.Error{Result: 4001, Text: "unauthorized: a token or the server key is required"}
	}
	q := broker.DataQuery{Scope: r.PathValue("scope")}
	params := r.URL.Query()
	for name, dst := range map[string]*string{
		"object_id": &q.ObjectID, "user_ref": &q.UserRef, "session": &q.Session, "conf_num": &q.ConfNum, "client_id": &q.ClientID,
	} {
		if len(params[name]) > 1 {
			return q, &broker.Error{Result: 4022, Text: name + " is there twice"}
		}
		*dst = params.Get(name)
	}
	return q, nil
}

// ifMatch reads the version of an If-Match header: 7 or "7"; nil without one.
func ifMatch(r *http.Request) (*uint64, error) {
	all := r.Header.Values("If-Match")
	if len(all) == 0 {
		return nil, nil
	}
	text := all[0]
	if len(text) >= 2 && strings.HasPrefix(text, `"`) && strings.HasSuffix(text, `"`) {
		text = text[1 : len(text)-1]
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || len(all) > 1 || strconv.FormatUint(n, 10) != text {
		return nil, badRequest("If-Match must be the version of a document, such as 7; 0 for one that nobody has written yet")
	}
	return &n, nil
}
