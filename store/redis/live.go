package redis

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/gobelin-broker/gobelin/store"
)

// A live message tells the watchers of a feed what one call of the append script
// has written. The script builds it (append.lua), so that its place among the
// messages of the feed is the place of the records in their log:
//
//	seq(8)        how many messages the channel has carried, with this one
//	len(1) feed   only on the wide channel of a partition
//	len(1) path   the log
//	prev(16)      position before the first record; zero: the first of an epoch
//	first(16)     position of the first record; n rises by one from there
//	kept(1)       1 if the records can be read back
//	count(2)      how many there are
//	len(4) each   how long they are
//	data          of all of them
//
// Numbers are big-endian.

// errLive is what a message on one of our channels that is not ours gets.
var errLive = errors.New("redis: live message: malformed")

// maxCall is how many records one call appends, unless one submit has more.
const maxCall = 100

// maxSubmit is how many records one submit may have: count has 16 bits.
const maxSubmit = math.MaxUint16

// decodeLive reads a live message as it came over the channel of a feed, or, with
// feed "", over the wide channel of a partition. The data of the tails lie in
// payload. It returns how many messages the channel has carried, with this one.
func decodeLive(payload []byte, feed string) (seq uint64, tails []store.Tail, err error) {
	c := cutter{rest: payload}
	seq = binary.BigEndian.Uint64(c.cut(8))
	name := store.LogName{Feed: feed}
	if feed == "" {
		name.Feed = string(c.cut(int(c.cut(1)[0])))
	}
	name.Path = string(c.cut(int(c.cut(1)[0])))
	var prev, first store.Position
	copy(prev[:], c.cut(len(prev)))
	copy(first[:], c.cut(len(first)))
	kept := c.cut(1)[0]
	count := int(binary.BigEndian.Uint16(c.cut(2)))
	lengths := c.cut(4 * count)
	if c.short || count == 0 || kept > 1 {
		return 0, nil, errLive
	}
	tails = make([]store.Tail, count)
	for i := range tails {
		data := c.cut(int(binary.BigEndian.Uint32(lengths[4*i:])))
		if c.short {
			return 0, nil, errLive
		}
		p := step(first, uint64(i))
		tails[i] = store.Tail{Log: name, Prev: prev, Kept: kept == 1, Entry: store.Entry{Position: p, Data: data}}
		prev = p
	}
	if len(c.rest) > 0 {
		return 0, nil, errLive
	}
	return seq, tails, nil
}

// step returns the position i records after p that was given in the same call.
func step(p store.Position, i uint64) store.Position {
	return store.NewPosition(p.MS(), p.Epoch(), p.N()+i)
}

// cutter takes a message apart. Once it is short it yields zeros, so that only the
// end of the fixed part needs a look.
type cutter struct {
	rest  []byte
	short bool
}

var zeros [16]byte

// cut returns the next n bytes; when they are not there, as many zeros as a fixed
// field has.
func (c *cutter) cut(n int) []byte {
	if c.short || n > len(c.rest) {
		c.short = true
		return zeros[:min(n, len(zeros))]
	}
	b := c.rest[:n:n]
	c.rest = c.rest[n:]
	return b
}
