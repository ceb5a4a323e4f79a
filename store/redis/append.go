package redis

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

const (
	// metaLife is how much longer than its records a log's last position is kept.
	metaLife = 24 * time.Hour
	// indexEvery is how often at most, for each log, the index is told that the log
	// spoke: what it says may be that old. append.lua has the same figure.
	indexEvery = time.Second
	// lookBack is how far before its own idea of the time of the first attempt a
	// call that is sent again is searched for, since clocks differ.
	lookBack = 2 * time.Second
	// maxMS bounds durations that the script is told, in ms: 48 bits less what they
	// are added to.
	maxMS = 1 << 46
)

// Submit appends records; see store.Log. What does not fit into the queue, or comes
// while the server does not answer, is settled at once with store.ErrUnavailable.
func (s *Store) Submit(name store.LogName, limits store.Limits, records []store.Record, done func(store.Appended, error)) {
	err := name.Validate()
	if len(records) > maxSubmit {
		err = store.ErrTooLarge
	}
	size := 0
	for i := range records {
		size += len(records[i].Data)
		if records[i].HasCopy() {
			size += len(records[i].Copy.Data)
		}
		if bad := records[i].Validate(); bad != nil {
			err = bad
		}
	}
	switch {
	case err == nil && len(records) == 0:
		done(store.Appended{}, nil)
		return
	case err == nil:
		err = s.gather.push(&submit{log: name, limits: limits, records: records, bytes: size, done: done})
	}
	if err != nil {
		done(store.Appended{}, fmt.Errorf("redis: append: %w", err))
	}
}

// call is the records of some submits to one log, written by one script call: all
// of them or none.
type call struct {
	log     store.LogName
	limits  store.Limits
	submits []*submit
	records int
	bytes   int
	tag     [8]byte // marks the call's entries, so that sending it again is harmless
	first   int64   // the store's ms before the first attempt; 0: not sent yet
	doubt   bool    // an attempt may have been done
	err     error   // of the last attempt
	newest  int64   // ms of what was written
	keys    []string
}

// joins reports whether u may be written by the same call.
func (c *call) joins(u *submit) bool {
	return c.limits == u.limits && c.records+len(u.records) <= maxCall && c.bytes+u.bytes <= maxCallBytes
}

func (c *call) join(u *submit) {
	c.submits = append(c.submits, u)
	c.records += len(u.records)
	c.bytes += u.bytes
}

// leave takes those submits from a call that gone says; it must not have been sent, or not
// been done.
func (c *call) leave(gone func(*submit) bool) {
	all := c.submits
	c.submits, c.records, c.bytes = all[:0], 0, 0
	for _, u := range all {
		if !gone(u) {
			c.join(u)
		}
	}
	clear(all[len(c.submits):])
}

// command returns EVALSHA, or EVAL with the text, and its arguments.
func (c *call) command(s *Store, text bool) []any {
	name, script := "evalsha", appendScript.Hash()
	if text {
		name, script = "eval", appendText
	}
	p := partition(c.log.Feed)
	if c.keys == nil {
		c.keys = s.appendKeys(p, c.log)
		binary.BigEndian.PutUint64(c.tag[:], rand.Uint64())
	}
	keys, nonces := c.keys, []byte(nil)
	lengths := make([]byte, 0, 4*c.records)
	var copies []any
	biggest, i := 0, 0
	for _, u := range c.submits {
		for j := range u.records {
			r := &u.records[j]
			i++
			lengths = binary.BigEndian.AppendUint32(lengths, uint32(len(r.Data)))
			biggest = max(biggest, len(r.Data))
			if r.Nonce != (store.Nonce{}) && c.limits.Keeps() {
				keys = append(keys, s.keys.nonce(p, logText(c.log), r.Nonce))
				nonces = binary.BigEndian.AppendUint16(nonces, uint16(i))
				nonces = append48(nonces, remember(r))
			}
			if r.HasCopy() {
				copies = append(copies, outboxed(i, r))
			}
		}
	}
	if len(copies) > 0 {
		keys = append(keys, s.keys.outbox(p))
	}
	args := make([]any, 0, 3+len(keys)+5+c.records+len(copies))
	args = append(args, name, script, len(keys))
	for _, k := range keys {
		args = append(args, k)
	}
	args = append(args, c.settings(s, biggest, len(copies)), s.keys.live(p, c.log.Feed), short(c.log.Feed)+short(c.log.Path), lengths, nonces)
	for _, u := range c.submits {
		for j := range u.records {
			args = append(args, u.records[j].Data)
		}
	}
	return append(args, copies...)
}

// appendKeys are the keys of a call without nonces.
func (s *Store) appendKeys(p int, name store.LogName) []string {
	log := logText(name)
	return []string{
		s.keys.meta(p, log), s.keys.stream(p, log), s.keys.redacted(p, log), s.keys.counter(p, name.Feed),
		s.keys.index(p), s.keys.wideFlag(p), s.keys.wideCounter(p),
	}
}

// settings is the first argument of append.lua.
func (c *call) settings(s *Store, biggest, copies int) []byte {
	l := c.limits
	age, idle := bound(l.Age), bound(l.Idle)
	hold := age // how long after its last record nothing of the stream can be read
	if idle > 0 && (hold == 0 || idle < hold) {
		hold = idle
	}
	keep := int64(0)
	if last := max(age, idle); last > 0 || !l.Keeps() {
		keep = last + metaLife.Milliseconds()
	}
	b := make([]byte, 0, 64)
	b = binary.BigEndian.AppendUint32(b, rand.Uint32()) // of a new epoch
	b = append(b, c.tag[:]...)
	for _, v := range [...]int64{age, int64(max(l.Length, 0)), idle, hold, keep, max(c.first-lookBack.Milliseconds(), 0)} {
		b = append48(b, v)
	}
	b = binary.BigEndian.AppendUint32(append(b, bit(l.Keeps()), bit(s.cluster)), uint32(biggest))
	return binary.BigEndian.AppendUint16(b, uint16(copies))
}

// spread gives every submit of the call its share of the script's answer.
func (c *call) spread(answer string) error {
	var first store.Position
	if len(answer) < len(first) || (len(answer)-len(first))%18 != 0 {
		return fmt.Errorf("an answer of %d bytes: %w", len(answer), store.ErrUncertain)
	}
	copy(first[:], answer)
	c.newest = first.MS()
	priors := answer[len(first):]
	i, fresh := 0, uint64(0)
	for _, u := range c.submits {
		u.out = store.Appended{Positions: make([]store.Position, len(u.records)), Prior: make([]bool, len(u.records))}
		for j := range u.records {
			i++
			if len(priors) > 0 && int(priors[0])<<8|int(priors[1]) == i {
				copy(u.out.Positions[j][:], priors[2:18])
				u.out.Prior[j] = true
				priors = priors[18:]
				continue
			}
			u.out.Positions[j] = step(first, fresh)
			fresh++
		}
	}
	return nil
}

// bound returns a limit in ms, rounded up; 0 for none and for ever.
func bound(d time.Duration) int64 {
	if d <= 0 || d == store.Forever {
		return 0
	}
	ms := d.Milliseconds()
	if d > time.Duration(ms)*time.Millisecond {
		ms++
	}
	return min(ms, maxMS)
}

func remember(r *store.Record) int64 {
	if r.Remember <= 0 {
		return store.NonceLife.Milliseconds()
	}
	return min(max(bound(r.Remember), 1), maxMS)
}

func append48(b []byte, v int64) []byte {
	return append(b, byte(v>>40), byte(v>>32), byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

// short is a text of at most 255 bytes behind its length.
func short(text string) string { return string([]byte{byte(len(text))}) + text }

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// maxCallBytes bounds what one call carries, unless one submit has more: while the
// script runs nobody else is served.
const maxCallBytes = 1 << 20
