package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/disk"
	"github.com/gobelin-broker/gobelin/store/memory"
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
		return nil, errors.New("store: redis is not in this version yet")
	}
	s, err := c.openDisk(ctx, string(l), log)
	if err != nil {
		return nil, err // not s: a nil *disk.Store in the interface would not be nil
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
