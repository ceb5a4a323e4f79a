package api

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/broker/exact"
)

// objectRoutes are the objects (product.md §9, first rows).
var objectRoutes = []route{
	{path: "/v1/objects", form: v1Form, methods: map[string]handler{
		http.MethodPost: createObject, http.MethodGet: listObjects,
	}, audit: audited{http.MethodPost: "object.create"}},
	{path: "/v1/objects/{id}", form: v1Form, methods: map[string]handler{
		http.MethodGet: getObject, http.MethodPatch: patchObject, http.MethodDelete: deleteObject,
	}, audit: audited{http.MethodPatch: "object.change", http.MethodDelete: "object.delete"}},
	{path: "/v1/objects/{id}/reset-token", form: v1Form, methods: map[string]handler{
		http.MethodPost: resetObject,
	}, audit: audited{http.MethodPost: "object.reset"}},
	{path: "/v1/objects/{id}/roots", form: v1Form, methods: map[string]handler{
		http.MethodGet: objectRoots,
	}, audit: audited{http.MethodGet: "object.roots"}},
}

// objectView is an object as callers see it.
type objectView struct {
	ObjectID               string `json:"object_id"`
	ObjectType             string `json:"object_type"`
	Name                   string `json:"name"`
	OwnerRef               string `json:"owner_ref"`
	URL                    string `json:"url"`
	Public                 bool   `json:"public"`
	RealtimeURL            string `json:"realtime_url"`
	RealtimeChannel        string `json:"realtime_channel"`
	RealtimeControlChannel string `json:"realtime_control_channel,omitempty"`
}

// view shows an object to a caller; the control root only from admin up.
func (a *api) view(r *http.Request, who *broker.Identity, o *broker.Object) objectView {
	root, control := a.service.Roots(o)
	v := objectView{
		ObjectID: o.ID, ObjectType: o.Type, Name: o.Name, OwnerRef: o.OwnerRef, URL: o.URL, Public: o.Public,
		RealtimeURL: a.realtimeURL(r), RealtimeChannel: root,
	}
	if who.LevelFor(o.App.ID, o.ID) >= broker.RoleAdmin {
		v.RealtimeControlChannel = control
	}
	return v
}

// objectReply answers with one object.
func (a *api) objectReply(r *http.Request, who *broker.Identity, status int, o *broker.Object) reply {
	return reply{status, struct {
		Result int        `json:"result"`
		Object objectView `json:"object"`
	}{Object: a.view(r, who, o)}}
}

// realtimeURL is where Bayeux clients connect.
func (a *api) realtimeURL(r *http.Request) string {
	if a.RealtimeURL != "" {
		return a.RealtimeURL
	}
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	return scheme + r.Host + a.Mount
}

// createObject: POST /v1/objects. 201 for a new object; 200 for one that is there
// and the same, so that a retry is harmless; 409 for one that is there and another.
func createObject(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	if err := atLeast(broker.RoleAdmin, who, ""); err != nil {
		return reply{}, err
	}
	body, err := a.readBody(r)
	if err != nil {
		return reply{}, err
	}
	f, err := a.object(body, []string{"object_id", "type", "object_type", "name", "owner_ref", "url", "public"}, nil)
	if err != nil {
		return reply{}, err
	}
	var spec broker.ObjectSpec
	var other string
	if err := f.texts(map[string]*string{
		"object_id": &spec.ID, "type": &spec.Type, "object_type": &other,
		"name": &spec.Name, "owner_ref": &spec.OwnerRef, "url": &spec.URL,
	}); err != nil {
		return reply{}, err
	}
	if f.get("object_id") != nil && spec.ID == "" {
		return reply{}, badRequest("object_id must not be empty; leave it out to be given one")
	}
	if spec.Type != "" && other != "" && spec.Type != other {
		return reply{}, badRequest("type and object_type are the same field and differ")
	}
	if spec.Type == "" {
		spec.Type = other
	}
	if raw := f.get("public"); raw != nil {
		public, err := exact.Bool(raw)
		if err != nil {
			return reply{}, badRequest("public must be true or false")
		}
		spec.Private = !public
	}
	o, created, err := a.service.CreateObject(r.Context(), who.App, spec)
	if err != nil {
		return reply{}, err
	}
	if created {
		return a.objectReply(r, who, http.StatusCreated, o), nil
	}
	return a.objectReply(r, who, http.StatusOK, o), nil
}

// getObject: GET /v1/objects/{id}, for the own object from viewer up.
func getObject(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	id := r.PathValue("id")
	if err := atLeast(broker.RoleViewer, who, id); err != nil {
		return reply{}, err
	}
	o, err := a.service.Object(r.Context(), who.App, id)
	if err != nil {
		return reply{}, err
	}
	return a.objectReply(r, who, http.StatusOK, o), nil
}

// patchObject: PATCH /v1/objects/{id} with a merge patch (RFC 7396): null is the
// value a new object has.
func patchObject(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	if err := atLeast(broker.RoleAdmin, who, ""); err != nil {
		return reply{}, err
	}
	body, err := a.readBody(r)
	if err != nil {
		return reply{}, err
	}
	f, err := a.object(body, []string{"name", "owner_ref", "url", "public"}, nil)
	if err != nil {
		return reply{}, err
	}
	var patch broker.ObjectPatch
	for name, dst := range map[string]**string{"name": &patch.Name, "owner_ref": &patch.OwnerRef, "url": &patch.URL} {
		if exact.IsNull(f.get(name)) {
			*dst = new(string)
			continue
		}
		s, there, err := f.text(name)
		if err != nil {
			return reply{}, err
		}
		if there {
			*dst = &s
		}
	}
	if raw := f.get("public"); raw != nil {
		public, err := exact.Bool(raw)
		switch {
		case exact.IsNull(raw):
			public = true
		case err != nil:
			return reply{}, badRequest("public must be true, false or null")
		}
		patch.Public = &public
	}
	o, err := a.service.PatchObject(r.Context(), who.App, r.PathValue("id"), patch)
	if err != nil {
		return reply{}, err
	}
	return a.objectReply(r, who, http.StatusOK, o), nil
}

// deleteObject: DELETE /v1/objects/{id}.
func deleteObject(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	if err := atLeast(broker.RoleAdmin, who, ""); err != nil {
		return reply{}, err
	}
	if err := a.service.DeleteObject(r.Context(), who.App, r.PathValue("id")); err != nil {
		return reply{}, err
	}
	return done, nil
}

// rootView is one root of an object.
type rootView struct {
	Class           string `json:"class"`
	RealtimeChannel string `json:"realtime_channel"`
	// ExpiresAt is when the root stops working, in seconds since 1970; 0: never.
	ExpiresAt int64 `json:"expires_at"`
}

// objectRoots: GET /v1/objects/{id}/roots[?class=], the roots of every class, or of
// one, from admin up (security.md §1.4).
func objectRoots(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	if err := atLeast(broker.RoleAdmin, who, ""); err != nil {
		return reply{}, err
	}
	o, err := a.service.Object(r.Context(), who.App, r.PathValue("id"))
	if err != nil {
		return reply{}, err
	}
	class := r.URL.Query().Get("class")
	views, names := []rootView{}, []string{}
	for _, root := range a.service.RootsByClass(o) {
		names = append(names, root.Class)
		if class != "" && class != root.Class {
			continue
		}
		v := rootView{Class: root.Class, RealtimeChannel: root.Channel}
		if !root.Expires.IsZero() {
			v.ExpiresAt = root.Expires.Unix()
		}
		views = append(views, v)
	}
	if len(views) == 0 {
		return reply{}, badRequest("class must be one of %s", strings.Join(names, ", "))
	}
	return reply{http.StatusOK, struct {
		Result int        `json:"result"`
		Roots  []rootView `json:"roots"`
	}{Roots: views}}, nil
}

// resetObject: POST /v1/objects/{id}/reset-token {"grace_minutes"} (product.md
// T15). Without grace the old roots end at once.
func resetObject(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	if err := atLeast(broker.RoleAdmin, who, ""); err != nil {
		return reply{}, err
	}
	body, err := a.readBody(r)
	if err != nil {
		return reply{}, err
	}
	var minutes int64
	if len(body) > 0 {
		f, err := a.object(body, []string{"grace_minutes"}, nil)
		if err != nil {
			return reply{}, err
		}
		if raw := f.get("grace_minutes"); raw != nil {
			if minutes, err = exact.Int(raw); err != nil || minutes < 0 || minutes > 1<<31 {
				return reply{}, badRequest("grace_minutes must be a whole number, 0 or more")
			}
		}
	}
	o, err := a.service.ResetObject(r.Context(), who.App, r.PathValue("id"), time.Duration(minutes)*time.Minute)
	if err != nil {
		return reply{}, err
	}
	return a.objectReply(r, who, http.StatusOK, o), nil
}

// listObjects: GET /v1/objects?limit=&type=&cursor=. The answer's cursor is "" on
// the last page.
func listObjects(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	if err := atLeast(broker.RoleAdmin, who, ""); err != nil {
		return reply{}, err
	}
	q, err := objectQuery(r)
	if err != nil {
		return reply{}, err
	}
	page, err := a.service.ListObjects(r.Context(), who.App, q)
	if err != nil {
		return reply{}, err
	}
	answer := struct {
		Result  int          `json:"result"`
		Objects []objectView `json:"objects"`
		Cursor  string       `json:"cursor"`
	}{Objects: []objectView{}, Cursor: base64.RawURLEncoding.EncodeToString([]byte(page.Next))}
	for _, o := range page.Objects {
		answer.Objects = append(answer.Objects, a.view(r, who, o))
	}
	return reply{http.StatusOK, answer}, nil
}

// objectQuery reads the parameters of listObjects.
func objectQuery(r *http.Request) (broker.ObjectQuery, error) {
	params := r.URL.Query()
	q := broker.ObjectQuery{Type: params.Get("type"), Limit: 100}
	if q.Type != "" && q.Type != broker.TypeLive && q.Type != broker.TypeVideo {
		return q, badRequest(`type must be "live" or "video"`)
	}
	if text := params.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1000 {
			return q, badRequest("limit must be 1 to 1000")
		}
		q.Limit = n
	}
	after, err := base64.RawURLEncoding.DecodeString(params.Get("cursor"))
	if err != nil || len(after) > 200 {
		return q, badRequest("cursor must be one that an earlier page gave")
	}
	q.After = string(after)
	return q, nil
}
