package api

import (
	"bytes"
	"net/http"
	"slices"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/broker/exact"
)

// Bounds of one query.
const (
	maxQueryApps = 100
	maxQueryURLs = 100  // patterns, as broker.ParseURLPattern has it
	rowsAPart    = 1000 // that are encoded before they are written
)

// viewerQuery is viewer.log: who asks for what.
type viewerQuery struct {
	broker.ViewerQuery
	account *broker.Account
}

// viewerLog answers the command viewer.log (product.md §5.5, S6-S13).
func (a *api) viewerLog(r *http.Request, body *broker.SignedBody) (reply, error) {
	q, err := a.readViewerQuery(body)
	if err != nil {
		return reply{}, err
	}
	start := time.Now()
	return reply{http.StatusOK, lines{
		contentType: "application/json; charset=utf-8",
		each: func(_ http.Header, yield func([]byte) error) error {
			turn := hashKey("k", q.account.APIKey)
			if !a.queries.take(turn) {
				return &broker.Error{Result: 4029, Text: "too many queries of this account at once; wait for the answer of another"}
			}
			defer a.queries.give(turn)
			rows, err := a.service.ViewerLog(r.Context(), q.ViewerQuery)
			if err != nil {
				return err
			}
			return writeRows(rows, q.Extended, start, yield)
		},
	}}, nil
}

// writeRows writes the answer part by part.
func writeRows(rows []broker.ViewerLogRow, extended bool, start time.Time, yield func([]byte) error) error {
	message := "Found viewers"
	if len(rows) == 0 {
		message = "No viewers found"
	}
	var part bytes.Buffer
	part.WriteString(`{"message":"` + message + `","status":"success","data":[`)
	for i, row := range rows {
		text, err := row.JSON(extended)
		if err != nil {
			return err
		}
		if i > 0 {
			part.WriteByte(',')
		}
		part.Write(text)
		if (i+1)%rowsAPart == 0 {
			if err := yield(part.Bytes()); err != nil {
				return err
			}
			part.Reset()
		}
	}
	part.WriteString(`],"handle_time":"` + handleTime(time.Since(start)) + `"}`)
	return yield(part.Bytes())
}

// readViewerQuery reads the fields; those it does not know do not count, as clients of
// the source send more.
func (a *api) readViewerQuery(body *broker.SignedBody) (q viewerQuery, err error) {
	q.account = body.Account
	if names := missing(body, "app", "graph"); names != "" {
		return q, fail(codeMissing, "required fields are missing: %s", names)
	}
	number, err := broker.WholeNumber(body.Member("graph"))
	graph, there := broker.ViewerGraphs[number]
	if err != nil || !there {
		return q, fail(codeGraph, "invalid graph: must be 1 (6 hours by minute), 2 (24 hours by minute), 3 (7 days by hour) or 4 (30 days by day)")
	}
	q.Graph = graph
	if v := body.Member("starttime"); v != nil && !exact.IsNull(v) {
		if q.Start, there = readViewerTime(v); !there {
			return q, fail(codeStart, "invalid starttime: must be YYYY-MM-DD HH:MM:SS, YYYY-MM-DD or whole seconds since 1970, all UTC")
		}
	}
	if q.Apps, err = a.queriedApps(body); err != nil {
		return q, err
	}
	if q.URLs, err = readURLPattern(body.Member("url")); err != nil {
		return q, err
	}
	for name, dst := range map[string]*bool{"extended": &q.Extended, "fill": &q.Fill} {
		if v := body.Member(name); v != nil {
			if *dst, err = exact.Bool(v); err != nil {
				return q, fail(codeField, "%s must be true or false", name)
			}
		}
	}
	return q, nil
}

// queriedApps reads app: a name, a number, or a list of these, of the account's own.
func (a *api) queriedApps(body *broker.SignedBody) ([]*broker.Application, error) {
	value := body.Member("app")
	list := [][]byte{value}
	if value[0] == '[' {
		var err error
		if list, err = exact.Elements(value, maxQueryApps); err != nil || len(list) == 0 {
			return nil, fail(codeField, "app must be a name, a number, or a list of 1 to %d of them", maxQueryApps)
		}
	}
	var apps []*broker.Application
	for _, v := range list {
		app := applicationOf(body.Account, v)
		if app == nil {
			return nil, fail(codeApp, "unknown application: %s is none of this account", clip(string(v)))
		}
		if a.service.Suspended(app) {
			return nil, fail(codeApp, "%s: %s", app.Name, broker.ErrSuspended.Text)
		}
		if !slices.Contains(apps, app) {
			apps = append(apps, app)
		}
	}
	return apps, nil
}

// applicationOf finds an application of an account by its name or its number.
func applicationOf(account *broker.Account, value []byte) *broker.Application {
	name, err := exact.Text(value)
	number, notNumber := exact.Int(value)
	for i := range account.Apps {
		app := &account.Apps[i]
		if err == nil && app.Name == name || notNumber == nil && int64(app.ID) == number {
			return app
		}
	}
	return nil
}

// readURLPattern reads url: a text, or a list of them, of which any may match.
func readURLPattern(value []byte) (broker.URLPattern, error) {
	if value == nil || exact.IsNull(value) {
		return broker.URLPattern{}, nil
	}
	list := [][]byte{value}
	if value[0] == '[' {
		var err error
		if list, err = exact.Elements(value, maxQueryURLs); err != nil || len(list) == 0 {
			return broker.URLPattern{}, fail(codeField, "url must be a text, or a list of 1 to %d of them", maxQueryURLs)
		}
	}
	texts := make([]string, len(list))
	for i, v := range list {
		text, err := exact.Text(v)
		if err != nil {
			return broker.URLPattern{}, fail(codeField, "url must be a text, or a list of 1 to %d of them", maxQueryURLs)
		}
		texts[i] = text
	}
	pattern, err := broker.ParseURLPattern(texts)
	if err != nil {
		return broker.URLPattern{}, fail(codeField, "url: at most %d alternatives, each at most 1024 bytes", maxQueryURLs)
	}
	return pattern, nil
}

// readViewerTime reads a time of viewer statistics (S9), in UTC: to the second, a day's
// beginning, or seconds since 1970, which may be a text, too. There is one spelling of
// each: time.Parse also takes parts of seconds.
func readViewerTime(value []byte) (at time.Time, ok bool) {
	if n, err := broker.WholeNumber(value); err == nil {
		return time.Unix(n, 0).UTC(), n >= 0 && n < maxViewerTime
	}
	text, err := exact.Text(value)
	if err != nil {
		return time.Time{}, false
	}
	for _, layout := range []string{broker.ViewerTime, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil && at.Format(layout) == text {
			return at, at.Unix() >= 0
		}
	}
	return time.Time{}, false
}

// maxViewerTime is the year 10,000 in seconds since 1970.
const maxViewerTime = 253402300800
