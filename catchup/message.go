package catchup

import (
	"encoding/binary"
	"errors"
	"strconv"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// Grace is how much longer than promised a history is kept, so that what a
// subscribe reply has counted is still there when its last page is read.
const Grace = 5 * time.Minute

// record layout: version, with recordTagged a tag of 8 bytes, length of ext
// (uvarint), ext, data.
const (
	recordV1     = 1
	recordTagged = 2
)

var errRecord = errors.New("catchup: not a stored message")

// Message is one message of a channel's history.
type Message struct {
	Position store.Position
	// Data is the publisher's data, byte for byte.
	Data []byte
	// Ext is what is passed on of the publisher's ext: a JSON object with at
	// least one member, or nil.
	Ext []byte
	// Tag is the publisher's mark by which a repeated publish is known again after
	// a restart (decided.md 5); 0: none.
	Tag uint64
}

// Encode makes the stored form of a message.
func Encode(data, ext []byte, tag uint64) []byte {
	b := make([]byte, 0, 9+binary.MaxVarintLen32+len(ext)+len(data))
	if tag == 0 {
		b = append(b, recordV1)
	} else {
		b = binary.BigEndian.AppendUint64(append(b, recordTagged), tag)
	}
	b = binary.AppendUvarint(b, uint64(len(ext)))
	b = append(b, ext...)
	return append(b, data...)
}

// Decode reads the stored form; the parts share the entry's bytes. The data of an
// entry of an accumulation is its JSON (Entry.AppendJSON).
func Decode(e store.Entry) (Message, error) {
	b := e.Data
	m := Message{Position: e.Position}
	switch {
	case len(b) > 0 && b[0] == recordEntry:
		entry, tag, err := decodeEntry(e)
		if err != nil {
			return Message{}, err
		}
		m.Tag, m.Data = tag, entry.AppendJSON(make([]byte, 0, entry.Size()))
		return m, nil
	case len(b) > 9 && b[0] == recordTagged:
		m.Tag = binary.BigEndian.Uint64(b[1:])
		b = b[9:]
	case len(b) > 1 && b[0] == recordV1:
		b = b[1:]
	default:
		return Message{}, errRecord
	}
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return Message{}, errRecord
	}
	b = b[w:]
	m.Data = b[n:]
	if n > 0 {
		m.Ext = b[:n]
	}
	if len(m.Data) == 0 {
		return Message{}, errRecord
	}
	return m, nil
}

// AppendExt appends the ext of a delivery to b: what the publisher passed on, and
// history {id, ts[, replay]} (product.md §4, message envelope).
func (m Message) AppendExt(b []byte, replay bool) []byte {
	if len(m.Ext) > 2 {
		b = append(b, m.Ext[:len(m.Ext)-1]...)
		b = append(b, ',')
	} else {
		b = append(b, '{')
	}
	b = append(b, `"history":`...)
	b = AppendHistory(b, m.Position, replay)
	return append(b, '}')
}

// AppendHistory appends {"id","ts"[,"replay"]} of a position.
func AppendHistory(b []byte, p store.Position, replay bool) []byte {
	b = append(b, `{"id":"`...)
	b, _ = p.AppendText(b) // cannot fail: the buffer has the right size
	b = append(b, `","ts":`...)
	b = strconv.AppendInt(b, p.MS(), 10)
	if replay {
		b = append(b, `,"replay":true`...)
	}
	return append(b, '}')
}
