package broker

import (
	"context"
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
	began   time.Time
	out     []Published
	pending sync.WaitGroup

	order []*together
	last  *resolved // where the one before goes
	// Where each goes, and what goes to each log; nil where there is but one publication.
	targets map[named]*resolved
	byLog   map[store.LogName]*together
}

// named is where a publication goes, as the request says; resolved is what that means.
type (
	named struct{ object, channel string }

	resolved struct {
		at named
		target
		err  error
		with *together
	}
)

// together is what goes to one channel in one call.
type together struct {
	log    store.LogName
	limits store.Limits

	// not submitted
	records []store.Record
	bytes   int
	of      []int // which publications they are
}

// PublishAll appends each publication that who may make, in order, and returns one
// outcome for each once all are known (product.md §9). A refusal of one leaves the
// others; if the store fails, so do those that went to it in one call, up to 100 of one
// channel.
func (b *Broker) PublishAll(ctx context.Context, who *Identity, pubs []Publication) []Published {
	all := &publications{b: b, who: who, out: make([]Published, len(pubs)), began: time.Now()}
	if len(pubs) > 1 {
		all.targets, all.byLog = map[named]*resolved{}, map[store.LogName]*together{}
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
	b, t := all.b, all.resolve(ctx, p)
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
	all.join(ctx, t.with, i, r)
	return nil
}

// resolve returns where a publication goes.
func (all *publications) resolve(ctx context.Context, p *Publication) *resolved {
	at := named{p.ObjectID, p.Channel}
	if all.last != nil && all.last.at == at {
		return all.last
	}
	t := all.targets[at]
	if t == nil {
		t = &resolved{at: at}
		if t.target, t.err = all.b.httpTarget(ctx, all.who, *p); t.err == nil {
			t.with = all.group(&t.target)
		}
		if all.targets != nil {
			all.targets[at] = t
		}
	}
	all.last = t
	return t
}

// group returns what goes to the log of t, which other names may mean, too.
func (all *publications) group(t *target) *together {
	g := all.byLog[t.log]
	if g == nil {
		g = &together{log: t.log, limits: t.kind.limits}
		all.order = append(all.order, g)
		if all.byLog != nil {
			all.byLog[t.log] = g
		}
	}
	return g
}

// join puts a record to those of its log that wait; those that are enough go first.
func (all *publications) join(ctx context.Context, g *together, i int, r store.Record) {
	if len(g.records) == mostTogether || g.bytes+len(r.Data) > mostTogetherBytes {
		all.submit(ctx, g)
	}
	g.records = append(g.records, r)
	g.bytes += len(r.Data)
	g.of = append(g.of, i)
}

// submit appends what waits in g, if anything does; done counts it out.
func (all *publications) submit(ctx context.Context, g *together) {
	records, of := g.records, g.of
	if len(records) == 0 {
		return
	}
	g.records, g.bytes, g.of = nil, 0, nil
	all.pending.Add(1)
	span := trace.Start(ctx, "store append")
	span.Number("gobelin.records", int64(len(records)))
	all.b.opt.Store.Submit(g.log, g.limits, records, func(at store.Appended, err error) {
		defer all.pending.Done()
		span.End(trace.FailedStore(err))
		took := time.Since(all.began).Seconds()
		for n, i := range of {
			if err != nil {
				all.out[i].Err = err
				continue
			}
			all.b.metrics.stored.Observe(took)
			all.out[i].ID, all.out[i].Time = at.Positions[n].String(), at.Positions[n].MS()
		}
		if err == nil {
			all.b.metrics.published.Add(float64(len(of)))
		}
	})
}
