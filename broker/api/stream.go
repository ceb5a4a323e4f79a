package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/broker/exact"
)

// streamRoutes are the streams as their known clients call them (product.md §5.4). Who
// calls says so by ?token=, the account's stream_token, and by nothing else.
var streamRoutes = []route{
	{path: "/streams", form: streamForm, consumer: true, methods: map[string]handler{
		http.MethodPost: createStream, http.MethodGet: listStreams,
	}},
	{path: "/streams/{stream}", form: streamForm, consumer: true, methods: map[string]handler{
		http.MethodGet: getStream, http.MethodPut: renameStream, http.MethodPatch: renameStream, http.MethodDelete: deleteStream,
	}},
	{path: "/streams/{stream}/connect", form: streamForm, consumer: true, methods: map[string]handler{http.MethodGet: connectStream}},
	{path: "/replay", form: streamForm, consumer: true, methods: map[string]handler{http.MethodGet: replayStream}},
}

const (
	// streamBody bounds the description of a stream.
	streamBody = 64 << 10
	// maxStreamTexts bounds a filter before the broker looks at it.
	maxStreamTexts = 1000
	// streamPage is how many streams a list shows if it is not told.
	streamPage = 50
)

// streamRefusal are the errors of a refusal: texts, or texts by field.
type streamRefusal struct {
	Errors any `json:"errors"`
}

// streamForm is the form of errors that stream clients know.
func streamForm(e *broker.Error) any { return streamRefusal{[]string{e.Text}} }

// refusedStream is the answer to what is refused in the clients' words.
func refusedStream(e *broker.StreamError) reply {
	if e.Field != "" {
		return reply{e.Status, streamRefusal{map[string][]string{e.Field: {e.Text}}}}
	}
	return reply{e.Status, streamRefusal{[]string{e.Text}}}
}

// consumerKey is the context's key for the account of a stream_token.
type consumerKey struct{}

// consumer finds out whose stream_token a request has, and charges it to that.
func (a *api) consumer(r *http.Request) error {
	q, err := url.ParseQuery(r.URL.RawQuery)
	var account *broker.StreamAccount
	if err == nil && len(q["token"]) == 1 {
		account = a.service.StreamAccount(q.Get("token"))
	}
	if account == nil {
		if limited := a.chargeAddress(r); limited != nil {
			return limited
		}
		return &broker.StreamError{Status: http.StatusForbidden, Text: "Invalid authentication credentials"}
	}
	*r = *r.WithContext(context.WithValue(r.Context(), consumerKey{}, account))
	return a.limiter.request(hashKey("t", q.Get("token")))
}

// consumerOf returns the account that consumer has found.
func consumerOf(r *http.Request) *broker.StreamAccount {
	account, _ := r.Context().Value(consumerKey{}).(*broker.StreamAccount)
	return account
}

// streamView is a stream as its clients see it.
type streamView struct {
	ID              string   `json:"id"`
	Name            string   `json:"name"`
	Group           string   `json:"group"`
	Members         int      `json:"members"`
	StartDate       *string  `json:"start_date"`
	ResourceFilter  []string `json:"resource_filter"`
	EventTypeFilter []string `json:"event_type_filter"`
	CreatedAt       string   `json:"created_at"`
	UpdatedAt       string   `json:"updated_at"`
	DeletedAt       string   `json:"deleted_at,omitempty"`
}

func viewStream(s broker.StreamView) streamView {
	v := streamView{
		ID: s.ID, Name: s.Name, Group: "stream_" + s.ID, Members: s.Members,
		ResourceFilter: append([]string{}, s.Resources...), EventTypeFilter: append([]string{}, s.Events...),
		CreatedAt: s.Created.UTC().Format(streamTime), UpdatedAt: s.Updated.UTC().Format(streamTime),
	}
	if s.StartDate != "" {
		v.StartDate = &s.StartDate
	}
	return v
}

// streamFields reads a body that describes a stream; fields that are not known are
// ignored (V19).
func (a *api) streamFields(r *http.Request) (fields, error) {
	r.Body = http.MaxBytesReader(nil, r.Body, streamBody)
	body, err := a.readBody(r)
	if err != nil {
		return nil, err
	}
	members, err := exact.Members(body, a.Depth)
	var duplicate *exact.DuplicateError
	switch {
	case errors.As(err, &duplicate):
		return nil, a.bodyError("body", err)
	case err != nil:
		return nil, &broker.StreamError{Status: http.StatusBadRequest, Text: "Invalid JSON"}
	}
	return members, nil
}

// errStreamField refuses a field by its name.
func errStreamField(name, text string) error {
	return &broker.StreamError{Status: http.StatusUnprocessableEntity, Field: name, Text: text}
}

// streamText reads a field that is a text; null is none.
func (f fields) streamText(name string) (string, error) {
	raw := f.get(name)
	if raw == nil || exact.IsNull(raw) {
		return "", nil
	}
	s, err := exact.Text(raw)
	if err != nil {
		return "", errStreamField(name, "must be a string")
	}
	return s, nil
}

// streamTexts reads a field that is a list of texts; null is none.
func (f fields) streamTexts(name string) ([]string, error) {
	raw := f.get(name)
	if raw == nil || exact.IsNull(raw) {
		return nil, nil
	}
	refusal := errStreamField(name, "must be an array of strings")
	elements, err := exact.Elements(raw, maxStreamTexts)
	if err != nil {
		return nil, refusal
	}
	var all []string
	for _, e := range elements {
		s, err := exact.Text(e)
		if err != nil {
			return nil, refusal
		}
		all = append(all, s)
	}
	return all, nil
}

// createStream: POST /streams {name, resource_filter?, event_type_filter?, start_date?}.
func createStream(a *api, r *http.Request, _ *broker.Identity) (reply, error) {
	f, err := a.streamFields(r)
	if err != nil {
		return reply{}, err
	}
	var spec broker.StreamSpec
	for name, into := range map[string]*string{"name": &spec.Name, "start_date": &spec.StartDate} {
		if *into, err = f.streamText(name); err != nil {
			return reply{}, err
		}
	}
	for name, into := range map[string]*[]string{"resource_filter": &spec.Resources, "event_type_filter": &spec.Events} {
		if *into, err = f.streamTexts(name); err != nil {
			return reply{}, err
		}
	}
	s, err := a.service.CreateStream(r.Context(), consumerOf(r), spec)
	return reply{http.StatusCreated, viewStream(s)}, err
}

// listStreams: GET /streams?offset=&limit=, newest first.
func listStreams(a *api, r *http.Request, _ *broker.Identity) (reply, error) {
	offset, err := streamNumber(r, "offset", 0, 0)
	if err != nil {
		return reply{}, err
	}
	limit, err := streamNumber(r, "limit", streamPage, 1)
	if err != nil {
		return reply{}, err
	}
	all, total, err := a.service.Streams(r.Context(), consumerOf(r), offset, limit)
	if err != nil {
		return reply{}, err
	}
	type meta struct {
		Offset int    `json:"offset"`
		Limit  int    `json:"limit"`
		Total  int    `json:"total"`
		Sort   string `json:"sort"`
	}
	views := make([]streamView, len(all))
	for i, s := range all {
		views[i] = viewStream(s)
	}
	return reply{http.StatusOK, struct {
		Streams []streamView `json:"streams"`
		Meta    meta         `json:"meta"`
	}{views, meta{offset, limit, total, "-created_at"}}}, nil
}

// streamNumber reads a parameter from low to 1000, def if it is not there.
func streamNumber(r *http.Request, name string, def, low int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return def, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < low || n > 1000 {
		return 0, badRequest("%s must be %d to 1000", name, low)
	}
	return n, nil
}

// getStream: GET /streams/{stream}.
func getStream(a *api, r *http.Request, _ *broker.Identity) (reply, error) {
	s, err := a.service.Stream(r.Context(), consumerOf(r), r.PathValue("stream"))
	return reply{http.StatusOK, viewStream(s)}, err
}

// renameStream: PUT or PATCH /streams/{stream} {name}; the filters of a stream never
// change, as its connections would see something else than they did.
func renameStream(a *api, r *http.Request, _ *broker.Identity) (reply, error) {
	f, err := a.streamFields(r)
	if err != nil {
		return reply{}, err
	}
	for _, fixed := range []string{"resource_filter", "event_type_filter", "start_date"} {
		if f.get(fixed) != nil {
			return reply{}, errStreamField(fixed, "cannot be changed; make another stream")
		}
	}
	name, err := f.streamText("name")
	if err != nil {
		return reply{}, err
	}
	s, err := a.service.RenameStream(r.Context(), consumerOf(r), r.PathValue("stream"), name)
	return reply{http.StatusOK, viewStream(s)}, err
}

// deleteStream: DELETE /streams/{stream}.
func deleteStream(a *api, r *http.Request, _ *broker.Identity) (reply, error) {
	s, at, err := a.service.DeleteStream(r.Context(), consumerOf(r), r.PathValue("stream"))
	v := viewStream(s)
	v.DeletedAt = at.UTC().Format(streamTime)
	return reply{http.StatusOK, v}, err
}

// connectStream: GET /streams/{stream}/connect, with Last-Event-ID to go on.
func connectStream(a *api, r *http.Request, _ *broker.Identity) (reply, error) {
	account, id := consumerOf(r), r.PathValue("stream")
	if r.Method == http.MethodHead {
		_, err := a.service.Stream(r.Context(), account, id)
		return reply{http.StatusOK, events{bare: true}}, err
	}
	return reply{http.StatusOK, events{serve: func(sink broker.StreamSink) error {
		return a.service.ConnectStream(r.Context(), account, id, r.Header.Get("Last-Event-ID"), sink)
	}}}, nil
}

// replayStream: GET /replay?date=&resources=&event_types=, lists with commas.
func replayStream(a *api, r *http.Request, _ *broker.Identity) (reply, error) {
	query := r.URL.Query()
	var q broker.ReplayQuery
	if date := query.Get("date"); date != "" {
		var err error
		if q.Since, err = broker.ParseStreamDate(date); err != nil {
			return reply{}, &broker.StreamError{Status: http.StatusBadRequest, Text: "Invalid date; a day such as 2026-11-21 or a time such as 2026-11-21T12:00:00Z"}
		}
	}
	q.Resources, q.Events = commas(query["resources"]), commas(query["event_types"])
	if r.Method == http.MethodHead {
		return reply{http.StatusOK, events{bare: true}}, nil
	}
	return reply{http.StatusOK, events{serve: func(sink broker.StreamSink) error {
		return a.service.ReplayStream(r.Context(), consumerOf(r), q, r.Header.Get("Last-Event-ID"), sink)
	}}}, nil
}

// commas takes lists apart that have commas between their texts.
func commas(lists []string) []string {
	var all []string
	for _, list := range lists {
		if list != "" {
			all = append(all, strings.Split(list, ",")...)
		}
	}
	return all
}
