package redis

import (
	"context"
	"fmt"
	"strconv"

	"github.com/gobelin-broker/gobelin/store"
)

// Count returns how many records the whole range holds; see store.Log. n is dense
// within an epoch, and a log is read in one epoch, so it is arithmetic.
func (s *Store) Count(ctx context.Context, name store.LogName, r store.Range) (int64, error) {
	v := s.view(ctx, name, r)
	v.onlyN = true
	w := v.window()
	if v.err != nil {
		return 0, fmt.Errorf("redis: count: %w", readError(v.err))
	}
	if w.Empty {
		return 0, nil
	}
	lo, hi := w.First.N(), w.Last.N()
	n := int64(hi-lo) + 1
	if !v.redacted {
		return n, nil
	}
	var less int64
	err := s.look(ctx, func() (err error) {
		less, err = s.client.ZCount(ctx, v.keys.redacted, strconv.FormatUint(lo, 10), strconv.FormatUint(hi, 10)).Result()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("redis: count: %w", readError(err))
	}
	return n - less, nil
}
