package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/broker/exact"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

var (
	demo  = &broker.Application{ID: 12, Name: "demo"}
	other = &broker.Application{ID: 13, Name: "other"}
)

// credentials are what the fake takes: each is its own header.
var credentials = map[string]*broker.Identity{
	"server":      {App: demo, Role: broker.RoleServer},
	"admin":       {App: demo, Role: broker.RoleAdmin, ChannelID: "zzz"},
	"broadcaster": {App: demo, Role: broker.RoleBroadcaster, ChannelID: "own"},
	"moderator":   {App: demo, Role: broker.RoleModerator, ChannelID: "own"},
	"viewer":      {App: demo, Role: broker.RoleViewer, ChannelID: "own", UserID: "u1", Name: "Ernest"},
	"stray":       {App: demo, Role: broker.RoleBroadcaster},
	"foreign":     {App: other, Role: broker.RoleServer},
}

// fake is a Service in memory that says what the broker would.
type fake struct {
	mu          sync.Mutex
	objects     map[string]*broker.Object // guarded by mu; "<app>/<id>"
	published   []broker.Publication      // guarded by mu
	grace       time.Duration             // guarded by mu
	bodies      map[string][32]byte       // guarded by mu
	pages       []broker.HistoryPage      // of every channel
	spans       []catchup.Span            // of every event log
	window      catchup.Window            // guarded by mu; as it was asked for last
	signed      []broker.SignedRequest    // guarded by mu
	revoked     []string                  // guarded by mu
	connections broker.ConnectionQuery    // guarded by mu; as it was asked for last
	asked       []broker.HistoryQuery
	parts       [][]catchup.Entry // of every accumulation
	gathered    []broker.AccumulationQuery
	sandbox     bool
	data        broker.Data // what data is answered with
	queries     []broker.DataQuery
	changes     []changed
	conferences []catchup.Conference
	suspended   *broker.Application
	viewers     []broker.ViewerLogRow
	viewed      broker.ViewerQuery     // guarded by mu; as it was asked for last
	samples     []catchup.ViewerSample // guarded by mu
	chart       broker.ViewerChart
	reading     chan struct{} // when not nil, ViewerLog waits until it is closed
	fail        error         // what every call returns
	lasts       time.Duration // how long a stream is served
	panics      bool
	slow        time.Duration // that Publish and Object take, unless the request ends
	each        func(broker.Publication) error
}

func newFake() *fake {
	f := &fake{objects: map[string]*broker.Object{}, bodies: map[string][32]byte{}}
	for _, o := range []*broker.Object{
		{App: demo, ID: "own", Type: "live", Name: "Own", Public: true},
		{App: demo, ID: "else", Type: "live", Public: true},
		{App: demo, ID: "film", Type: "video", Name: "Film", Public: true},
		{App: demo, ID: "hidden", Type: "live"},
		{App: other, ID: "theirs", Type: "live", Public: true},
	} {
		f.objects[key(o.App, o.ID)] = o
	}
	return f
}

func key(app *broker.Application, id string) string { return fmt.Sprint(app.ID, "/", id) }

func (f *fake) Authorize(header string) (*broker.Identity, error) {
	if f.panics {
		panic("secret of a panic")
	}
	if who := credentials[header]; who != nil {
		return who, nil
	}
	return nil, &broker.Error{Result: 4001, Text: "unauthorized"}
}

func (f *fake) Application(name string) *broker.Application {
	for _, app := range []*broker.Application{demo, other} {
		if app.Name == name {
			return app
		}
	}
	return nil
}

// wait takes as long as the fake is slow.
func (f *fake) wait(ctx context.Context) error {
	if f.slow == 0 {
		return nil
	}
	select {
	case <-time.After(f.slow):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// History answers with what the fake holds for the channel; "events" has none.
func (f *fake) History(ctx context.Context, _ *broker.Identity, q broker.HistoryQuery) (broker.HistoryPage, error) {
	var page broker.HistoryPage
	err := f.WalkHistory(ctx, nil, q, func(p broker.HistoryPage) error {
		page.Messages = append(page.Messages, p.Messages...)
		page.Truncated = p.Truncated
		return nil
	})
	if n := len(page.Messages); n > q.Limit {
		page.Messages = page.Messages[n-q.Limit:]
		page.Next = page.Messages[0].ID
	}
	return page, err
}

func (f *fake) WalkHistory(_ context.Context, _ *broker.Identity, q broker.HistoryQuery, yield func(broker.HistoryPage) error) error {
	f.asked = append(f.asked, q)
	if q.Channel == "events" {
		return &broker.Error{Result: 4004, Text: "this channel has no history"}
	}
	for i := range f.pages {
		if err := yield(f.pages[i]); err != nil {
			return err
		}
	}
	return f.fail
}

func (f *fake) Publish(ctx context.Context, _ *broker.Identity, pubs []broker.Publication) []broker.Published {
	late := f.wait(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]broker.Published, len(pubs))
	for i, p := range pubs {
		if f.each != nil {
			out[i].Err = f.each(p)
		}
		if out[i].Err = errors.Join(out[i].Err, f.fail, late); out[i].Err == nil {
			f.published = append(f.published, p)
			out[i].ID, out[i].Time = fmt.Sprint("id", len(f.published)), 1700
		}
	}
	return out
}

func (f *fake) Comment(_ context.Context, who *broker.Identity, id string, d broker.CommentDraft) (*broker.Comment, error) {
	if f.fail != nil {
		return nil, f.fail
	}
	if d.Content == "" {
		return nil, &broker.Error{Result: 4000, Text: "content must be 1 to 4096 characters"}
	}
	return &broker.Comment{ID: "c1", JSON: fmt.Appendf(nil, `{"comment_id":"c1","object_id":%q,"content":%q,"name":%q,"user_id":%q}`, id, d.Content, d.Name, who.UserID)}, nil
}

func (f *fake) Accumulate(ctx context.Context, who *broker.Identity, id, name string, data []byte, nonce [16]byte) (int64, error) {
	if who.LevelFor(who.App.ID, id) < broker.RoleViewer {
		return 0, &broker.Error{Result: 4003, Text: "forbidden"}
	}
	done := f.Publish(ctx, who, []broker.Publication{{ObjectID: id, Channel: "accumulate/" + name, Data: data, Nonce: nonce}})
	return done[0].Time, done[0].Err
}

func (f *fake) Accumulated(_ context.Context, _ *broker.Identity, q broker.AccumulationQuery, yield func([]catchup.Entry) error) (broker.AccumulationEnd, error) {
	f.gathered = append(f.gathered, q)
	if len(f.parts) == 0 && f.fail == nil {
		return broker.AccumulationEnd{}, yield(nil)
	}
	for _, part := range f.parts {
		if err := yield(part); err != nil {
			return broker.AccumulationEnd{}, err
		}
	}
	return broker.AccumulationEnd{Latest: 1700, Cursor: "c1", Truncated: true}, f.fail
}

func (f *fake) ClearAccumulation(_ context.Context, who *broker.Identity, id, name string) error {
	f.gathered = append(f.gathered, broker.AccumulationQuery{Name: name, ChannelID: id})
	if who.LevelFor(who.App.ID, id) < broker.RoleBroadcaster {
		return &broker.Error{Result: 4003, Text: "forbidden"}
	}
	return f.fail
}

func (f *fake) Now() time.Time { return time.UnixMilli(1700) }

func (f *fake) Sandbox() bool { return f.sandbox }

func (f *fake) SandboxToken(app, channelID, role, userID string) (string, error) {
	return app + "/" + channelID + "/" + role + "/" + userID, f.fail
}

func (f *fake) Remember(_ context.Context, app uint32, key string, request [32]byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := fmt.Sprint(app, "/", key)
	if old, there := f.bodies[k]; there && old != request {
		return &broker.Error{Result: 4000, Text: "Idempotency-Key was used with another request"}
	}
	f.bodies[k] = request
	return f.fail
}

func (f *fake) CreateObject(_ context.Context, app *broker.Application, s broker.ObjectSpec) (*broker.Object, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return nil, false, f.fail
	}
	if s.ID == "" {
		s.ID = "made"
	}
	o := &broker.Object{App: app, ID: s.ID, Type: s.Type, Name: s.Name, OwnerRef: s.OwnerRef, URL: s.URL, Public: !s.Private}
	if old := f.objects[key(app, s.ID)]; old != nil {
		if old.Name != s.Name {
			return nil, false, &broker.Error{Result: 4009, Text: "the object exists"}
		}
		return old, false, nil
	}
	f.objects[key(app, s.ID)] = o
	return o, true, nil
}

func (f *fake) Object(ctx context.Context, app *broker.Application, id string) (*broker.Object, error) {
	if err := f.wait(ctx); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if o := f.objects[key(app, id)]; o != nil && f.fail == nil {
		return o, nil
	}
	return nil, errors.Join(broker.ErrNoObject, nil)
}

func (f *fake) ListObjects(_ context.Context, app *broker.Application, q broker.ObjectQuery) (page broker.ObjectPage, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []*broker.Object
	for _, o := range f.objects {
		if o.App == app && o.ID > q.After && (q.Type == "" || o.Type == q.Type) && (q.ID == "" || o.ID == q.ID) {
			all = append(all, o)
		}
	}
	slices.SortFunc(all, func(a, b *broker.Object) int { return strings.Compare(a.ID, b.ID) })
	if len(all) > q.Limit {
		all = all[:q.Limit]
		page.Next = all[q.Limit-1].ID
	}
	page.Objects = all
	return page, f.fail
}

func (f *fake) PatchObject(ctx context.Context, app *broker.Application, id string, p broker.ObjectPatch) (*broker.Object, error) {
	old, err := f.Object(ctx, app, id)
	if err != nil {
		return nil, err
	}
	o := *old
	for dst, src := range map[*string]*string{&o.Name: p.Name, &o.OwnerRef: p.OwnerRef, &o.URL: p.URL} {
		if src != nil {
			*dst = *src
		}
	}
	if p.Public != nil {
		o.Public = *p.Public
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.objects[key(app, id)] = &o
	return &o, nil
}

func (f *fake) DeleteObject(ctx context.Context, app *broker.Application, id string) error {
	_, err := f.Object(ctx, app, id)
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.objects, key(app, id))
	return err
}

func (f *fake) ResetObject(ctx context.Context, app *broker.Application, id string, grace time.Duration) (*broker.Object, error) {
	o, err := f.Object(ctx, app, id)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.grace = grace
	return o, err
}

func (f *fake) Data(_ context.Context, _ *broker.Identity, q broker.DataQuery) (broker.Data, error) {
	f.queries = append(f.queries, q)
	return f.data, f.fail
}

func (f *fake) ChangeData(_ context.Context, _ *broker.Identity, q broker.DataQuery, kind catchup.ChangeKind, text []byte, ifVersion *uint64) (broker.Data, error) {
	f.queries = append(f.queries, q)
	f.changes = append(f.changes, changed{kind, string(text), ifVersion})
	return f.data, f.fail
}

// changed is what the fake was asked to change.
type changed struct {
	kind      catchup.ChangeKind
	text      string
	ifVersion *uint64
}

func (f *fake) OpenConference(context.Context, *broker.Object) (catchup.Conference, bool, error) {
	opened := len(f.conferences) == 0
	if opened {
		f.conferences = []catchup.Conference{{ConfNum: "c1", Started: time.UnixMilli(1700)}}
	}
	return f.conferences[0], opened, f.fail
}

func (f *fake) EndConference(context.Context, *broker.Object) (catchup.Conference, error) {
	if len(f.conferences) == 0 {
		return catchup.Conference{}, &broker.Error{Result: 4004, Text: "no session is open"}
	}
	c := f.conferences[0]
	c.Ended, f.conferences = time.UnixMilli(1800), nil
	return c, f.fail
}

func (f *fake) Conferences(context.Context, *broker.Object) ([]catchup.Conference, error) {
	return f.conferences, f.fail
}

func (f *fake) Suspend(_ context.Context, app *broker.Application) (int64, error) {
	f.suspended = app
	return 1700, f.fail
}

func (f *fake) ResumeApplication(context.Context, *broker.Application) error {
	f.suspended = nil
	return f.fail
}

func (f *fake) Suspended(app *broker.Application) bool { return f.suspended == app }

func (f *fake) Roots(o *broker.Object) (view, control string) {
	return "/view-" + o.ID, "/control-" + o.ID
}

func (f *fake) RootsByClass(o *broker.Object) []broker.Root {
	return []broker.Root{{Class: "view", Channel: "/view-" + o.ID}, {Class: "daily", Channel: "/daily-" + o.ID, Expires: time.Unix(1700, 0)}}
}

func (f *fake) AuthorizeSigned(r broker.SignedRequest) (*broker.Identity, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.signed = append(f.signed, r)
	if r.Header == "bad" {
		return nil, "", &broker.Error{Result: 4001, Text: "unauthorized"}
	}
	return credentials["server"], strings.TrimPrefix(r.Header, "n="), f.fail
}

func (f *fake) Promote(_ context.Context, _ *broker.Application, id, comment string) (*broker.Comment, error) {
	return &broker.Comment{ID: comment, JSON: fmt.Appendf(nil, `{"comment_id":%q,"object_id":%q,"promoted_p":1}`, comment, id)}, f.fail
}

func (f *fake) Withdraw(context.Context, *broker.Application, string, string) error { return f.fail }

func (f *fake) EventLog(_ context.Context, _ *broker.Application, _ string, w catchup.Window) ([]catchup.Span, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.window = w
	return f.spans, len(f.spans) > 2, f.fail
}

func (f *fake) Presence(_ context.Context, who *broker.Identity, id string) (*broker.Presence, error) {
	if who.LevelFor(who.App.ID, id) < broker.RoleBroadcaster {
		return nil, &broker.Error{Result: 4003, Text: "forbidden"}
	}
	return &broker.Presence{Count: 1, Members: []broker.Member{{ID: "c1", Role: "viewer"}}}, f.fail
}

func (f *fake) Connections(_ context.Context, _ *broker.Application, q broker.ConnectionQuery) (broker.ConnectionPage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.connections = q
	return broker.ConnectionPage{Connections: []broker.Connection{
		{ID: "c1", Node: "n1", Identity: credentials["viewer"], Objects: []string{"own"}, Channels: 2}, {ID: "c2"},
	}, Next: "c2"}, f.fail
}

func (f *fake) EndConnection(_ context.Context, _ *broker.Application, id string) error {
	if id != "c1" {
		return &broker.Error{Result: 4004, Text: "no such connection"}
	}
	return f.fail
}

func (f *fake) EndUser(context.Context, *broker.Application, string) (int, error) { return 3, f.fail }

func (f *fake) Revoke(_ context.Context, _ *broker.Application, jti string, until time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revoked = append(f.revoked, fmt.Sprint(jti, " ", until.Unix()))
	return f.fail
}

// analyst is the account of viewer.log.
var analyst = &broker.Account{CDN: 158, APIKey: "k1", Apps: []broker.Application{{ID: 12, Name: "demo"}, {ID: 13, Name: "vod"}}}

// VerifyBody takes every object for signed, but one that names the check it fails.
func (f *fake) VerifyBody(text []byte) (*broker.SignedBody, error) {
	members, err := exact.Members(text, 8)
	if err != nil {
		return nil, &broker.BodyFault{Check: broker.CheckJSON, Text: err.Error()}
	}
	body := &broker.SignedBody{Account: analyst, Members: members}
	if check, err := exact.Int(body.Member("fails")); err == nil {
		return nil, &broker.BodyFault{Check: broker.BodyCheck(check), Text: "it was to fail"}
	}
	return body, nil
}

func (f *fake) ViewerLog(ctx context.Context, q broker.ViewerQuery) ([]broker.ViewerLogRow, error) {
	f.mu.Lock()
	f.viewed = q
	f.mu.Unlock()
	if f.reading != nil {
		<-f.reading
	}
	return f.viewers, f.fail
}

func (f *fake) AddSamples(_ context.Context, _ *broker.Application, samples []catchup.ViewerSample) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.samples = append(f.samples, samples...)
	return f.fail
}

func (f *fake) ViewerChart(_ context.Context, root string, _ broker.ViewerGraph) (broker.ViewerChart, error) {
	if root != "good" {
		return broker.ViewerChart{}, broker.ErrNoObject
	}
	return f.chart, f.fail
}

// call is one request against a handler.
type call struct {
	t       *testing.T
	service *fake
	handler http.Handler
	logs    *observer.ObservedLogs
}

func newCall(t *testing.T, o Options) *call {
	core, logs := observer.New(zap.DebugLevel)
	o.Logger = zap.New(core)
	c := &call{t: t, service: newFake(), logs: logs}
	c.handler = New(c.service, o)
	return c
}

// do sends a request; headers are "Name: value".
func (c *call) do(method, target, who, body string, headers ...string) *httptest.ResponseRecorder {
	c.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if who != "" {
		r.Header.Set("Authorization", who)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, r)
	return w
}

// want sends a request and compares status and, if given, the whole body.
func (c *call) want(method, target, who, body string, status int, answer ...string) *httptest.ResponseRecorder {
	c.t.Helper()
	w := c.do(method, target, who, body)
	require.Equal(c.t, status, w.Code, "%s %s as %q: %s", method, target, who, w.Body)
	if len(answer) > 0 {
		require.JSONEq(c.t, answer[0], w.Body.String())
	}
	if status != http.StatusNoContent {
		require.Equal(c.t, "application/json; charset=utf-8", w.Header().Get("Content-Type"))
	}
	return w
}
