package console

import (
	"context"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
)

// Store says where the broker keeps things and whether that works.
type Store struct {
	// Kind is "disk", "memory" or "redis".
	Kind string `json:"kind"`
	// Fault is what is wrong, in words for an operator; empty when nothing is.
	Fault string `json:"fault"`
	// Facts are what else is to be known of it.
	Facts []Fact `json:"facts"`
}

// Fact is something to know, in words.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// report is the answer of GET overview.
type report struct {
	// Time is the server's clock in ms since 1970.
	Time int64 `json:"time"`
	// Version is this node's; Applications are the names of all, Open says in words what
	// needs no signed root.
	Version      string   `json:"version"`
	Applications []string `json:"applications"`
	Open         []string `json:"open"`
	Store        Store    `json:"store"`
	// Fault is why not all nodes are there; empty when they are.
	Fault string `json:"fault"`
	Nodes []node `json:"nodes"`
	// Columns name the figures of the samples, which are Every ms apart, newest last.
	Columns []string `json:"columns"`
	Every   int64    `json:"every"`
	Samples []sample `json:"samples"`
	Console tally    `json:"console"`
}

// node is a node with what it does per second; nil: that is not known.
type node struct {
	broker.Node
	Rates *Rates `json:"rates"`
}

// tally counts what the gate and the room refused.
type tally struct {
	WrongTokens int64 `json:"wrong_tokens"`
	Throttled   int64 `json:"throttled"`
	Busy        int64 `json:"busy"`
}

// overview: GET overview[?since=], what all nodes do, with the samples of the last hour
// that came after since, in ms. It looks at the nodes once a second, however many ask.
func overview(ctx context.Context, c *Console, a asked) (any, error) {
	since, err := a.number("since", 0, 0, 1<<48)
	if err != nil {
		return nil, err
	}
	c.hour.refresh(ctx)
	now, before, samples, store := c.hour.newest(since)
	o := report{
		Time: time.Now().UnixMilli(), Version: c.opt.Version, Applications: c.opt.Broker.Applications(), Open: c.opt.Broker.Open(),
		Store: store, Fault: now.fault, Nodes: []node{}, Columns: columns, Every: sampleEvery.Milliseconds(), Samples: samples,
		Console: tally{WrongTokens: c.opt.Gate.wrongTokens.Load(), Throttled: c.opt.Gate.throttled.Load(), Busy: c.busy.Load()},
	}
	for i := range now.nodes {
		o.Nodes = append(o.Nodes, node{now.nodes[i], rates(before, &now.nodes[i])})
	}
	if o.Samples == nil {
		o.Samples = []sample{}
	}
	if o.Store.Facts == nil {
		o.Store.Facts = []Fact{}
	}
	return o, nil
}
