package broker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/store"
	"go.uber.org/zap"
)

// StreamOptions are the times and bounds of streams (product.md §11). Zero means the
// default.
type StreamOptions struct {
	// Poke is how often a connection is told that it lives. Default 5 s.
	Poke time.Duration
	// Redelivery: an event counts as delivered when a write this much later has
	// succeeded. Default 10 s. Longer windows repeat more after a broken link.
	Redelivery time.Duration
	// CheckpointTTL is how long a stream that nobody reads keeps its place. Default 7
	// days.
	CheckpointTTL time.Duration
	// Retention is how long records are kept for streams, Records how many at most.
	// Defaults 30 days and 1,000,000.
	Retention time.Duration
	Records   int
	// Max bounds the streams of an account, MaxConnections those that share one.
	// Defaults 5 and 3.
	Max, MaxConnections int
}

func (o StreamOptions) withDefaults() StreamOptions {
	set := func(p *time.Duration, d time.Duration) {
		if *p <= 0 {
			*p = d
		}
	}
	set(&o.Poke, 5*time.Second)
	set(&o.Redelivery, 10*time.Second)
	set(&o.CheckpointTTL, 7*day)
	set(&o.Retention, 30*day)
	for p, d := range map[*int]int{&o.Records: 1_000_000, &o.Max: 5, &o.MaxConnections: 3} {
		if *p <= 0 {
			*p = d
		}
	}
	return o
}

// Bounds of a stream's description.
const (
	maxStreamName = 200 // bytes
	maxFilter     = 50  // texts in one
	maxFilterText = 100 // bytes
	maxStreamDate = 64  // bytes: a time may have as many digits behind its point as somebody likes
	maxReplays    = 5   // connections of an account that read everything (product.md V17)
)

// StreamError refuses what is asked of streams, in the words of the clients that know
// them (product.md §5.4).
type StreamError struct {
	Status int
	// Field is the member of the body that is wrong; empty: it is something else.
	Field string
	Text  string
}

// Error returns the text sent to the peer.
func (e *StreamError) Error() string { return e.Text }

func errField(field, format string, args ...any) error {
	return &StreamError{Status: http.StatusUnprocessableEntity, Field: field, Text: fmt.Sprintf(format, args...)}
}

var (
	errNoStream       = &StreamError{Status: http.StatusNotFound, Text: "not found"}
	errManyStreams    = &StreamError{Status: http.StatusUnprocessableEntity, Text: "Maximum number of streams exceeded"}
	errManyMembers    = &StreamError{Status: http.StatusUnprocessableEntity, Text: "Maximum number of client connections exceeded"}
	errManyReplays    = &StreamError{Status: http.StatusUnprocessableEntity, Text: "Maximum number of replay connections exceeded"}
	errStreamInUse    = &StreamError{Status: http.StatusUnprocessableEntity, Text: "Stream has client connections; close them first"}
	errStreamNameUsed = errField("name", "has already been taken")
)

// StreamSpec is what a request says of a stream.
type StreamSpec struct {
	Name string
	// Resources and Events are filters: types of data, and data or connection. None:
	// everything.
	Resources, Events []string
	// StartDate is a day or a time, "" for none: what was created before is not shown.
	StartDate string
}

// StreamView is a stream as its owner sees it.
type StreamView struct {
	ID, Name          string
	Members           int // connections, on all nodes
	StartDate         string
	Resources, Events []string
	Created, Updated  time.Time
}

// check returns what is wrong with a specification, as errors say it, and start.
func (s StreamSpec) check() (start int64, err error) {
	if err := checkStreamName(s.Name); err != nil {
		return 0, err
	}
	for field, filter := range map[string][]string{"resource_filter": s.Resources, "event_type_filter": s.Events} {
		if err := checkFilter(field, filter); err != nil {
			return 0, err
		}
	}
	for _, e := range s.Events {
		if !slices.Contains([]string{"data", "connection", "rule", "poke"}, e) {
			return 0, errField("event_type_filter", "can have data and connection")
		}
	}
	if s.StartDate == "" {
		return 0, nil
	}
	at, err := ParseStreamDate(s.StartDate)
	if err != nil {
		return 0, errField("start_date", "must be a day such as 2026-11-21 or a time such as 2026-11-21T12:00:00Z")
	}
	return at.UnixMilli(), nil
}

func checkStreamName(name string) error {
	switch {
	case name == "":
		return errField("name", "can't be blank")
	case len(name) > maxStreamName || !plain(name):
		return errField("name", "must be at most %d bytes without control characters", maxStreamName)
	}
	return nil
}

func checkFilter(field string, filter []string) error {
	if len(filter) > maxFilter {
		return errField(field, "can have at most %d texts", maxFilter)
	}
	for _, text := range filter {
		if text == "" || len(text) > maxFilterText || !plain(text) || !utf8.ValidString(text) {
			return errField(field, "must be texts of 1 to %d bytes without control characters", maxFilterText)
		}
	}
	return nil
}

// ParseStreamDate reads a day, which begins at midnight UTC, or a time of RFC 3339.
func ParseStreamDate(text string) (time.Time, error) {
	if len(text) > maxStreamDate {
		return time.Time{}, fmt.Errorf("broker: stream date: more than %d bytes", maxStreamDate)
	}
	if t, err := time.Parse(time.DateOnly, text); err == nil {
		return t, nil
	}
	return time.Parse(time.RFC3339, text)
}

// CreateStream makes a stream, which begins with the oldest record there is (product.md
// V1, V2, V13). Errors: *StreamError with 422, the store's.
func (b *Broker) CreateStream(ctx context.Context, a *StreamAccount, spec StreamSpec) (StreamView, error) {
	start, err := spec.check()
	if err != nil {
		return StreamView{}, err
	}
	var raw [12]byte
	_, _ = rand.Read(raw[:]) // it never fails
	now := b.opt.Store.Now().UnixMilli()
	made := catchup.Stream{
		ID: hex.EncodeToString(raw[:]), Name: spec.Name, Resources: spec.Resources, Events: spec.Events,
		StartDate: spec.StartDate, Start: start, Created: now, Updated: now,
	}
	_, err = b.streams.Change(ctx, a.account.name, func(set *catchup.StreamSet) (bool, error) {
		switch {
		case set.Find(made.ID) != nil: // written by an attempt whose outcome was not known
			return false, nil
		case len(set.Streams) >= b.opt.Streams.Max:
			return false, errManyStreams
		case nameTaken(set, made.Name, ""):
			return false, errStreamNameUsed
		}
		set.Streams = append(set.Streams, made)
		return true, nil
	})
	if err != nil {
		return StreamView{}, err
	}
	return b.viewStream(ctx, a.account, &made), nil
}

func nameTaken(set *catchup.StreamSet, name, but string) bool {
	return slices.ContainsFunc(set.Streams, func(s catchup.Stream) bool { return s.Name == name && s.ID != but })
}

// viewStream shows a stream with the connections that live.
func (b *Broker) viewStream(ctx context.Context, a *account, s *catchup.Stream) StreamView {
	return StreamView{
		ID: s.ID, Name: s.Name, Members: len(b.living(ctx, a, s.Members)), StartDate: s.StartDate,
		Resources: s.Resources, Events: s.Events, Created: time.UnixMilli(s.Created), Updated: time.UnixMilli(s.Updated),
	}
}

// Streams returns an account's streams, newest first, and how many there are.
func (b *Broker) Streams(ctx context.Context, a *StreamAccount, offset, limit int) (page []StreamView, total int, err error) {
	set, err := b.streams.Load(ctx, a.account.name)
	if err != nil {
		return nil, 0, err
	}
	for i := len(set.Streams) - 1 - offset; i >= 0 && len(page) < limit; i-- {
		page = append(page, b.viewStream(ctx, a.account, &set.Streams[i]))
	}
	return page, len(set.Streams), nil
}

// Stream returns one. Errors: *StreamError with 404, the store's.
func (b *Broker) Stream(ctx context.Context, a *StreamAccount, id string) (StreamView, error) {
	set, err := b.streams.Load(ctx, a.account.name)
	if err != nil {
		return StreamView{}, err
	}
	s := set.Find(id)
	if s == nil {
		return StreamView{}, errNoStream
	}
	return b.viewStream(ctx, a.account, s), nil
}

// RenameStream gives a stream another name. Errors: *StreamError with 404 or 422, the
// store's.
func (b *Broker) RenameStream(ctx context.Context, a *StreamAccount, id, name string) (StreamView, error) {
	if err := checkStreamName(name); err != nil {
		return StreamView{}, err
	}
	now := b.opt.Store.Now().UnixMilli()
	set, err := b.streams.Change(ctx, a.account.name, func(set *catchup.StreamSet) (bool, error) {
		s := set.Find(id)
		switch {
		case s == nil:
			return false, errNoStream
		case nameTaken(set, name, id):
			return false, errStreamNameUsed
		}
		changed := s.Name != name
		s.Name, s.Updated = name, now
		return changed, nil
	})
	if err != nil {
		return StreamView{}, err
	}
	return b.viewStream(ctx, a.account, set.Find(id)), nil
}

// DeleteStream removes a stream that nobody reads, and its place. It returns the stream
// as it was, and when it was deleted. Errors: *StreamError with 404 or 422, the store's.
func (b *Broker) DeleteStream(ctx context.Context, a *StreamAccount, id string) (gone StreamView, at time.Time, err error) {
	var last catchup.Stream
	_, err = b.streams.Change(ctx, a.account.name, func(set *catchup.StreamSet) (bool, error) {
		s := set.Find(id)
		switch {
		case s == nil:
			return false, errNoStream
		case len(b.living(ctx, a.account, s.Members)) > 0:
			return false, errStreamInUse
		}
		last = *s
		set.Streams = slices.DeleteFunc(set.Streams, func(s catchup.Stream) bool { return s.ID == id })
		return true, nil
	})
	if err != nil {
		return StreamView{}, time.Time{}, err
	}
	last.Members = nil
	b.dropGroup(ctx, last.Group(a.account.name))
	return b.viewStream(ctx, a.account, &last), b.opt.Store.Now(), nil
}

// dropGroup forgets the place of a stream that is gone. What it does not get done does
// no harm: nobody names that group again.
func (b *Broker) dropGroup(ctx context.Context, g store.GroupName) {
	if err := b.opt.Store.Drop(ctx, g); err != nil {
		b.log.Warn("the place of a stream that is gone was not removed", zap.Error(err))
	}
}

// living returns the connections whose nodes live. Of one whose node cannot be asked
// about it is thought that it does.
func (b *Broker) living(ctx context.Context, a *account, all []catchup.StreamMember) []catchup.StreamMember {
	var live []catchup.StreamMember
	for _, m := range all {
		if m.Node == b.nodes.id {
			if a.desk.has(m.ID) {
				live = append(live, m)
			}
			continue
		}
		if alive, err := b.nodes.alive(ctx, m.Node); alive || err != nil {
			live = append(live, m)
		}
	}
	return live
}
