package api

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/gobelin-broker/gobelin/broker"
)

// listRoutes are the listings from which pages learn view roots (product.md §5.3,
// T3).
var listRoutes = []route{
	{path: "/api/live/list", form: listForm, methods: map[string]handler{http.MethodGet: listLive}},
	{path: "/api/photo/list", form: listForm, methods: map[string]handler{http.MethodGet: listPhotos}},
}

// Bounds of a listing. Anybody may ask, and counting reads every object.
const (
	maxPageSize = 100    // objects on a page
	maxCounted  = 10_000 // objects that are counted and can be paged through
	maxScans    = 2      // listings of everything under way at once
)

// listForm is the form of /api: texts, also for numbers.
func listForm(e *broker.Error) any {
	code := map[int]string{
		4000: "invalid_parameters", 4001: "authentication_failed", 4003: "permission_denied", 4004: "not_found",
		4005: "invalid_method", 4029: "rate_limit_exceeded", 5003: "unavailable",
	}[e.Result]
	if code == "" {
		code = "internal_error"
	}
	return struct {
		Status          string `json:"status"`
		PermissionLevel string `json:"permission_level"`
		Code            string `json:"code"`
		Message         string `json:"message"`
		Cached          string `json:"cached"`
	}{"error", "anonymous", code, e.Text, "0"}
}

// listing is the part that both listings have in common.
type listing struct {
	Status          string      `json:"status"`
	PermissionLevel string      `json:"permission_level"`
	Cached          string      `json:"cached"`
	Live            *[]listView `json:"live,omitempty"`
	Photos          *[]listView `json:"photos,omitempty"`
	P               string      `json:"p"`
	Size            string      `json:"size"`
	TotalCount      string      `json:"total_count"`
}

// listView is one object of a listing; never with its control root.
type listView struct {
	LiveID          string `json:"live_id,omitempty"`
	PhotoID         string `json:"photo_id,omitempty"`
	Name            string `json:"name"`
	RealtimeURL     string `json:"realtime_url"`
	RealtimeChannel string `json:"realtime_channel"`
}

// listLive: GET /api/live/list?app=[&live_id=][&p=][&size=].
func listLive(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	return a.list(r, who, broker.TypeLive, "live_id")
}

// listPhotos: GET /api/photo/list, the same for videos.
func listPhotos(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	return a.list(r, who, broker.TypeVideo, "photo_id")
}

// list answers with a page of the objects of a type, or the one named by idParam.
func (a *api) list(r *http.Request, who *broker.Identity, kind, idParam string) (reply, error) {
	params := r.URL.Query()
	app, err := a.listedApp(params, who)
	if err != nil {
		return reply{}, err
	}
	page, err := positive(params, "p", 1, maxCounted)
	if err != nil {
		return reply{}, err
	}
	size, err := positive(params, "size", 20, maxPageSize)
	if err != nil {
		return reply{}, err
	}
	var shown []*broker.Object
	total := 0
	if id := params.Get(idParam); id != "" {
		shown, err = a.listOne(r, app, who, kind, id)
		total = len(shown)
	} else {
		shown, total, err = a.listPage(r, app, who, kind, (page-1)*size, size)
	}
	if err != nil {
		return reply{}, err
	}
	views := make([]listView, len(shown))
	for i, o := range shown {
		root, _ := a.service.Roots(o)
		views[i] = listView{Name: o.Name, RealtimeURL: a.realtimeURL(r), RealtimeChannel: root}
		if kind == broker.TypeLive {
			views[i].LiveID = o.ID
		} else {
			views[i].PhotoID = o.ID
		}
	}
	answer := listing{
		Status: "ok", PermissionLevel: permissionLevel(who), Cached: "0",
		P: strconv.Itoa(page), Size: strconv.Itoa(size), TotalCount: strconv.Itoa(total),
	}
	if kind == broker.TypeLive {
		answer.Live = &views
	} else {
		answer.Photos = &views
	}
	return reply{http.StatusOK, answer}, nil
}

// listedApp is the application whose objects are listed: the parameter's, or the
// credential's; where there are both they must be the same.
func (a *api) listedApp(params url.Values, who *broker.Identity) (*broker.Application, error) {
	name := params.Get("app")
	switch {
	case name == "" && who == nil:
		return nil, badRequest("the parameter app is required")
	case name == "":
		return who.App, nil
	case who != nil && who.App.Name != name:
		return nil, &broker.Error{Result: 4003, Text: "the credential is another application's"}
	}
	app := a.service.Application(name)
	if app == nil {
		return nil, &broker.Error{Result: 4004, Text: "no such application"}
	}
	if a.service.Suspended(app) {
		return nil, broker.ErrSuspended
	}
	return app, nil
}

// listOne returns the object of that id, if it is of that kind and may be seen.
// What may not be seen is not there.
func (a *api) listOne(r *http.Request, app *broker.Application, who *broker.Identity, kind, id string) ([]*broker.Object, error) {
	// Not Service.Object: asking from outside does not make an object.
	page, err := a.service.ListObjects(r.Context(), app, broker.ObjectQuery{ID: id, Type: kind, Limit: 1})
	if err != nil || len(page.Objects) == 0 || !seen(page.Objects[0], who) {
		return nil, err
	}
	return page.Objects, nil
}

// listPage walks an application's objects, and returns those of one page and how
// many there are, up to maxCounted.
func (a *api) listPage(r *http.Request, app *broker.Application, who *broker.Identity, kind string, skip, size int) ([]*broker.Object, int, error) {
	select {
	case a.scans <- struct{}{}:
		defer func() { <-a.scans }()
	case <-r.Context().Done():
		return nil, 0, r.Context().Err()
	}
	var shown []*broker.Object
	total := 0
	q := broker.ObjectQuery{Type: kind, Limit: 1000}
	for read := 0; read < maxCounted; {
		page, err := a.service.ListObjects(r.Context(), app, q)
		if err != nil {
			return nil, 0, err
		}
		for _, o := range page.Objects {
			if !seen(o, who) {
				continue
			}
			if total >= skip && len(shown) < size {
				shown = append(shown, o)
			}
			total++
		}
		if page.Next == "" {
			break
		}
		// A page may be empty and not the last: it cost as much as a full one.
		read += q.Limit
		q.After = page.Next
	}
	return shown, total, nil
}

// seen reports whether a caller may know of an object: a public one everybody,
// another who acts on it, and who has "read" in its application (product.md T3).
func seen(o *broker.Object, who *broker.Identity) bool {
	if who != nil && who.App.ID == o.App.ID && who.Role >= broker.RoleModerator {
		return true
	}
	return o.Public || who.LevelFor(o.App.ID, o.ID) >= broker.RoleViewer
}

// permissionLevel is a role in the listing's words (product.md §3).
func permissionLevel(who *broker.Identity) string {
	switch {
	case who == nil || who.Role <= broker.RoleViewer:
		return "anonymous"
	case who.Role <= broker.RoleBroadcaster:
		return "read"
	case who.Role == broker.RoleAdmin:
		return "write"
	}
	return "admin"
}

// positive reads a parameter that is a whole number from 1 to most.
func positive(params url.Values, name string, standard, most int) (int, error) {
	text := params.Get(name)
	if text == "" {
		return standard, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, badRequest("%s must be 1 to %d", name, most)
	}
	return n, nil
}
