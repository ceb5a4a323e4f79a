package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
)

// Operator is the broker as whoever runs it sees it (package broker/console): all
// applications, all nodes. Who calls has checked that it is the operator.
type Operator struct{ b *Broker }

// Operator returns the broker's side for its operator.
func (b *Broker) Operator() Operator { return Operator{b} }

// OperatorRole is the RoleName of the operator's identity.
const OperatorRole = "operator"

// Identity returns the operator as a caller of an application, with the rights of its
// server key; nil where there is no such application.
func (o Operator) Identity(app string) *Identity {
	a := o.b.tokens.application(app)
	if a == nil {
		return nil
	}
	return &Identity{App: a, Role: RoleServer, RoleName: OperatorRole}
}

// Applications returns the names of all, sorted.
func (o Operator) Applications() []string {
	return slices.Sorted(maps.Keys(o.b.tokens.secrets.Load().apps))
}

// Open is OpenInWords.
func (o Operator) Open() []string { return o.b.OpenInWords() }

// Now is the store's clock.
func (o Operator) Now() time.Time { return o.b.opt.Store.Now() }

// Lag is how far copies of records are behind on their way to accounts' logs.
func (o Operator) Lag(ctx context.Context) (store.Lag, error) { return o.b.opt.Store.Lag(ctx) }

// SignToken signs a token for an application as its backend would; ttl is at most 24
// hours. Errors: *Error with 4004 for an application that is not there, 4000 for claims
// that no token may have.
func (o Operator) SignToken(app string, claims map[string]any, ttl time.Duration) (string, error) {
	return o.b.signToken(app, claims, ttl)
}

// ExplainToken says what a token is to this broker, or which check it fails; tokens that
// were revoked are refused.
func (o Operator) ExplainToken(app, token string) Explanation {
	return o.b.tokens.explain(app, token, o.b.opt.Now())
}

// ObjectOf returns the object that a root leads to now; ErrNoObject for every root that
// leads nowhere, the store's errors.
func (o Operator) ObjectOf(ctx context.Context, root string) (*Object, error) {
	verified, ok := o.b.opt.Keyring.Verify(root, o.b.opt.Now())
	if !ok || o.b.retiredKeys.Load()&(1<<verified.KID) != 0 {
		return nil, ErrNoObject
	}
	return o.b.objects.resolve(ctx, verified.OID)
}

// ViewerRows returns the statistics of an object for a graph's span until now. Errors:
// ErrNoObject, *Error with 4004, the store's.
func (o Operator) ViewerRows(ctx context.Context, app, objectID string, g ViewerGraph) (ViewerChart, error) {
	object, err := o.object(ctx, app, objectID)
	if err != nil {
		return ViewerChart{}, err
	}
	return o.b.chartOf(ctx, object, g)
}

// Accumulations returns the names of an object's accumulations, sorted: of those that had
// an entry lately. Errors as of ViewerRows.
func (o Operator) Accumulations(ctx context.Context, app, objectID string) ([]string, error) {
	object, err := o.object(ctx, app, objectID)
	if err != nil {
		return nil, err
	}
	prefix := namePrefix(object)
	rows, err := o.b.opt.Store.List(ctx, tableAccumulationName, prefix, "", maxNames)
	if err != nil {
		return nil, fmt.Errorf("broker: accumulations: %w", err)
	}
	names := []string{}
	for _, row := range rows {
		// A row of an earlier version does not have the name in it.
		if name := string(row.Data); prefix+hashed(name) == row.Key {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

func (o Operator) object(ctx context.Context, app, objectID string) (*Object, error) {
	a := o.b.tokens.application(app)
	if a == nil {
		return nil, &Error{Result: 4004, Text: "app: no such application"}
	}
	return o.b.objects.get(ctx, a, objectID)
}

// signToken signs a token for an application, with what TokenRules ask for.
func (b *Broker) signToken(app string, claims map[string]any, ttl time.Duration) (string, error) {
	keys := b.tokens.app(app)
	if keys == nil {
		return "", &Error{Result: 4004, Text: "app: no such application"}
	}
	if b.opt.TokenRules.Issuer != "" {
		claims["iss"] = b.opt.TokenRules.Issuer
	}
	if b.opt.TokenRules.Audience != "" {
		claims["aud"] = b.opt.TokenRules.Audience
	}
	token, err := SignToken(Application{Name: app, TokenSecret: Secret(keys.secret)}, claims, ttl, b.opt.Now())
	var fault *tokenFault
	if errors.As(err, &fault) {
		return "", &Error{Result: 4000, Text: fault.text}
	}
	return token, err
}

// inWords returns a channel's name as people know it: the object's id in place of its
// root, which is a capability. Names of roots that lead nowhere keep the first 8 digits
// of their object's number.
func (b *Broker) inWords(ctx context.Context, text string) ChannelName {
	p, err := channels.ParsePattern(text)
	if err != nil || !channels.IsRoot(p.First()) {
		return ChannelName{Channel: text}
	}
	rest := ""
	if tail := p.Tail(); !tail.IsZero() {
		rest = tail.String()[1:]
	}
	o, err := Operator{b}.ObjectOf(ctx, p.First())
	if err != nil {
		return ChannelName{ObjectID: "@" + p.First()[2:10], Channel: rest}
	}
	return ChannelName{App: o.App.Name, ObjectID: o.ID, Channel: rest}
}
