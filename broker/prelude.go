package broker

import (
	"context"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
)

// prelude is the snapshot that a subscription to a document's changes begins with
// (product.md E17): the document as of the seam. It is read when it is due and goes
// through the session's flow, so that no change comes before it, and those that come
// after it have greater versions.
type prelude struct {
	channel string
	name    catchup.DocumentName
	doc     catchup.Document // as it was before the seam was fixed
	at      store.Position   // the seam; guarded by flow.mu
	unread  *unread
}

// preludeOf prepares what a live subscription begins with; nil where it begins with
// nothing. The topic then is as far as the document, so that the seam is, too.
func (s *subscriber) preludeOf(ctx context.Context, tp *topic, channel string, t *target) (*prelude, error) {
	if t.kind.scope == "" {
		return nil, nil
	}
	name, err := s.b.documentOf(ctx, t)
	if err != nil {
		return nil, err
	}
	doc, err := s.b.documents.ReadSettled(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := tp.level(ctx, s.b.opt.Store); err != nil {
		return nil, err
	}
	u := s.unreadOf(unreadRecord{Channel: channel}, nil)
	return &prelude{channel: channel, name: name, doc: doc, unread: u}, nil
}

// pullPrelude reads the snapshot that is due. What its log cannot tell for the seam
// itself it tells for a little later, and live goes on from there.
func (f *flow) pullPrelude(ctx context.Context) ([]*bayeux.Delivery, error) {
	p, b := f.prelude, f.listener.sub.b
	shot, err := b.documents.Snapshot(ctx, p.name, p.doc, p.at)
	if err != nil {
		return nil, err
	}
	f.prelude = nil
	if f.lags && f.cursor.Before(shot.After) {
		f.cursor = shot.After
	}
	f.begun = p.unread
	b.metrics.snapshots.Inc()
	return []*bayeux.Delivery{bayeux.NewDelivery(bayeux.DeliveryFields{Channel: p.channel, Data: shot.Message, Kept: true})}, nil
}

// dropPrelude takes back a snapshot that was not read yet.
func (s *subscriber) dropPrelude(l *listener, t *topic) {
	f := l.flow(t)
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.prelude != nil {
		s.dropUnread(f.prelude.unread)
		f.prelude = nil
	}
}

// restoreSnapshot begins a subscription of a session that is taken up with its
// snapshot again, which the client may not have had, and brings every change since.
func (s *subscriber) restoreSnapshot(ctx context.Context, name channels.Name) error {
	for _, l := range s.listeners {
		if l.prefix != "/"+name.First() {
			continue
		}
		for tp, sm := range l.seams {
			if tp.name != name.Tail() || !sm.exact {
				continue
			}
			t, _, err := s.regain(ctx, name.String(), grade(l.grade.Load()), l.user)
			if err != nil {
				return err
			}
			pre, err := s.preludeOf(ctx, tp, name.String(), &t)
			if err != nil {
				return storeRefusal(err, s.b, "resume")
			}
			f := l.flowOf(tp, true)
			if pre != nil {
				f.prelude = pre
				if pre.at = f.cursor; !f.from.IsZero() {
					pre.at = catchup.JustBefore(f.from)
				} else {
					f.since = time.Time{}
				}
			}
			f.give()
			f.mu.Unlock()
			return nil
		}
	}
	return nil // it has been unsubscribed
}
