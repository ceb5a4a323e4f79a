package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/disk"
	"github.com/gobelin-broker/gobelin/store/memory"
	"github.com/gobelin-broker/gobelin/store/redis"
	"go.uber.org/zap"
)

// openStore opens the store a configuration names. The caller closes it.
func openStore(ctx context.Context, c *config, log *zap.Logger) (store.Store, error) {
	return c.openAt(ctx, c.Store, log)
}

// openAt opens the store at l with the settings of the configuration.
func (c *config) openAt(ctx context.Context, l location, log *zap.Logger) (store.Store, error) {
	log = log.Named("store")
	switch l.kind() {
	case kindMemory:
		return memory.New(memory.Options{Log: log}), nil
	case kindRedis:
		s, err := c.openRedis(ctx, l, false, log)
		if err != nil {
			return nil, err // not s: a nil *redis.Store in the interface would not be nil
		}
		return s, nil
	}
	s, err := c.openDisk(ctx, string(l), log)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (c *config) openDisk(ctx context.Context, folder string, log *zap.Logger) (*disk.Store, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	floor := int64(c.DiskFloor)
	if floor == 0 {
		floor = -1 // to the store zero is its default
	}
	return disk.Open(ctx, folder, disk.Options{Small: c.DiskMemory == "small", Floor: floor, Log: log})
}

// openRedis opens a Redis, which looks it over first (store.md §3.8). still: it takes no
// part in the work of the nodes.
func (c *config) openRedis(ctx context.Context, l location, still bool, log *zap.Logger) (*redis.Store, error) {
	ack := ackStored
	if c.Ack == ackReplica {
		ack = ackReplica
	}
	s, err := redis.Open(ctx, l.reveal(), redis.Options{
		Prefix: c.Redis.Prefix, PublishTimeout: c.Redis.PublishTimeout, Ack: ack,
		AllowEviction: c.Redis.AllowEviction, Insecure: c.Redis.Insecure, Still: still, Log: log,
	})
	if err != nil {
		return nil, err
	}
	facts, err := s.Facts(ctx)
	if err == nil && c.Ack == ackFsync && facts.Persistence != fsyncAlways {
		err = fmt.Errorf("durability.ack: fsync needs a Redis with appendonly yes and appendfsync always; this one has %q", facts.Persistence)
	}
	if err == nil && c.Ack == ackReplica && facts.Replicas == 0 {
		err = errors.New("durability.ack: replica needs a Redis with a replica; this one has none that is connected")
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// redisFacts opens the Redis of a configuration as a node would, and asks what it is.
func (c *config) redisFacts(ctx context.Context, log *zap.Logger) (redis.Facts, error) {
	s, err := c.openRedis(ctx, c.Store, true, log.Named("store"))
	if err != nil {
		return redis.Facts{}, err
	}
	f, err := s.Facts(ctx)
	return f, errors.Join(err, s.Close())
}

// fsyncAlways is what redis.Facts says of a Redis that fsyncs before it answers.
const fsyncAlways = "aof always"

// aboutRedis opens the Redis of a configuration to see whether a node would start on
// it, and says in words what it found (experience.md §2, check).
func (c *config) aboutRedis(ctx context.Context, log *zap.Logger) (string, error) {
	f, err := c.redisFacts(ctx, log)
	if err != nil {
		return "", err
	}
	bound := "no maxmemory"
	if f.MaxMemory > 0 {
		bound = "of " + bytesInWords(f.MaxMemory)
	}
	return fmt.Sprintf("Redis %s, %s, %s and %s; persistence: %s; eviction: %s; memory: %s %s; clock: %v off",
		f.Version, f.Kind, count(f.Primaries, "primary"), count(f.Replicas, "replica"), f.Persistence, f.Policy,
		bytesInWords(f.UsedMemory), bound, f.Skew.Round(time.Millisecond)), nil
}
