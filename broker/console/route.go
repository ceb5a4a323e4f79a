package console

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
)

// Bounds of what is asked here.
const (
	maxBody   = 64 << 10
	maxText   = 1024
	askedFor  = 10 * time.Second // the longest an answer may take
	longToken = 24 * time.Hour
)

// route is a path below root with what answers there.
type route struct {
	method string
	params []string // of the query, that are known
	serve  func(ctx context.Context, c *Console, a asked) (any, error)
	action string // in the audit log, of what changes something or makes a credential
}

func (rt route) allow() string {
	if rt.method == http.MethodGet {
		return "GET, HEAD"
	}
	return rt.method
}

// routes are all that is answered with JSON; doc.go describes each.
var routes = map[string]route{
	"overview":      {method: http.MethodGet, params: []string{"since"}, serve: overview},
	"channels":      {method: http.MethodGet, params: []string{"search", "limit"}, serve: listChannels},
	"channel":       {method: http.MethodGet, params: []string{"app", "object", "channel"}, serve: getChannel},
	"density":       {method: http.MethodGet, params: []string{"app", "object", "channel", "from", "to", "parts"}, serve: density},
	"sessions":      {method: http.MethodGet, params: []string{"search", "after", "limit", "everywhere", "slowest"}, serve: listSessions},
	"session":       {method: http.MethodGet, params: []string{"id"}, serve: getSession},
	"session/end":   {method: http.MethodPost, serve: endSession, action: "session.end"},
	"viewers":       {method: http.MethodGet, params: []string{"app", "object", "graph"}, serve: viewers},
	"accumulations": {method: http.MethodGet, params: []string{"app", "object"}, serve: accumulations},
	"streams":       {method: http.MethodGet, serve: streams},
	"token":         {method: http.MethodPost, serve: makeToken, action: "token.make"},
	"token/check":   {method: http.MethodPost, serve: checkToken},
	"root/check":    {method: http.MethodPost, serve: checkRoot},
	"drain":         {method: http.MethodPost, serve: drain, action: "node.drain"},
}

// asked is a request to a route: its parameters, each once and known, and its body.
type asked struct {
	url.Values
	body io.Reader
}

func badRequest(text string) error { return &broker.Error{Result: 4000, Text: text} }

// asked reads the parameters; a name that is not known is refused, for it would quietly
// be another question.
func (rt route) asked(r *http.Request) (asked, error) {
	known := rt.params
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return asked{}, badRequest("the query is malformed")
	}
	for name, all := range values {
		switch {
		case !slices.Contains(known, name):
			return asked{}, badRequest("unknown parameter; there are: " + strings.Join(known, ", "))
		case len(all) > 1:
			return asked{}, badRequest(name + " is there twice")
		case len(all[0]) > maxText:
			return asked{}, badRequest(name + " is too long")
		}
	}
	return asked{values, r.Body}, nil
}

// number reads a whole number from least to most; standard where there is none.
func (a asked) number(name string, standard, least, most int64) (int64, error) {
	text := a.Get(name)
	if text == "" {
		return standard, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least || n > most {
		return 0, badRequest(name + " must be a whole number from " + strconv.FormatInt(least, 10) + " to " + strconv.FormatInt(most, 10))
	}
	return n, nil
}

func (a asked) channel() broker.ChannelName {
	return broker.ChannelName{App: a.Get("app"), ObjectID: a.Get("object"), Channel: a.Get("channel")}
}

// into reads a body of JSON into v, of which it has no other members.
func (a asked) into(v any) error {
	d := json.NewDecoder(io.LimitReader(a.body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return badRequest("the body must be a JSON object with the members that are described")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return badRequest("the body goes on behind the JSON object, or is too long")
	}
	return nil
}
