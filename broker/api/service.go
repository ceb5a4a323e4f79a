package api

import (
	"context"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/catchup"
)

// Service is what the HTTP surfaces ask of the broker. Its methods are called by
// many goroutines at once. Errors that are *broker.Error are sent to the peer
// word for word, the store's are mapped by broker.AsError, all else is logged
// and shown as 500. A nil identity is a caller without a credential.
type Service interface {
	Objects
	Accumulations
	Documents
	Connections
	Streams
	Statistics

	// Authorize verifies an Authorization header: "<app> <jwt>", "Bearer <jwt>"
	// or "Basic …". Errors: *broker.Error with result 4001.
	Authorize(header string) (*broker.Identity, error)
	// AuthorizeSigned verifies a Gobelin-Signature and returns who signed and the
	// nonce, "" where there is none. Errors: *broker.Error with result 4001 or 4000.
	AuthorizeSigned(r broker.SignedRequest) (who *broker.Identity, nonce string, err error)
	// Application returns the application of that name, or nil.
	Application(name string) *broker.Application
	// Publish appends each publication that who may make, in order, and returns
	// one outcome for each. It checks the rights of every one itself.
	Publish(ctx context.Context, who *broker.Identity, pubs []broker.Publication) []broker.Published
	// History reads one page of a channel's history, which who may read as it may
	// catch up on it. It checks the rights itself.
	History(ctx context.Context, who *broker.Identity, q broker.HistoryQuery) (broker.HistoryPage, error)
	// WalkHistory reads all of what q names, in order, and calls yield with one page
	// after the other, at least one; an error of yield ends it and is returned.
	WalkHistory(ctx context.Context, who *broker.Identity, q broker.HistoryQuery, yield func(broker.HistoryPage) error) error
	// Comment publishes a comment to an object and returns it (product.md §5.3);
	// who acts on the object at least as a viewer, which was checked.
	Comment(ctx context.Context, who *broker.Identity, objectID string, draft broker.CommentDraft) (*broker.Comment, error)
	// Promote publishes a comment to the promoted channels, once, and returns it as it
	// is there; the caller's rights were checked. One that is not there is an
	// *broker.Error with result 4004.
	Promote(ctx context.Context, app *broker.Application, objectID, commentID string) (*broker.Comment, error)
	// Withdraw takes a comment out of every later replay and says so; likewise.
	Withdraw(ctx context.Context, app *broker.Application, objectID, commentID string) error
	// EventLog returns what an object's events say lasted in a window, and whether
	// older ones are left out; the caller's rights were checked.
	EventLog(ctx context.Context, app *broker.Application, objectID string, w catchup.Window) ([]catchup.Span, bool, error)
	// Remember binds an Idempotency-Key of an application to the hash of a
	// request for 24 hours (decided.md 19). Another hash than the one it is bound
	// to is an *broker.Error with result 4000.
	Remember(ctx context.Context, app uint32, key string, request [32]byte) error
}

// Accumulations is the part of Service that keeps accumulations (product.md §6), which
// checks the rights itself.
type Accumulations interface {
	// Accumulate takes one blob and returns when it was observed, in ms, once it is
	// stored. nonce makes a retry harmless; zero: every call is a new entry.
	Accumulate(ctx context.Context, who *broker.Identity, objectID, name string, data []byte, nonce [16]byte) (observed int64, err error)
	// Accumulated reads a page of entries, or all, and calls yield with one part after
	// the other, at least one; an error of yield ends it and is returned.
	Accumulated(ctx context.Context, who *broker.Identity, q broker.AccumulationQuery, yield func([]catchup.Entry) error) (broker.AccumulationEnd, error)
	// ClearAccumulation removes every entry of an accumulation.
	ClearAccumulation(ctx context.Context, who *broker.Identity, objectID, name string) error
	// Now is the clock that observes.
	Now() time.Time
	// Sandbox reports whether SandboxToken makes tokens.
	Sandbox() bool
	// SandboxToken signs a token for trying things out; *broker.Error with result 4004
	// where there is no sandbox.
	SandboxToken(app, channelID, role, userID string) (string, error)
}

// Objects is the part of Service that keeps objects (product.md §3). The
// caller's rights were checked already. What does not exist is
// broker.ErrNoObject. Objects returned are immutable.
type Objects interface {
	// CreateObject makes an object; created is false when it was there already
	// and the same. One that differs is an *broker.Error with result 4009.
	CreateObject(ctx context.Context, app *broker.Application, spec broker.ObjectSpec) (o *broker.Object, created bool, err error)
	// Object returns an object. With auto-creation on, this is a first mention
	// by a trusted party, and makes it.
	Object(ctx context.Context, app *broker.Application, id string) (*broker.Object, error)
	// ListObjects returns a page of an application's objects, in byte order of
	// their ids.
	ListObjects(ctx context.Context, app *broker.Application, q broker.ObjectQuery) (broker.ObjectPage, error)
	// PatchObject changes what the patch names.
	PatchObject(ctx context.Context, app *broker.Application, id string, patch broker.ObjectPatch) (*broker.Object, error)
	// DeleteObject removes an object and all its roots.
	DeleteObject(ctx context.Context, app *broker.Application, id string) error
	// ResetObject gives an object new roots; the old ones work for grace more,
	// or, when it is 0, end at once (security.md §1.8).
	ResetObject(ctx context.Context, app *broker.Application, id string, grace time.Duration) (*broker.Object, error)
	// Roots returns the names of an object's root channels now, such as
	// "/09c1…": the view root, and the control root, which only admins may see.
	Roots(o *broker.Object) (view, control string)
	// RootsByClass returns its root of every class, which only admins may see.
	RootsByClass(o *broker.Object) []broker.Root
}

// Streams is the part of Service that keeps records and lets consumers read them
// (product.md §5.4). What is refused in the words of stream clients is a
// *broker.StreamError.
type Streams interface {
	// StreamAccount returns the account of a stream_token, nil for any other text.
	StreamAccount(token string) *broker.StreamAccount
	// CreateStream makes a stream.
	CreateStream(ctx context.Context, a *broker.StreamAccount, spec broker.StreamSpec) (broker.StreamView, error)
	// Streams returns a page of an account's streams, newest first, and their number.
	Streams(ctx context.Context, a *broker.StreamAccount, offset, limit int) ([]broker.StreamView, int, error)
	// Stream returns one.
	Stream(ctx context.Context, a *broker.StreamAccount, id string) (broker.StreamView, error)
	// RenameStream gives one another name.
	RenameStream(ctx context.Context, a *broker.StreamAccount, id, name string) (broker.StreamView, error)
	// DeleteStream removes one that nobody reads.
	DeleteStream(ctx context.Context, a *broker.StreamAccount, id string) (broker.StreamView, time.Time, error)
	// ConnectStream serves a connection until it ends; an error comes before anything
	// was written.
	ConnectStream(ctx context.Context, a *broker.StreamAccount, id, lastEventID string, sink broker.StreamSink) error
	// ReplayStream serves a connection that reads everything, likewise.
	ReplayStream(ctx context.Context, a *broker.StreamAccount, q broker.ReplayQuery, lastEventID string, sink broker.StreamSink) error
	// PostRecords takes records of a backend, all or none; who has the server key.
	PostRecords(ctx context.Context, who *broker.Identity, posts []broker.RecordPost) ([]broker.PostedRecord, error)
}

// Connections is the part of Service that knows who is connected. The caller's rights
// were checked already, but for Presence.
type Connections interface {
	// Presence returns who listens to an object; who must be allowed to hear it.
	Presence(ctx context.Context, who *broker.Identity, objectID string) (*broker.Presence, error)
	// Connections returns a page of an application's sessions, in the order of ids.
	Connections(ctx context.Context, app *broker.Application, q broker.ConnectionQuery) (broker.ConnectionPage, error)
	// EndConnection ends a session; *broker.Error with result 4004 where there is none.
	EndConnection(ctx context.Context, app *broker.Application, id string) error
	// EndUser ends the sessions of a user and returns how many there were.
	EndUser(ctx context.Context, app *broker.Application, userRef string) (int, error)
	// Revoke refuses a token until its exp, the zero time where that is not known.
	Revoke(ctx context.Context, app *broker.Application, jti string, until time.Time) error
}

// Documents is the part of Service that keeps data, the sessions it may belong to, and
// the suspension that ends it (product.md §5.2). Data and ChangeData check the caller's
// rights themselves, for the others they were checked already.
type Documents interface {
	// Data reads a document.
	Data(ctx context.Context, who *broker.Identity, q broker.DataQuery) (broker.Data, error)
	// ChangeData changes one, with the JSON that was sent; another version than
	// ifVersion, where that is not nil, is an *broker.Error with result 4012.
	ChangeData(ctx context.Context, who *broker.Identity, q broker.DataQuery, kind catchup.ChangeKind, text []byte, ifVersion *uint64) (broker.Data, error)
	// OpenConference opens a session of an object unless one is open.
	OpenConference(ctx context.Context, o *broker.Object) (c catchup.Conference, opened bool, err error)
	// EndConference ends the open one; an *broker.Error with result 4004 without one.
	EndConference(ctx context.Context, o *broker.Object) (catchup.Conference, error)
	// Conferences returns those that are kept, newest first.
	Conferences(ctx context.Context, o *broker.Object) ([]catchup.Conference, error)
	// Suspend suspends an application and returns since when it is, in ms since 1970.
	Suspend(ctx context.Context, app *broker.Application) (since int64, err error)
	// ResumeApplication takes that back.
	ResumeApplication(ctx context.Context, app *broker.Application) error
	// Suspended reports whether an application is suspended.
	Suspended(app *broker.Application) bool
}

// Statistics is the part of Service that knows how many viewers there were (product.md
// §8). Of AddSamples the caller's rights were checked already.
type Statistics interface {
	// VerifyBody verifies an object that an account has signed; errors: *broker.BodyFault.
	VerifyBody(text []byte) (*broker.SignedBody, error)
	// ViewerLog returns the rows of a query, sorted by time, application and url.
	ViewerLog(ctx context.Context, q broker.ViewerQuery) ([]broker.ViewerLogRow, error)
	// AddSamples takes counts that somebody else has made, at most catchup.MaxSamples.
	AddSamples(ctx context.Context, app *broker.Application, samples []catchup.ViewerSample) error
	// ViewerChart returns what a chart of an object shows; broker.ErrNoObject for every
	// root that may not see it.
	ViewerChart(ctx context.Context, root string, g broker.ViewerGraph) (broker.ViewerChart, error)
}

var _ Service = broker.Service{}
