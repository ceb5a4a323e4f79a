package api

import (
	"bytes"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gobelin-broker/gobelin/broker"
)

// historyRoutes are the histories of channels (decided.md 25).
var historyRoutes = []route{
	{path: "/v1/objects/{id}/history", form: v1Form, methods: map[string]handler{http.MethodGet: objectHistory}},
	{path: "/v1/history", form: v1Form, methods: map[string]handler{http.MethodGet: openHistory}},
}

// truncatedHeader says of lines what "truncated" says of a page.
const truncatedHeader = "Gobelin-Truncated"

// objectHistory: GET /v1/objects/{id}/history?channel=&since=|after=|before=&limit=,
// with the rights of a catch-up: from viewer up for the own object, more for the
// channels that need it.
func objectHistory(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	id := r.PathValue("id")
	if err := atLeast(broker.RoleViewer, who, id); err != nil {
		return reply{}, err
	}
	if id == "" {
		return reply{}, broker.ErrNoObject
	}
	return a.history(r, who, id)
}

// openHistory: GET /v1/history?channel=…, the same for an open channel, to anybody.
func openHistory(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	return a.history(r, who, "")
}

func (a *api) history(r *http.Request, who *broker.Identity, id string) (reply, error) {
	q, asLines, err := historyQuery(r)
	if err != nil {
		return reply{}, err
	}
	q.ObjectID = id
	whole := q.Limit == 0
	if whole {
		q.Limit = 100
	}
	if asLines && whole {
		return reply{http.StatusOK, lines{bare: r.Method == http.MethodHead, each: func(head http.Header, yield func([]byte) error) error {
			return a.service.WalkHistory(r.Context(), who, q, func(p broker.HistoryPage) error {
				head.Set(truncatedHeader, strconv.FormatBool(p.Truncated))
				return yield(historyLines(p.Messages))
			})
		}}}, nil
	}
	page, err := a.service.History(r.Context(), who, q)
	if err != nil {
		return reply{}, err
	}
	if asLines {
		return reply{http.StatusOK, lines{bare: r.Method == http.MethodHead, each: func(head http.Header, yield func([]byte) error) error {
			head.Set(truncatedHeader, strconv.FormatBool(page.Truncated))
			return yield(historyLines(page.Messages))
		}}}, nil
	}
	return reply{http.StatusOK, historyPage(page)}, nil
}

// historyQuery reads the parameters; a name that is not known is refused, for
// "sicne" would quietly be another question. Limit 0: none was given.
func historyQuery(r *http.Request) (q broker.HistoryQuery, asLines bool, err error) {
	params, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return q, false, badRequest("the query is malformed")
	}
	known := []string{"channel", "since", "after", "before", "limit", "format"}
	for name, values := range params {
		switch {
		case !slices.Contains(known, name):
			return q, false, badRequest("unknown parameter %q; there are %s", clip(name), strings.Join(known, ", "))
		case len(values) > 1:
			return q, false, badRequest("%s is there twice", name)
		case values[0] == "":
			return q, false, badRequest("%s must not be empty", name)
		}
	}
	q = broker.HistoryQuery{Channel: params.Get("channel"), Since: params.Get("since"), After: params.Get("after"), Before: params.Get("before")}
	if q.Channel == "" {
		return q, false, badRequest("channel is required")
	}
	if len(params["since"])+len(params["after"])+len(params["before"]) > 1 {
		return q, false, badRequest("only one of since, after and before can be given")
	}
	if params.Has("limit") {
		if q.Limit, err = strconv.Atoi(params.Get("limit")); err != nil || q.Limit < 1 || q.Limit > 1000 {
			return q, false, badRequest("limit must be 1 to 1000")
		}
	}
	switch params.Get("format") {
	case "":
		asLines = wantsLines(r.Header.Values("Accept"))
	case "ndjson":
		asLines = true
	case "json":
	default:
		return q, false, badRequest("format must be json or ndjson")
	}
	return q, asLines, nil
}

// wantsLines reports whether an Accept names the type of lines.
func wantsLines(accept []string) bool {
	for _, part := range strings.Split(strings.Join(accept, ","), ",") {
		if kind, params, err := mime.ParseMediaType(part); err == nil && kind == "application/x-ndjson" && params["q"] != "0" {
			return true
		}
	}
	return false
}

// historyPage writes a page. Data stays what was published, byte for byte.
func historyPage(p broker.HistoryPage) encoded {
	b := append(make([]byte, 0, p.Size()), `{"result":0,`...)
	return append(p.AppendMembers(b), '}', '\n')
}

// historyLines writes messages, each on its line. A line break in data stands
// between two tokens, and becomes a space.
func historyLines(messages []broker.HistoryMessage) []byte {
	b := make([]byte, 0, broker.HistoryPage{Messages: messages}.Size())
	for _, m := range messages {
		m.Data, m.Ext = onLine(m.Data), onLine(m.Ext)
		b = append(m.AppendJSON(b), '\n')
	}
	return b
}

// onLine returns JSON on one line; it does not change b.
func onLine(b []byte) []byte {
	if !bytes.ContainsAny(b, "\r\n") {
		return b
	}
	return bytes.ReplaceAll(bytes.ReplaceAll(b, []byte{'\r'}, []byte{' '}), []byte{'\n'}, []byte{' '})
}
