package broker

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/gobelin-broker/gobelin/broker/trace"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/store"
)

// What goes to the store in one call: more would hold up the publishers beside it.
const (
	mostTogether      = 100
	mostTogetherBytes = 1 << 20
)

// publications are those of one request on their way: what goes to one channel is
// appended together, each in its turn.
type publications struct {
	b       *Broker
	who     *Identity
	targets map[named]resolved
	byLog   map[store.LogName]*together
	order   []*together // not submitted
	began   time.Time
	out     []Published
	pending sync.WaitGroup
}

// named is where a publication goes, as the request says; resolved is what that means.
type (
	named struct{ object, channel string }

	resolved struct {
		target
		err error
	}
)

// together is what goes to one channel in one call.
type together struct {
	log     store.LogName
	limits  store.Limits
	records []store.Record
	bytes   int
	of      []int // which publications they are
}

// PublishAll appends each publication that who may make, in order, and returns one
// outcome for each once all are known (product.md §9). A refusal of one leaves the
// others; if the store fails, so do those that went to it in one call, up to 100 of one
// channel.
func (b *Broker) PublishAll(ctx context.Context, who *Identity, pubs []Publication) []Published {
	all := &publications{
		b: b, who: who, out: make([]Published, len(pubs)), began: time.Now(),
		targets: make(map[named]resolved, 1), byLog: make(map[store.LogName]*together, 1),
	}
	for i := range pubs {
		if err := all.take(ctx, i, &pubs[i]); err != nil {
			b.metrics.refused("publish").Inc()
			all.out[i].Err = err
		}
	}
	for _, g := range all.order {
		all.submit(ctx, g)
	}
	all.pending.Wait()
	return all.out
}

// take puts publication i to those of its channel, or refuses it.
func (all *publications) take(ctx context.Context, i int, p *Publication) error {
	b := all.b
	at := named{p.ObjectID, p.Channel}
	t, known := all.targets[at]
	if !known {
		t.target, t.err = b.httpTarget(ctx, all.who, *p)
		all.targets[at] = t
	}
	if t.err != nil {
		return t.err
	}
	if len(p.Data) > b.limits().Message {
		return &Error{Result: 4013, Text: "data is larger than limits.message allows"}
	}
	data, err := b.shaped(t.target, p.Data)
	if err != nil {
		return err
	}
	r := store.Record{Data: catchup.Encode(data, nil, 0), Nonce: p.Nonce, Copy: b.copyOf(&t.target, all.who, data)}
	if err := r.Validate(); err != nil {
		return err
	}
	all.join(ctx, &t.target, i, r)
	return nil
}

// join puts a record to those of its log that wait; those that are enough go first.
func (all *publications) join(ctx context.Context, t *target, i int, r store.Record) {
	g := all.byLog[t.log]
	if g != nil && (len(g.records) == mostTogether || g.bytes+len(r.Data) > mostTogetherBytes) {
		all.order = slices.DeleteFunc(all.order, func(other *together) bool { return other == g })
		all.submit(ctx, g)
		g = nil
	}
	if g == nil {
		g = &together{log: t.log, limits: t.kind.limits}
		all.byLog[t.log] = g
		all.order = append(all.order, g)
	}
	g.records = append(g.records, r)
	g.bytes += len(r.Data)
	g.of = append(g.of, i)
}

// submit appends what goes together; done counts it out.
func (all *publications) submit(ctx context.Context, g *together) {
	all.pending.Add(1)
	span := trace.Start(ctx, "store append")
	span.Number("gobelin.records", int64(len(g.records)))
	all.b.opt.Store.Submit(g.log, g.limits, g.records, func(at store.Appended, err error) {
		defer all.pending.Done()
		span.End(trace.FailedStore(err))
		for n, i := range g.of {
			if err != nil {
				all.out[i].Err = err
				continue
			}
			all.b.metrics.published.Inc()
			all.b.metrics.stored.Observe(time.Since(all.began).Seconds())
			all.out[i].ID, all.out[i].Time = at.Positions[n].String(), at.Positions[n].MS()
		}
	})
}
