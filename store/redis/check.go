package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/gobelin-broker/gobelin/store"
)

const (
	// warnSkew and maxSkew bound how far this machine's clock may be from Redis's:
	// tokens and signatures are judged by the one, ages by the other.
	warnSkew = 2 * time.Second
	maxSkew  = 60 * time.Second
	// loadingEach is how often a server that is still loading is asked again.
	loadingEach = 250 * time.Millisecond
	// layout is what keys.config holds: the version of the key space, and partitions.
	layout = "gobelin 1 64"
)

// unknown is a fact that the server did not tell.
const unknown = "unknown"

// Facts are what an operator wants to know of a Redis, for a whole cluster the
// least favourable of its primaries.
type Facts struct {
	Kind        string        // "standalone", "sentinel", "cluster"
	Version     string        // "7.0.15"
	Policy      string        // maxmemory-policy
	Persistence string        // "none", "snapshots", "aof always", "aof everysec", "aof no", "aof"
	Skew        time.Duration // Redis's clock less this machine's
	Primaries   int           // how many share the keys
	Replicas    int           // of the primary that has fewest
	UsedMemory  int64         // bytes, of all primaries
	MaxMemory   int64         // bytes, of all primaries; 0: no bound
}

// Facts asks Redis for them.
func (s *Store) Facts(ctx context.Context) (Facts, error) {
	facts, err := s.survey(ctx)
	if err != nil {
		return Facts{}, s.explain(err)
	}
	return facts, nil
}

// survey asks each primary.
func (s *Store) survey(ctx context.Context) (Facts, error) {
	all := Facts{Kind: s.address.kind}
	cluster, ok := s.client.(*goredis.ClusterClient)
	if !ok {
		one, err := inspect(ctx, s.client)
		if err != nil {
			return all, err
		}
		if err := s.fits(one); err != nil {
			return all, err
		}
		all.add(one)
		return all, nil
	}
	var mu sync.Mutex
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, c *goredis.Client) error {
		one, err := inspect(ctx, c)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		all.add(one)
		return nil
	})
	if err != nil && strings.Contains(err.Error(), "cluster support disabled") {
		err = misfit("this is no cluster, use redis:// or redis+sentinel://")
	}
	return all, err
}

// server is what one says of itself.
type server struct {
	Facts
	mode, role string
}

// inspect asks one server.
func inspect(ctx context.Context, c goredis.Cmdable) (server, error) {
	text, err := c.Info(ctx).Result()
	if err != nil {
		return server{}, err
	}
	one := readInfo(text)
	if one.mode == kindSentinel { // it knows nothing of what follows
		return one, nil
	}
	before := time.Now()
	now, err := c.Time(ctx).Result()
	if err != nil {
		return server{}, err
	}
	one.Skew = now.Sub(before.Add(time.Since(before) / 2))
	if one.Persistence == "aof" {
		if v, err := c.ConfigGet(ctx, "appendfsync").Result(); err == nil && v["appendfsync"] != "" {
			one.Persistence += " " + v["appendfsync"]
		}
	}
	if one.Policy == unknown {
		if v, err := c.ConfigGet(ctx, "maxmemory-policy").Result(); err == nil && v["maxmemory-policy"] != "" {
			one.Policy = v["maxmemory-policy"]
		}
	}
	return one, nil
}

// readInfo reads the answer to INFO.
func readInfo(text string) server {
	field := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			field[name] = value
		}
	}
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(field[name], 10, 64)
		return n
	}
	one := server{mode: field["redis_mode"], role: field["role"]}
	one.Version, one.Policy = field["redis_version"], field["maxmemory_policy"]
	one.UsedMemory, one.MaxMemory = number("used_memory"), number("maxmemory")
	one.Replicas = int(number("connected_slaves"))
	switch {
	case field["aof_enabled"] == "1":
		one.Persistence = "aof"
	case field["aof_enabled"] == "":
		one.Persistence = unknown
	case number("rdb_saves") > 0 || number("rdb_last_save_time") > 0 && number("rdb_changes_since_last_save") == 0:
		one.Persistence = "snapshots"
	default:
		one.Persistence = "none"
	}
	for _, fact := range []*string{&one.Version, &one.Policy} {
		if *fact == "" {
			*fact = unknown
		}
	}
	return one
}

// add counts a primary in, and keeps the worse of each fact.
func (f *Facts) add(one server) {
	first := f.Primaries == 0
	f.Primaries++
	f.UsedMemory += one.UsedMemory
	f.MaxMemory += one.MaxMemory
	if first || older(one.Version, f.Version) {
		f.Version = one.Version
	}
	if first || f.Policy == noEviction {
		f.Policy = one.Policy
	}
	if first || risk(one.Persistence) > risk(f.Persistence) {
		f.Persistence = one.Persistence
	}
	if first || one.Skew.Abs() > f.Skew.Abs() {
		f.Skew = one.Skew
	}
	if first || one.Replicas < f.Replicas {
		f.Replicas = one.Replicas
	}
}

// risk orders what Persistence may be.
func risk(persistence string) int {
	for i, p := range []string{"aof always", "aof everysec", "aof", "aof no", unknown, "snapshots"} {
		if p == persistence {
			return i
		}
	}
	return 99
}

const noEviction = "noeviction"

// The oldest version with all that the scripts and sharded channels need.
const oldest = "7.0"

// older compares versions; what is not a number is not older.
func older(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(as), len(bs)) {
		x, err1 := strconv.Atoi(as[i])
		y, err2 := strconv.Atoi(bs[i])
		if err1 != nil || err2 != nil {
			return false
		}
		if x != y {
			return x < y
		}
	}
	return false
}

// fits refuses a server of another kind than the url says.
func (s *Store) fits(one server) error {
	switch {
	case one.mode == kindCluster:
		return misfit("this is a node of a cluster, use redis+cluster://")
	case one.mode == kindSentinel:
		return misfit("this is a sentinel, use redis+sentinel://host,host/<name of the primary>")
	case one.role == "slave":
		return fmt.Errorf("%w: %w", misfit("this is a replica, name the primary or use redis+sentinel://"), store.ErrUnavailable)
	}
	return nil
}

// check asks everything that must hold before anything is written.
func (s *Store) check(ctx context.Context) error {
	facts, err := s.loaded(ctx)
	if err != nil {
		return s.explain(err)
	}
	if err := s.judgeFacts(facts); err != nil {
		return fmt.Errorf("redis: %s: %w", &s.address, err)
	}
	if err := s.claim(ctx); err != nil {
		return s.explain(err)
	}
	if _, err := s.clock.measure(ctx); err != nil {
		return s.explain(err)
	}
	return nil
}

// loaded is survey of a server that has its data; one that still loads is waited for.
func (s *Store) loaded(ctx context.Context) (Facts, error) {
	var loading error
	for {
		facts, err := s.survey(ctx)
		if err == nil { // which a server can tell while it loads; what claim meets, claim tells
			err = s.client.Exists(ctx, s.keys.config()).Err()
		}
		if refusal(err) != "LOADING" {
			if err != nil && ctx.Err() != nil && loading != nil {
				err = loading // what it waited for, not what ctx cut off
			}
			return facts, err
		}
		loading = err
		select {
		case <-ctx.Done():
			return facts, err
		case <-time.After(loadingEach):
		}
	}
}

// judgeFacts refuses what would lose history, and warns of what may.
func (s *Store) judgeFacts(f Facts) error {
	switch {
	case older(f.Version, oldest):
		return fmt.Errorf("version %s is too old, want %s or newer", f.Version, oldest)
	case f.Policy != noEviction && f.Policy != unknown && !s.options.AllowEviction:
		return fmt.Errorf("maxmemory-policy is %s, so history may go without notice: set it to noeviction, or allow it with redis.allow_eviction", f.Policy)
	case f.Skew.Abs() > maxSkew:
		return fmt.Errorf("its clock and this machine's differ by %v: set both by NTP", f.Skew.Round(time.Second))
	}
	warn := func(text string, fields ...zap.Field) {
		s.log.Warn(text, append(fields, zap.Stringer("redis", &s.address))...)
	}
	if f.Version == unknown {
		warn("redis: the version could not be checked: it must be " + oldest + " or newer")
	}
	switch {
	case f.Policy == unknown:
		warn("redis: maxmemory-policy could not be checked: it must be noeviction")
	case f.Policy != noEviction:
		warn("redis: keys may be evicted: history then goes without notice", zap.String("policy", f.Policy))
	}
	if f.Skew.Abs() > warnSkew {
		warn("redis: this machine's clock and that of Redis differ: set both by NTP", zap.Duration("skew", f.Skew))
	}
	switch f.Persistence {
	case "aof always", "aof everysec":
	case "aof":
		warn("redis: appendfsync could not be checked: with everysec a power failure loses up to 2 s of what was acknowledged, with no whatever the system had not written")
	case "aof no":
		warn("redis: appendfsync is no: a power failure loses what the system had not yet written, often 30 s; everysec loses up to 2 s, always nothing")
	case unknown:
		warn("redis: persistence could not be checked: without appendonly yes a restart of Redis loses what was acknowledged since the last snapshot")
	default:
		warn("redis: appendonly is no: a restart of Redis loses what was acknowledged since the last snapshot, or all of it; with appendonly yes and appendfsync everysec it loses nothing, and a power failure up to 2 s",
			zap.String("persistence", f.Persistence))
	}
	return nil
}

// claim writes down how the key space is laid out, or refuses another layout.
func (s *Store) claim(ctx context.Context) error {
	found, err := s.client.SetArgs(ctx, s.keys.config(), layout, goredis.SetArgs{Mode: "NX", Get: true}).Result()
	if errors.Is(err, goredis.Nil) {
		return nil
	}
	if err == nil && found != layout {
		return misfit(fmt.Sprintf("%s holds %.60q, not %q: another version, or something else, uses this prefix; choose another with redis.prefix", s.keys.config(), found, layout))
	}
	return err
}

// explain says of an error of Open what to do. Only what may end by itself is
// store.ErrUnavailable.
func (s *Store) explain(err error) error {
	word := refusal(err)
	switch {
	case strings.Contains(err.Error(), "without any password configured"):
		return fmt.Errorf("redis: %s: it has no password, leave user:password@ out of the url: %w", &s.address, err)
	case word == "NOAUTH" || word == "WRONGPASS" || word == "NOPERM":
		return fmt.Errorf("redis: %s: %s: %w", &s.address, advice(err), err)
	case word != "":
		return fmt.Errorf("redis: %s: %s: %w", &s.address, advice(err), storeError(err))
	case errors.As(err, new(misfit)):
		return fmt.Errorf("redis: %s: %w", &s.address, err)
	}
	return fmt.Errorf("redis: %s: cannot be reached: %w: %w", &s.address, store.ErrUnavailable, err)
}

// misfit is what is wrong with a server that answers.
type misfit string

func (m misfit) Error() string { return string(m) }

// times asks for the time, in a cluster for the earliest and the latest of its primaries.
func (s *Store) times(ctx context.Context) (earliest, latest time.Time, err error) {
	cluster, ok := s.client.(*goredis.ClusterClient)
	if !ok {
		now, err := s.client.Time(ctx).Result()
		return now, now, err
	}
	var mu sync.Mutex
	err = cluster.ForEachMaster(ctx, func(ctx context.Context, c *goredis.Client) error {
		now, err := c.Time(ctx).Result()
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if earliest.IsZero() || now.Before(earliest) {
			earliest = now
		}
		if now.After(latest) {
			latest = now
		}
		return nil
	})
	return earliest, latest, err
}
