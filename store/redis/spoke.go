package redis

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/gobelin-broker/gobelin/store"
)

const (
	// spokeBatch is how many entries of a partition are looked at in one command.
	spokeBatch = 1000
)

// stretch is where the reading of a partition's index goes on: entries from a score
// on. Entries that speak meanwhile go to the end, so none is passed over by that, as
// would happen when counting them; some are seen twice.
type stretch struct {
	partition int
	from      float64
	count     int64
}

// Spoke implements store.Log over the index of a partition, or of all of them for a
// feed that stands for many.
func (s *Store) Spoke(ctx context.Context, feed string, since time.Time, limit int) (logs []store.LogName, more bool, err error) {
	from := float64(max(since.Add(-indexEvery).UnixMilli(), 0))
	rest := []stretch{{partition(feed), from, spokeBatch}}
	matches := func(name store.LogName) bool { return name.Feed == feed }
	if feed == store.AllFeeds || strings.HasSuffix(feed, "/") {
		rest = rest[:0]
		for p := range partitions {
			rest = append(rest, stretch{p, from, spokeBatch})
		}
		matches = func(name store.LogName) bool { return strings.HasPrefix(name.Feed, feed) }
	}
	seen := make(map[string]struct{})
	for len(rest) > 0 {
		var found [][]goredis.Z
		if err := s.look(ctx, func() (err error) {
			found, err = s.spoken(ctx, rest)
			return err
		}); err != nil {
			return nil, false, fmt.Errorf("redis: spoke: %w", readError(err))
		}
		var next []stretch
		for i, members := range found {
			for _, m := range members {
				text, _ := m.Member.(string)
				name, ok := parseLogText(text)
				if _, twice := seen[text]; twice || !ok || !matches(name) {
					continue
				}
				if len(logs) >= limit {
					return logs, true, nil
				}
				seen[text] = struct{}{}
				logs = append(logs, name)
			}
			if int64(len(members)) == rest[i].count {
				next = append(next, rest[i].after(members[len(members)-1].Score))
			}
		}
		rest = next
	}
	return logs, false, nil
}

// after returns what follows a full stretch that ended at a score.
func (r stretch) after(score float64) stretch {
	if score == r.from { // more spoke in one ms than were asked for
		r.count *= 2
	}
	r.from = score
	return r
}

// spoken reads a stretch of the index of each partition.
func (s *Store) spoken(ctx context.Context, stretches []stretch) ([][]goredis.Z, error) {
	answers := make([]*goredis.ZSliceCmd, len(stretches))
	_, err := s.client.Pipelined(ctx, func(p goredis.Pipeliner) error {
		for i, r := range stretches {
			from := strconv.FormatFloat(r.from, 'f', -1, 64)
			answers[i] = p.ZRangeByScoreWithScores(ctx, s.keys.index(r.partition), &goredis.ZRangeBy{Min: from, Max: "+inf", Count: r.count})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	found := make([][]goredis.Z, len(stretches))
	for i, a := range answers {
		found[i] = a.Val()
	}
	return found, nil
}
