package api

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/catchup"
)

// liveRoutes are what a dashboard asks of a live event (product.md §5.3, T11, T12).
var liveRoutes = []route{
	{path: "/api/live/realtime", form: listForm, methods: map[string]handler{http.MethodGet: liveRealtime}},
	{path: "/api/live/log", form: listForm, methods: map[string]handler{http.MethodGet: liveLog}},
}

// Bounds of a question for the log.
const (
	maxEventTypes  = 100
	maxUnixSeconds = 1 << 40
	maxConcatenate = 30 * 24 * 60 * 60 // seconds: longer than what is kept
)

// liveRealtime: GET /api/live/realtime?live_id=, the control root, from admin up.
func liveRealtime(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	o, err := a.liveObject(r, who, broker.RoleAdmin)
	if err != nil {
		return reply{}, err
	}
	_, control := a.service.Roots(o)
	return reply{http.StatusOK, struct {
		Status          string `json:"status"`
		PermissionLevel string `json:"permission_level"`
		Cached          string `json:"cached"`
		LiveID          string `json:"live_id"`
		RealtimeURL     string `json:"realtime_url"`
		RealtimeChannel string `json:"realtime_channel"`
	}{"ok", permissionLevel(who), "0", o.ID, a.realtimeURL(r), control}}, nil
}

// logView is one entry of the log: texts, also for numbers.
type logView struct {
	LiveID    string `json:"live_id"`
	Event     string `json:"event"`
	StartTime string `json:"start_time"`
	EndTime   string `json:"end_time"`
}

// liveLog: GET /api/live/log?live_id=[&start_time=][&end_time=][&event_types=]
// [&concatenate_seconds=], for the own event from moderator up ("read").
func liveLog(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	o, err := a.liveObject(r, who, broker.RoleModerator)
	if err != nil {
		return reply{}, err
	}
	w, err := logWindow(r.URL.Query())
	if err != nil {
		return reply{}, err
	}
	spans, truncated, err := a.service.EventLog(r.Context(), o.App, o.ID, w)
	if err != nil {
		return reply{}, err
	}
	answer := struct {
		Status          string    `json:"status"`
		PermissionLevel string    `json:"permission_level"`
		Cached          string    `json:"cached"`
		OneLog          []logView `json:"onelog"`
		RealtimeChannel string    `json:"realtime_channel"`
		TotalCount      string    `json:"total_count"`
		Truncated       string    `json:"truncated_p"`
	}{Status: "ok", PermissionLevel: permissionLevel(who), Cached: "0", OneLog: make([]logView, len(spans)), TotalCount: strconv.Itoa(len(spans)), Truncated: "0"}
	if truncated {
		answer.Truncated = "1"
	}
	for i, s := range spans {
		answer.OneLog[i] = logView{LiveID: o.ID, Event: s.Event, StartTime: strconv.FormatInt(s.Start, 10), EndTime: strconv.FormatInt(s.End, 10)}
		if s.Open {
			answer.OneLog[i].EndTime = ""
		}
		if s.Old {
			answer.OneLog[i].StartTime = ""
		}
	}
	// The control root makes its holder a broadcaster: a moderator reads the log only.
	if who.LevelFor(o.App.ID, o.ID) >= broker.RoleBroadcaster {
		_, control := a.service.Roots(o)
		answer.RealtimeChannel = control + "/events"
	}
	return reply{http.StatusOK, answer}, nil
}

// liveObject returns the live event that a question is about, for callers of a level
// on it.
func (a *api) liveObject(r *http.Request, who *broker.Identity, level broker.Role) (*broker.Object, error) {
	id := r.URL.Query().Get("live_id")
	if id == "" {
		return nil, badRequest("the parameter live_id is required")
	}
	if err := atLeast(level, who, id); err != nil {
		return nil, err
	}
	// Not Service.Object: asking does not make an object.
	page, err := a.service.ListObjects(r.Context(), who.App, broker.ObjectQuery{ID: id, Type: broker.TypeLive, Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(page.Objects) == 0 {
		return nil, broker.ErrNoObject
	}
	return page.Objects[0], nil
}

// logWindow reads the parameters of liveLog.
func logWindow(params url.Values) (w catchup.Window, err error) {
	number := func(name string, most int64) (n int64, there bool) {
		text := params.Get(name)
		if text == "" || err != nil {
			return 0, false
		}
		n, bad := strconv.ParseInt(text, 10, 64)
		if bad != nil || n < 0 || n > most {
			err = badRequest("%s must be a whole number of seconds, 0 to %d", name, most)
			return 0, false
		}
		return n, true
	}
	if s, there := number("start_time", maxUnixSeconds); there {
		w.From = time.Unix(s, 0)
	}
	if s, there := number("end_time", maxUnixSeconds); there {
		w.Until = time.Unix(s, 0)
	}
	if s, there := number("concatenate_seconds", maxConcatenate); there {
		w.Join = time.Duration(s) * time.Second
	}
	w.Events = strings.Fields(params.Get("event_types"))
	switch {
	case err != nil:
	case len(w.Events) > maxEventTypes:
		err = badRequest("event_types must be at most %d names", maxEventTypes)
	case !w.From.IsZero() && !w.Until.IsZero() && w.Until.Before(w.From):
		err = badRequest("end_time must not be before start_time")
	}
	return w, err
}
