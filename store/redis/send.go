package redis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/gobelin-broker/gobelin/store"
)

// outcome is what became of a call in one attempt.
type outcome struct {
	answer string
	err    error // it was not done, or may not have been
	short  error // it was done, but is not as durable as Options.Ack asks for
}

// ackTime bounds how long a flight waits for a replica.
const ackTime = 500 * time.Millisecond

// send writes the calls in one pipeline for each primary, and returns what became of
// each.
func (s *Store) send(ctx context.Context, calls []*call, text bool) []outcome {
	out := make([]outcome, len(calls))
	all := make([]int, len(calls))
	for i := range all {
		all[i] = i
	}
	if c, ok := s.client.(*goredis.ClusterClient); ok {
		s.sendCluster(ctx, c, calls, text, out)
	} else {
		s.sendTo(ctx, s.client, calls, all, text, out)
	}
	var worst error
	for i := range out {
		if doubtful(out[i].err) || unsent(out[i].err) || refusal(out[i].err) == "LOADING" {
			worst = out[i].err
		}
	}
	if worst != nil {
		s.breaker.failed()
	} else {
		s.breaker.succeeded()
	}
	return out
}

// pipeliner is a server that a flight can be sent to.
type pipeliner interface{ Pipeline() goredis.Pipeliner }

// sendTo sends those of the calls that which names to one server. With text the
// first carries the script, which the server may not know.
func (s *Store) sendTo(ctx context.Context, to pipeliner, calls []*call, which []int, text bool, out []outcome) {
	pipe := to.Pipeline()
	commands := make([]*goredis.Cmd, len(which))
	for i, at := range which {
		commands[i] = goredis.NewCmd(ctx, calls[at].command(s, text && i == 0)...)
		_ = pipe.Process(ctx, commands[i])
	}
	var replicas *goredis.IntCmd
	if s.options.Ack == ackReplica {
		replicas = wait(ctx, pipe)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	for i, at := range which {
		out[at].answer, out[at].err = commands[i].Text()
		out[at].short = acknowledged(replicas)
	}
}

// sendCluster sends each call to the primary of its partition. We do it ourselves
// because the client's own pipeline sends again what was not answered.
func (s *Store) sendCluster(ctx context.Context, c *goredis.ClusterClient, calls []*call, text bool, out []outcome) {
	byNode := make(map[*goredis.Client][]int)
	for i, call := range calls {
		node, err := c.MasterForKey(ctx, s.keys.meta(partition(call.log.Feed), logText(call.log)))
		if err != nil {
			out[i].err = fmt.Errorf("%w: %w", store.ErrUnavailable, err)
			continue
		}
		byNode[node] = append(byNode[node], i)
	}
	var sending sync.WaitGroup
	for node, which := range byNode {
		sending.Go(func() { s.sendTo(ctx, node, calls, which, text, out) })
	}
	sending.Wait()
	redirected := false
	for i, call := range calls {
		if moved(out[i].err) {
			out[i] = s.redirect(ctx, c, call, out[i].err)
			redirected = true
		}
	}
	if redirected && s.options.Ack == ackReplica {
		short := s.acknowledgedByAll(ctx, c)
		for i := range out {
			out[i].short = errors.Join(out[i].short, short)
		}
	}
}

// redirect sends a call to where its partition lies now.
func (s *Store) redirect(ctx context.Context, c *goredis.ClusterClient, call *call, err error) outcome {
	got, err := s.members.follow(ctx, c, err, func(pipe goredis.Pipeliner) *goredis.Cmd {
		command := goredis.NewCmd(ctx, call.command(s, true)...)
		_ = pipe.Process(ctx, command)
		return command
	})
	answer, _ := got.(string)
	return outcome{answer: answer, err: err}
}

// acknowledgedByAll waits for a replica of every primary: where a slot is on its way
// it is not clear whose.
func (s *Store) acknowledgedByAll(ctx context.Context, c *goredis.ClusterClient) error {
	return c.ForEachMaster(ctx, func(ctx context.Context, node *goredis.Client) error {
		return replicatedTo(ctx, node)
	})
}

// replicated waits until a replica of each primary has what was written before.
func (s *Store) replicated(ctx context.Context) error {
	if c, ok := s.client.(*goredis.ClusterClient); ok {
		return s.acknowledgedByAll(ctx, c)
	}
	return replicatedTo(ctx, s.client)
}

// replicatedTo waits for a replica of one primary. WAIT is for what its connection wrote
// or saw last, so something goes before it.
func replicatedTo(ctx context.Context, to pipeliner) error {
	pipe := to.Pipeline()
	pipe.Ping(ctx)
	replicas := wait(ctx, pipe)
	_, _ = pipe.Exec(ctx)
	return acknowledged(replicas)
}

// acknowledged returns what is wrong with the answer of a WAIT, if one was sent.
func acknowledged(replicas *goredis.IntCmd) error {
	if replicas == nil {
		return nil
	}
	n, err := replicas.Result()
	switch {
	case err != nil:
		return fmt.Errorf("written, but no replica is known to have it: %w: %w", store.ErrUncertain, err)
	case n < 1:
		return fmt.Errorf("written, but no replica has it: %w", store.ErrUncertain)
	}
	return nil
}

// wait waits, at the end of a pipeline, until one replica has what came before.
func wait(ctx context.Context, pipe goredis.Pipeliner) *goredis.IntCmd {
	d := ackTime
	if deadline, ok := ctx.Deadline(); ok {
		d = min(d, time.Until(deadline)/2)
	}
	command := goredis.NewIntCmd(ctx, "wait", 1, max(d.Milliseconds(), 1)) // 0 waits for ever
	_ = pipe.Process(ctx, command)
	return command
}
