package console

import (
	"context"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
)

// listChannels: GET channels[?search=][&limit=], the channels that spoke in the last hour.
func listChannels(ctx context.Context, c *Console, a asked) (any, error) {
	limit, err := a.number("limit", 50, 1, 200)
	if err != nil {
		return nil, err
	}
	return c.opt.Broker.Channels(ctx, strings.TrimSpace(a.Get("search")), int(limit))
}

// getChannel: GET channel?channel=[&app=&object=], one of them.
func getChannel(ctx context.Context, c *Console, a asked) (any, error) {
	v, err := c.opt.Broker.Channel(ctx, a.channel())
	if err != nil {
		return nil, err
	}
	return struct {
		broker.ChannelView
		Now int64 `json:"now"`
	}{v, c.opt.Broker.Now().UnixMilli()}, nil
}

// density: GET density?channel=[&app=&object=]&from=&to=[&parts=], how many messages of a
// channel came in each part of a time, from and to in ms.
func density(ctx context.Context, c *Console, a asked) (any, error) {
	from, err := a.number("from", -1, 0, 1<<48)
	if err != nil {
		return nil, err
	}
	to, err := a.number("to", -1, 0, 1<<48)
	if err != nil {
		return nil, err
	}
	parts, err := a.number("parts", 60, 1, 240)
	if err != nil {
		return nil, err
	}
	counts, err := c.opt.Broker.Density(ctx, a.channel(), from, to, int(parts))
	if err != nil {
		return nil, err
	}
	return struct {
		From   int64   `json:"from"`
		To     int64   `json:"to"`
		Counts []int64 `json:"counts"`
	}{from, to, counts}, nil
}

// viewers: GET viewers?app=&object=[&graph=1], how many viewers an object had: graphs are
// those of viewer.log (product.md §5.5, S8). A row is its time in ms, minimum, average and
// maximum.
func viewers(ctx context.Context, c *Console, a asked) (any, error) {
	graph, err := a.number("graph", 1, 1, int64(len(broker.ViewerGraphs)))
	if err != nil {
		return nil, err
	}
	chart, err := c.opt.Broker.ViewerRows(ctx, a.Get("app"), a.Get("object"), broker.ViewerGraphs[graph])
	if err != nil {
		return nil, err
	}
	rows := make([][4]int64, len(chart.Rows))
	for i, r := range chart.Rows {
		rows[i] = [4]int64{r.Time.UnixMilli(), int64(r.Min), int64(r.Avg()), int64(r.Max)}
	}
	return struct {
		From int64      `json:"from"`
		To   int64      `json:"to"`
		Step int64      `json:"step"`
		Rows [][4]int64 `json:"rows"`
	}{chart.From.UnixMilli(), chart.To.UnixMilli(), int64(chart.Step / time.Millisecond), rows}, nil
}

// accumulations: GET accumulations?app=&object=, the names of an object's.
func accumulations(ctx context.Context, c *Console, a asked) (any, error) {
	names, err := c.opt.Broker.Accumulations(ctx, a.Get("app"), a.Get("object"))
	return map[string][]string{"accumulations": names}, err
}

// streams: GET streams, those of all accounts with where they stand.
func streams(ctx context.Context, c *Console, _ asked) (any, error) {
	all, err := c.opt.Broker.Streams(ctx)
	if err != nil {
		return nil, err
	}
	lag, err := c.opt.Broker.Lag(ctx)
	if err != nil {
		return nil, err
	}
	since := int64(0)
	if !lag.Since.IsZero() {
		since = lag.Since.UnixMilli()
	}
	return struct {
		Streams []broker.StreamState `json:"streams"`
		// Waiting are copies of records that have not reached their account's log, Since
		// is when the oldest of them was made, in ms; 0: none waits.
		Waiting int64 `json:"waiting"`
		Since   int64 `json:"since"`
		Now     int64 `json:"now"`
	}{all, lag.Waiting, since, c.opt.Broker.Now().UnixMilli()}, nil
}
