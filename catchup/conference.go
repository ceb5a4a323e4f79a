package catchup

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/oklog/ulid/v2"
)

// tableConference holds a conferenceRow for each object that has or had a conference.
const tableConference = "conference"

// Times of a conference (product.md §5.2, Sessions).
const (
	// ConferenceLinger is how long a conference goes on after the last subscriber of
	// its object has left.
	ConferenceLinger = time.Minute
	// ConferenceIdle is how long one goes on after its last use if nobody ever
	// subscribed; uses are noted once in usedEvery, so it may be that much longer.
	ConferenceIdle = 24 * time.Hour
	usedEvery      = time.Minute
	// watchedEvery is how fresh the note of a subscriber may be for another node not
	// to write it again.
	watchedEvery = 5 * time.Second
)

// maxEnded bounds the ended conferences of one object that are remembered, against
// who opens and ends them without a pause; the oldest go first.
const maxEnded = 200

// ErrNoConference: none is open.
var ErrNoConference = errors.New("catchup: no open conference")

// Conference is one session of EnableX: a stretch of time of an object, with data of
// its own.
type Conference struct {
	ConfNum string // a ULID
	Started time.Time
	Ended   time.Time // zero while it is open
}

// Open reports whether it goes on.
func (c Conference) Open() bool { return c.Ended.IsZero() }

// conferenceRow is what is kept for an object. Times are ms of the store's clock.
type conferenceRow struct {
	Open  *openConference   `json:"open,omitempty"`
	Ended []endedConference `json:"ended,omitempty"` // newest first

	version uint64
}

type openConference struct {
	ConfNum string `json:"conf_num"`
	Started int64  `json:"started"`
	Used    int64  `json:"used"`
	// Watched is when some node last had a subscriber of the object; 0: none had.
	Watched int64 `json:"watched,omitempty"`
}

type endedConference struct {
	ConfNum string `json:"conf_num"`
	Started int64  `json:"started"`
	Ended   int64  `json:"ended"`
}

// lapses returns when the conference ends by itself, unless something happens before.
func (o *openConference) lapses() int64 {
	if o.Watched > 0 {
		return o.Watched + ConferenceLinger.Milliseconds()
	}
	return o.Used + (ConferenceIdle + usedEvery).Milliseconds()
}

func (o *openConference) conference() Conference {
	return Conference{ConfNum: o.ConfNum, Started: time.UnixMilli(o.Started)}
}

func (e endedConference) conference() Conference {
	return Conference{ConfNum: e.ConfNum, Started: time.UnixMilli(e.Started), Ended: time.UnixMilli(e.Ended)}
}

// Conferences keeps the conferences of objects on a store that several nodes may
// share. Whether one is open is worked out from its row at each look, so nobody has to
// end those that lapse. All methods may be called by many goroutines at once; key
// names the object.
type Conferences struct {
	store store.Store
	kept  time.Duration
}

// NewConferences returns the conferences of a store; what belongs to one is kept for
// kept after its end.
func NewConferences(s store.Store, kept time.Duration) *Conferences {
	return &Conferences{store: s, kept: kept}
}

// Kept is how long what belongs to a conference stays after its end.
func (c *Conferences) Kept() time.Duration { return c.kept }

// Life is how long the row of a conference's data has to stay after a change, so that
// it outlives the conference by Kept even if nothing touches it again.
func (c *Conferences) Life() time.Duration {
	return c.kept + ConferenceIdle + ConferenceLinger + 2*usedEvery
}

// Use returns the open conference, opened if there is none, and notes that it is used.
func (c *Conferences) Use(ctx context.Context, key string) (conf Conference, opened bool, err error) {
	err = c.change(ctx, key, func(r *conferenceRow, now int64) bool {
		if opened = r.Open == nil; opened {
			r.Open = &openConference{ConfNum: ulid.MustNew(uint64(now), rand.Reader).String(), Started: now, Used: now}
		}
		conf = r.Open.conference()
		fresh := now-r.Open.Used < usedEvery.Milliseconds()
		r.Open.Used = max(r.Open.Used, now)
		return opened || !fresh
	})
	return conf, opened, err
}

// Watch notes that somebody is subscribed to the object now, and returns the open
// conference, if there is one. leaving says that it is noted for the last time here.
func (c *Conferences) Watch(ctx context.Context, key string, leaving bool) (conf Conference, open bool, err error) {
	err = c.change(ctx, key, func(r *conferenceRow, now int64) bool {
		if open = r.Open != nil; !open {
			return false
		}
		conf = r.Open.conference()
		stale := now-r.Open.Watched >= watchedEvery.Milliseconds() || leaving && now > r.Open.Watched
		r.Open.Watched = max(r.Open.Watched, now)
		return stale
	})
	return conf, open, err
}

// End ends the open conference; ErrNoConference if there is none.
func (c *Conferences) End(ctx context.Context, key string) (conf Conference, err error) {
	none := false
	err = c.change(ctx, key, func(r *conferenceRow, now int64) bool {
		if none = r.Open == nil; none {
			return false
		}
		r.end(now)
		conf = r.Ended[0].conference()
		return true
	})
	if err == nil && none {
		err = ErrNoConference
	}
	return conf, err
}

// List returns the conferences of an object, newest first, the open one included.
func (c *Conferences) List(ctx context.Context, key string) ([]Conference, error) {
	r, err := c.load(ctx, key)
	if err != nil {
		return nil, err
	}
	var all []Conference
	if r.Open != nil {
		all = append(all, r.Open.conference())
	}
	for _, e := range r.Ended {
		all = append(all, e.conference())
	}
	return all, nil
}

// Remove forgets the conferences of an object.
func (c *Conferences) Remove(ctx context.Context, key string) error {
	if err := c.store.Remove(ctx, tableConference, key, nil); err != nil {
		return fmt.Errorf("catchup: remove conferences: %w", err)
	}
	return nil
}

// Keys returns keys of objects with conferences that begin with prefix, at most limit.
func (c *Conferences) Keys(ctx context.Context, prefix string, limit int) ([]string, error) {
	items, err := c.store.List(ctx, tableConference, prefix, "", limit)
	if err != nil {
		return nil, fmt.Errorf("catchup: list conferences: %w", err)
	}
	keys := make([]string, len(items))
	for i, it := range items {
		keys[i] = it.Key
	}
	return keys, nil
}

// end ends the open conference at a time.
func (r *conferenceRow) end(at int64) {
	r.Ended = slices.Insert(r.Ended, 0, endedConference{ConfNum: r.Open.ConfNum, Started: r.Open.Started, Ended: at})
	r.Open = nil
}

// load reads a row as it stands now: a conference that has lapsed has ended, and what
// is not kept any more is gone.
func (c *Conferences) load(ctx context.Context, key string) (*conferenceRow, error) {
	r := new(conferenceRow)
	v, err := c.store.Get(ctx, tableConference, key)
	if errors.Is(err, store.ErrNotFound) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(v.Data, r)
	}
	if err != nil {
		return nil, fmt.Errorf("catchup: conferences: %w", err)
	}
	r.version = v.Version
	now := c.store.Now().UnixMilli()
	if r.Open != nil && now >= r.Open.lapses() {
		r.end(r.Open.lapses())
	}
	r.Ended = slices.DeleteFunc(r.Ended, func(e endedConference) bool { return now >= e.Ended+c.kept.Milliseconds() })
	r.Ended = r.Ended[:min(len(r.Ended), maxEnded)]
	return r, nil
}

// change applies f to a row and writes it if f says so, over again while others are
// faster.
func (c *Conferences) change(ctx context.Context, key string, f func(r *conferenceRow, now int64) bool) error {
	for attempt := range changeAttempts {
		if attempt > 0 {
			if err := backOff(ctx, attempt); err != nil {
				return err
			}
		}
		r, err := c.load(ctx, key)
		if err != nil {
			return err
		}
		if !f(r, c.store.Now().UnixMilli()) {
			return nil
		}
		data, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("catchup: conferences: %w", err)
		}
		_, err = c.store.Put(ctx, tableConference, key, store.Put{Data: data, TTL: c.Life(), IfVersion: &r.version})
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return ErrContended
}
