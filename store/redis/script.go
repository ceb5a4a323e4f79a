package redis

import (
	"context"
	_ "embed"
	"errors"
	"fmt"

	goredis "github.com/redis/go-redis/v9"

	"github.com/gobelin-broker/gobelin/store"
)

// The scripts. All keys of one call lie in one partition.
var (
	//go:embed append.lua
	appendText string
	//go:embed delete.lua
	deleteText string
	//go:embed redact.lua
	redactText string
	//go:embed seek.lua
	seekText string
	//go:embed put.lua
	putText string
	//go:embed remove.lua
	removeText string
	//go:embed take.lua
	takeText string
	//go:embed leave.lua
	leaveText string
	//go:embed place.lua
	placeText string
	//go:embed state.lua
	stateText string
	//go:embed lease.lua
	leaseText string
	//go:embed waiting.lua
	waitingText string
	//go:embed move.lua
	moveText string
	//go:embed moved.lua
	movedText string

	appendScript = goredis.NewScript(appendText)
	deleteScript = goredis.NewScript(deleteText)
	redactScript = goredis.NewScript(redactText)
	seekScript   = goredis.NewScript(seekText)
	putScript    = goredis.NewScript(putText)
	removeScript = goredis.NewScript(removeText)
	takeScript   = goredis.NewScript(takeText)
	leaveScript  = goredis.NewScript(leaveText)
	placeScript  = goredis.NewScript(placeText)
	stateScript  = goredis.NewScript(stateText)

	leaseScript   = goredis.NewScript(leaseText)
	waitingScript = goredis.NewScript(waitingText)
	moveScript    = goredis.NewScript(moveText + appendText)
	movedScript   = goredis.NewScript(movedText)
)

// run runs a script alone, with its text where the server does not know it (any
// more). The breaker hears how it went.
func (s *Store) run(ctx context.Context, script *goredis.Script, keys []string, args ...any) (any, error) {
	if err := s.open(); err != nil {
		return nil, err
	}
	client, err := s.primary(ctx, keys[0])
	if err != nil {
		return nil, err
	}
	got, err := script.Run(ctx, client, keys, args...).Result()
	if c, ok := s.client.(*goredis.ClusterClient); ok && moved(err) {
		got, err = s.members.follow(ctx, c, err, func(pipe goredis.Pipeliner) *goredis.Cmd {
			return script.Eval(ctx, pipe, keys, args...)
		})
	}
	s.judge(ctx, err)
	return got, err
}

// look does something that changes nothing, once more if a connection broke over it.
func (s *Store) look(ctx context.Context, do func() error) error {
	if err := s.open(); err != nil {
		return err
	}
	err := do()
	s.judge(ctx, err)
	if doubtful(err) && cause(err) == "connection" {
		err = do()
		s.judge(ctx, err)
	}
	return err
}

// open refuses while the breaker is open.
func (s *Store) open() error {
	if !s.breaker.allow() {
		return errBroken
	}
	return nil
}

// judge tells the breaker how a command went. An answer, whatever it says, is a
// server that works; who gave up waiting says nothing.
func (s *Store) judge(ctx context.Context, err error) {
	switch {
	case err == nil, refusal(err) != "" && refusal(err) != "LOADING", errors.Is(err, goredis.Nil):
		s.breaker.succeeded()
	case ctx.Err() == nil && !errors.Is(err, goredis.ErrClosed):
		s.breaker.failed()
	}
}

// primary returns the client that sends a command with this key to its primary
// once: the cluster's own sends it again when a connection breaks over it.
func (s *Store) primary(ctx context.Context, key string) (goredis.Scripter, error) {
	if c, ok := s.client.(*goredis.ClusterClient); ok {
		return c.MasterForKey(ctx, key)
	}
	return s.client, nil
}

// errBroken is what callers get while the breaker is open.
var errBroken = fmt.Errorf("the server did not answer lately: %w", store.ErrUnavailable)
