package broker

import (
	"context"
	"errors"

	"github.com/gobelin-broker/gobelin/catchup"
	"go.uber.org/zap"
)

// errNoConference: no session of the object is open.
var errNoConference = &Error{Result: 4004, Text: "no session is open"}

// useConference returns the object's open conference, opened by its first use.
func (b *Broker) useConference(ctx context.Context, o *Object) (catchup.Conference, error) {
	conf, _, err := b.OpenConference(ctx, o)
	return conf, err
}

// OpenConference opens a conference (a session of product.md §5.2) of an object, or
// returns the one that is open; opened says which. Nodes with subscribers of the object
// hear of it and keep it open.
func (b *Broker) OpenConference(ctx context.Context, o *Object) (conf catchup.Conference, opened bool, err error) {
	conf, opened, err = b.conferences.Use(ctx, conferenceKey(o))
	if err != nil {
		return conf, false, dataRefusal(err)
	}
	if opened {
		b.post(notice{Conference: feedOf(o)})
	}
	return conf, opened, nil
}

// EndConference ends the open conference of an object. What it holds is kept for
// Options.SessionTTL from now on. errNoConference when none is open.
func (b *Broker) EndConference(ctx context.Context, o *Object) (catchup.Conference, error) {
	conf, err := b.conferences.End(ctx, conferenceKey(o))
	if errors.Is(err, catchup.ErrNoConference) {
		return conf, errNoConference
	}
	if err != nil {
		return conf, dataRefusal(err)
	}
	// The row would stay as long as a conference could have gone on: no harm, as
	// nothing of one that has ended is shown after its time.
	name := b.document(scopeSession, place{app: o.App, object: o}, conf.ConfNum)
	if err := b.documents.Extend(ctx, name, b.conferences.Kept(), true); err != nil {
		b.log.Debug("the data of a session that ended stays a little longer", zap.Error(err))
	}
	return conf, nil
}

// Conferences returns those of an object that are kept, newest first, the open one
// included.
func (b *Broker) Conferences(ctx context.Context, o *Object) ([]catchup.Conference, error) {
	all, err := b.conferences.List(ctx, conferenceKey(o))
	return all, dataRefusal(err)
}
