package broker

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/gobelin-broker/gobelin/store"
	"go.uber.org/zap"
)

// tableFigures has a row for each node of a store that several share: what it did of
// late. It is apart from the node's own row, so that no lease depends on its size.
const tableFigures = "figures"

const (
	// figuresEvery is how often a node writes its figures; figuresLife is how long they
	// are shown after that.
	figuresEvery = 5 * time.Second
	figuresLife  = 30 * time.Second
	// maxNodes bounds the nodes that are listed.
	maxNodes = 256
)

// The states of a node.
const (
	NodeServes  = "serving"
	NodeSilent  = "silent"  // it has not said for longer than its lease that it lives
	NodeStopped = "stopped" // in order
)

// Node is one of the processes that share the store, as it says of itself.
type Node struct {
	// ID is another one after each start; Name and Advertise are the configuration's.
	ID        string `json:"id"`
	Name      string `json:"name"`
	Advertise string `json:"advertise"`
	Version   string `json:"version"`
	// Self is the node that was asked.
	Self  bool   `json:"self"`
	State string `json:"state"`
	// Started and Beat are when it began and when it last said that it lives, in ms of the
	// store's clock.
	Started int64 `json:"started"`
	Beat    int64 `json:"beat"`
	// At is when the figures were taken, likewise; without any Figures is nil.
	At      int64    `json:"at"`
	Figures *Figures `json:"figures"`
}

// figuresRow is what a node writes for others.
type figuresRow struct {
	At      int64   `json:"at"`
	Version string  `json:"version"`
	Figures Figures `json:"figures"`
}

// figuresNow is this node's row.
func (b *Broker) figuresNow() figuresRow {
	return figuresRow{At: b.opt.Store.Now().UnixMilli(), Version: b.opt.Version, Figures: b.Figures()}
}

// keepFigures tells the other nodes what this one does, until ctx ends. That they do not
// hear of it harms nobody.
func (b *Broker) keepFigures(ctx context.Context) {
	if !b.opt.Store.Shared() {
		return
	}
	tick := time.NewTicker(figuresEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		attempt, cancel := context.WithTimeout(ctx, figuresEvery)
		if err := b.writeFigures(attempt); err != nil && ctx.Err() == nil {
			b.log.Debug("this node's figures were not written", zap.Error(err))
		}
		cancel()
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (b *Broker) writeFigures(ctx context.Context) error {
	data, err := json.Marshal(b.figuresNow())
	if err == nil {
		_, err = b.opt.Store.Put(ctx, tableFigures, b.nodes.id, store.Put{Data: data, TTL: figuresLife})
	}
	return err
}

// Nodes returns all nodes that share the store, this one first, then those that serve:
// at most 256. It reads two lists of the store, whatever they do. Errors are the store's;
// then there is this node alone.
func (o Operator) Nodes(ctx context.Context) ([]Node, error) {
	b := o.b
	now := b.figuresNow()
	row := b.nodes.row
	all := []Node{{
		ID: b.nodes.id, Name: row.Name, Advertise: row.Advertise, Version: now.Version, Self: true, State: NodeServes,
		Started: row.Started, Beat: now.At, At: now.At, Figures: &now.Figures,
	}}
	if !b.opt.Store.Shared() {
		return all, nil
	}
	others, err := b.otherNodes(ctx)
	if err != nil {
		return all, fmt.Errorf("broker: nodes: %w", err)
	}
	return append(all, others...), nil
}

// otherNodes returns the other nodes, those that serve first.
func (b *Broker) otherNodes(ctx context.Context) ([]Node, error) {
	rows, err := b.opt.Store.List(ctx, tableNode, "", "", maxNodes)
	if err != nil {
		return nil, err
	}
	said, err := b.opt.Store.List(ctx, tableFigures, "", "", maxNodes)
	if err != nil {
		return nil, err
	}
	figures := make(map[string][]byte, len(said))
	for _, item := range said {
		figures[item.Key] = item.Data
	}
	var others []Node
	for _, item := range rows {
		var row nodeRow
		if item.Key == b.nodes.id || json.Unmarshal(item.Data, &row) != nil {
			continue
		}
		n := Node{ID: item.Key, Name: row.Name, Advertise: row.Advertise, State: NodeServes, Started: row.Started, Beat: row.Beat}
		switch {
		case row.Gone:
			n.State = NodeStopped
		case !b.nodes.fresh(&row):
			n.State = NodeSilent
		}
		n.take(figures[item.Key])
		others = append(others, n)
	}
	slices.SortFunc(others, func(a, c Node) int {
		return cmp.Or(cmp.Compare(nodeOrder[a.State], nodeOrder[c.State]), cmp.Compare(a.Name, c.Name), cmp.Compare(a.ID, c.ID))
	})
	return others, nil
}

// nodeOrder is the order in which nodes are shown.
var nodeOrder = map[string]int{NodeServes: 0, NodeSilent: 1, NodeStopped: 2}

// take reads what a node has written of itself, if it did.
func (n *Node) take(data []byte) {
	var row figuresRow
	if data == nil || json.Unmarshal(data, &row) != nil {
		return
	}
	row.Figures.Written.Bounds, row.Figures.Stored.Bounds = writtenBounds(), storedBounds()
	n.At, n.Version, n.Figures = row.At, row.Version, &row.Figures
}
