package broker

import (
	"context"
	"time"

	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
)

// Service is the broker as the HTTP surfaces see it (package broker/api).
type Service struct{ b *Broker }

// Service returns the broker's HTTP side.
func (b *Broker) Service() Service { return Service{b} }

// Authorize verifies an Authorization header: "<app> <jwt>", "Bearer <jwt>" or
// "Basic …". Errors: *Error with result 4001.
func (s Service) Authorize(header string) (*Identity, error) { return s.b.tokens.authorization(header) }

// AuthorizeSigned verifies a Gobelin-Signature (security.md §2.2) and returns who
// signed and the nonce, "" where there is none. Errors: *Error with result 4001, or
// 4000 where the application must be named.
func (s Service) AuthorizeSigned(r SignedRequest) (who *Identity, nonce string, err error) {
	return s.b.tokens.signed(r)
}

// VerifyBody verifies an object that is signed inside (security.md §2.1). Errors:
// *BodyFault.
func (s Service) VerifyBody(text []byte) (*SignedBody, error) {
	body, err := s.b.tokens.body(text)
	if err != nil {
		s.b.metrics.refused("signed body").Inc()
	}
	return body, err
}

// ViewerLog is Broker.ViewerLog.
func (s Service) ViewerLog(ctx context.Context, q ViewerQuery) ([]ViewerLogRow, error) {
	return s.b.ViewerLog(ctx, q)
}

// AddSamples is Broker.AddSamples.
func (s Service) AddSamples(ctx context.Context, app *Application, samples []catchup.ViewerSample) error {
	return s.b.AddSamples(ctx, app, samples)
}

// ViewerChart is Broker.ViewerChart.
func (s Service) ViewerChart(ctx context.Context, root string, g ViewerGraph) (ViewerChart, error) {
	return s.b.ViewerChart(ctx, root, g)
}

// Application returns the application of that name, or nil.
func (s Service) Application(name string) *Application { return s.b.tokens.application(name) }

// Suspended is Broker.Suspended.
func (s Service) Suspended(app *Application) bool { return s.b.Suspended(app) }

// Suspend is Broker.Suspend.
func (s Service) Suspend(ctx context.Context, app *Application) (int64, error) {
	return s.b.Suspend(ctx, app)
}

// ResumeApplication is Broker.Resumed.
func (s Service) ResumeApplication(ctx context.Context, app *Application) error {
	return s.b.Resumed(ctx, app)
}

// Data is Broker.Data.
func (s Service) Data(ctx context.Context, who *Identity, q DataQuery) (Data, error) {
	return s.b.Data(ctx, who, q)
}

// ChangeData is Broker.ChangeData.
func (s Service) ChangeData(ctx context.Context, who *Identity, q DataQuery, kind catchup.ChangeKind, text []byte, ifVersion *uint64) (Data, error) {
	return s.b.ChangeData(ctx, who, q, kind, text, ifVersion)
}

// OpenConference is Broker.OpenConference.
func (s Service) OpenConference(ctx context.Context, o *Object) (catchup.Conference, bool, error) {
	return s.b.OpenConference(ctx, o)
}

// EndConference is Broker.EndConference.
func (s Service) EndConference(ctx context.Context, o *Object) (catchup.Conference, error) {
	return s.b.EndConference(ctx, o)
}

// Conferences is Broker.Conferences.
func (s Service) Conferences(ctx context.Context, o *Object) ([]catchup.Conference, error) {
	return s.b.Conferences(ctx, o)
}

// Publish is Broker.PublishAll.
func (s Service) Publish(ctx context.Context, who *Identity, pubs []Publication) []Published {
	return s.b.PublishAll(ctx, who, pubs)
}

// History is Broker.History.
func (s Service) History(ctx context.Context, who *Identity, q HistoryQuery) (HistoryPage, error) {
	return s.b.History(ctx, who, q)
}

// WalkHistory is Broker.WalkHistory.
func (s Service) WalkHistory(ctx context.Context, who *Identity, q HistoryQuery, yield func(HistoryPage) error) error {
	return s.b.WalkHistory(ctx, who, q, yield)
}

// Comment is Broker.Comment.
func (s Service) Comment(ctx context.Context, who *Identity, objectID string, draft CommentDraft) (*Comment, error) {
	return s.b.Comment(ctx, who, objectID, draft)
}

// Accumulate is Broker.Accumulate.
func (s Service) Accumulate(ctx context.Context, who *Identity, objectID, name string, data []byte, nonce [16]byte) (int64, error) {
	return s.b.Accumulate(ctx, who, objectID, name, data, nonce)
}

// Accumulated is Broker.Accumulated.
func (s Service) Accumulated(ctx context.Context, who *Identity, q AccumulationQuery, yield func([]catchup.Entry) error) (AccumulationEnd, error) {
	return s.b.Accumulated(ctx, who, q, yield)
}

// ClearAccumulation is Broker.ClearAccumulation.
func (s Service) ClearAccumulation(ctx context.Context, who *Identity, objectID, name string) error {
	return s.b.ClearAccumulation(ctx, who, objectID, name)
}

// StreamAccount is Broker.StreamAccount.
func (s Service) StreamAccount(token string) *StreamAccount { return s.b.StreamAccount(token) }

// CreateStream is Broker.CreateStream.
func (s Service) CreateStream(ctx context.Context, a *StreamAccount, spec StreamSpec) (StreamView, error) {
	return s.b.CreateStream(ctx, a, spec)
}

// Streams is Broker.Streams.
func (s Service) Streams(ctx context.Context, a *StreamAccount, offset, limit int) ([]StreamView, int, error) {
	return s.b.Streams(ctx, a, offset, limit)
}

// Stream is Broker.Stream.
func (s Service) Stream(ctx context.Context, a *StreamAccount, id string) (StreamView, error) {
	return s.b.Stream(ctx, a, id)
}

// RenameStream is Broker.RenameStream.
func (s Service) RenameStream(ctx context.Context, a *StreamAccount, id, name string) (StreamView, error) {
	return s.b.RenameStream(ctx, a, id, name)
}

// DeleteStream is Broker.DeleteStream.
func (s Service) DeleteStream(ctx context.Context, a *StreamAccount, id string) (StreamView, time.Time, error) {
	return s.b.DeleteStream(ctx, a, id)
}

// ConnectStream is Broker.ConnectStream.
func (s Service) ConnectStream(ctx context.Context, a *StreamAccount, id, lastEventID string, sink StreamSink) error {
	return s.b.ConnectStream(ctx, a, id, lastEventID, sink)
}

// ReplayStream is Broker.ReplayStream.
func (s Service) ReplayStream(ctx context.Context, a *StreamAccount, q ReplayQuery, lastEventID string, sink StreamSink) error {
	return s.b.ReplayStream(ctx, a, q, lastEventID, sink)
}

// PostRecords is Broker.PostRecords.
func (s Service) PostRecords(ctx context.Context, who *Identity, posts []RecordPost) ([]PostedRecord, error) {
	return s.b.PostRecords(ctx, who, posts)
}

// Now is the store's clock.
func (s Service) Now() time.Time { return s.b.opt.Store.Now() }

// Sandbox reports whether this is a place for trying things out.
func (s Service) Sandbox() bool { return s.b.opt.Sandbox }

// SandboxToken signs a token for an application as its backend would, for 12 hours.
// Errors: *Error with 4004 outside of a sandbox or for an unknown application, 4000 for
// claims that no token may have.
func (s Service) SandboxToken(app, channelID, role, userID string) (string, error) {
	return s.b.sandboxToken(app, channelID, role, userID)
}

// Promote is Broker.Promote.
func (s Service) Promote(ctx context.Context, app *Application, objectID, commentID string) (*Comment, error) {
	return s.b.Promote(ctx, app, objectID, commentID)
}

// Withdraw is Broker.Withdraw.
func (s Service) Withdraw(ctx context.Context, app *Application, objectID, commentID string) error {
	return s.b.Withdraw(ctx, app, objectID, commentID)
}

// EventLog is Broker.EventLog.
func (s Service) EventLog(ctx context.Context, app *Application, objectID string, w catchup.Window) ([]catchup.Span, bool, error) {
	return s.b.EventLog(ctx, app, objectID, w)
}

// Presence is Broker.Presence.
func (s Service) Presence(ctx context.Context, who *Identity, objectID string) (*Presence, error) {
	return s.b.Presence(ctx, who, objectID)
}

// Connections is Broker.Connections.
func (s Service) Connections(ctx context.Context, app *Application, q ConnectionQuery) (ConnectionPage, error) {
	return s.b.Connections(ctx, app, q)
}

// EndConnection is Broker.EndConnection.
func (s Service) EndConnection(ctx context.Context, app *Application, id string) error {
	return s.b.EndConnection(ctx, app, id)
}

// EndUser is Broker.EndUser.
func (s Service) EndUser(ctx context.Context, app *Application, userRef string) (int, error) {
	return s.b.EndUser(ctx, app, userRef)
}

// Revoke is Broker.Revoke.
func (s Service) Revoke(ctx context.Context, app *Application, jti string, until time.Time) error {
	return s.b.Revoke(ctx, app, jti, until)
}

// Remember binds an Idempotency-Key to the hash of a request for 24 hours; another
// hash than the one it is bound to is an *Error with result 4000 (decided.md 19).
func (s Service) Remember(ctx context.Context, app uint32, key string, request [32]byte) error {
	return attempts{s.b.opt.Store}.remember(ctx, app, key, request)
}

// CreateObject makes an object; created is false when it was there and the same.
func (s Service) CreateObject(ctx context.Context, app *Application, spec ObjectSpec) (*Object, bool, error) {
	return s.b.objects.create(ctx, app, spec)
}

// Object returns an object, made on first mention where Options.AutoCreate is set.
func (s Service) Object(ctx context.Context, app *Application, id string) (*Object, error) {
	return s.b.Object(ctx, app, id)
}

// ListObjects returns a page of an application's objects.
func (s Service) ListObjects(ctx context.Context, app *Application, q ObjectQuery) (ObjectPage, error) {
	return s.b.objects.list(ctx, app, q)
}

// PatchObject changes what the patch names.
func (s Service) PatchObject(ctx context.Context, app *Application, id string, patch ObjectPatch) (*Object, error) {
	return s.b.PatchObject(ctx, app, id, patch)
}

// DeleteObject removes an object and its data and ends all that listen by its roots.
func (s Service) DeleteObject(ctx context.Context, app *Application, id string) error {
	return s.b.DeleteObject(ctx, app, id)
}

// ResetObject gives an object new roots; the old ones work for grace more.
func (s Service) ResetObject(ctx context.Context, app *Application, id string, grace time.Duration) (*Object, error) {
	return s.b.objects.reset(ctx, app, id, grace)
}

// Roots returns the names of an object's root channels now, each with its slash:
// the view root, and the control root, which only admins may see.
func (s Service) Roots(o *Object) (view, control string) {
	now := s.b.opt.Now()
	return "/" + s.b.keyring().Root(o.OID, channels.ClassView, now), "/" + s.b.keyring().Root(o.OID, channels.ClassControl, now)
}
