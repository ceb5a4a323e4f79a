package console

import (
	"context"

	"github.com/gobelin-broker/gobelin/broker"
)

// listSessions: GET sessions[?search=][&everywhere=1][&slowest=1][&after=][&limit=].
func listSessions(ctx context.Context, c *Console, a asked) (any, error) {
	limit, err := a.number("limit", 50, 1, 200)
	if err != nil {
		return nil, err
	}
	everywhere, err := a.number("everywhere", 0, 0, 1)
	if err != nil {
		return nil, err
	}
	slowest, err := a.number("slowest", 0, 0, 1)
	if err != nil {
		return nil, err
	}
	return c.opt.Broker.Sessions(ctx, broker.SessionQuery{
		Everywhere: everywhere == 1, Slowest: slowest == 1, Search: a.Get("search"), After: a.Get("after"), Limit: int(limit),
	})
}

// getSession: GET session?id=, one with what it is subscribed to.
func getSession(ctx context.Context, c *Console, a asked) (any, error) {
	v, subscriptions, err := c.opt.Broker.Session(ctx, a.Get("id"))
	if err != nil {
		return nil, err
	}
	return struct {
		broker.SessionView
		List []broker.Subscription `json:"list"`
	}{v, subscriptions}, nil
}

// endSession: POST session/end {"id"}.
func endSession(ctx context.Context, c *Console, a asked) (any, error) {
	var body struct {
		ID string `json:"id"`
	}
	if err := a.into(&body); err != nil {
		return nil, err
	}
	return done, c.opt.Broker.EndSession(ctx, body.ID)
}

// done answers what has no more to say.
var done = struct{}{}
