package disk

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/internal/window"
)

// channel is what the database knows of one epoch of a log that keeps its
// records. It is written when the epoch begins and when limits of another class
// or idle time come, not with each record.
type channel struct {
	id    uint64 // unique per log and epoch
	epoch uint32
	start int64 // ms of the first record, and its n
	idle  time.Duration
	// spans say in which class the records lie, in order; never empty and never
	// changed in place. A record is in the last span whose from is not after its ms.
	spans []span
}

type span struct {
	class class
	from  int64
}

// maxSpans bounds how often a log's class may go to and fro: from then on it only
// goes to longer ones, of which there are as many as classes.
const maxSpans = 8

var errCorrupt = errors.New("damaged value")

func (c *channel) encode(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, c.id)
	b = binary.BigEndian.AppendUint32(b, c.epoch)
	b = binary.BigEndian.AppendUint64(b, uint64(c.start))
	b = binary.BigEndian.AppendUint64(b, uint64(c.idle))
	for _, s := range c.spans {
		b = append(b, byte(s.class))
		b = binary.BigEndian.AppendUint64(b, uint64(s.from))
	}
	return b
}

func parseChannel(b []byte) (channel, error) {
	if len(b) < 28+9 || (len(b)-28)%9 != 0 {
		return channel{}, errCorrupt
	}
	c := channel{
		id:    binary.BigEndian.Uint64(b),
		epoch: binary.BigEndian.Uint32(b[8:]),
		start: int64(binary.BigEndian.Uint64(b[12:])),
		idle:  time.Duration(binary.BigEndian.Uint64(b[20:])),
	}
	for b = b[28:]; len(b) > 0; b = b[9:] {
		s := span{class(b[0]), int64(binary.BigEndian.Uint64(b[1:]))}
		if !s.class.known() {
			return channel{}, errCorrupt
		}
		c.spans = append(c.spans, s)
	}
	return c, nil
}

// class is that of the newest records.
func (c *channel) class() class { return c.spans[len(c.spans)-1].class }

// head is a channel with the ends of its records, and what the log announced
// without keeping it. A zero id: nothing is kept; a zero live: nothing announced.
// It is copied, never shared.
type head struct {
	channel
	last   store.Position // newest record
	oldest store.Position // a lower bound of the oldest record there is
	// marked is the bucket of the class for which tabMark names the log.
	marked uint32
	// indexed is the minute for which tabSpoke names the log.
	indexed uint32
	live    store.Position
}

// stored reports whether nothing is lost when the head is forgotten.
func (h *head) stored() bool { return h.live.IsZero() && (h.id != 0 || h.last.IsZero()) }

func (h *head) window() window.Log {
	if h.id == 0 {
		return window.Log{}
	}
	return window.Log{Start: store.NewPosition(h.start, h.epoch, uint64(h.start)), Last: h.last}
}
