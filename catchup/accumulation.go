package catchup

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/gobelin-broker/gobelin/store"
)

// recordEntry is the layout of an entry of an accumulation: version, a tag of 8 bytes
// as in Message, length of the giver (uvarint), giver, data. The giver is the JSON of
// who gave it, without braces; observed is not kept, since the position says it.
const recordEntry = 3

var errEntry = errors.New("catchup: not a stored entry")

// Giver is who gave an entry of an accumulation, as its token said (product.md §6).
type Giver struct {
	ChannelID    string `json:"channel_id"` // the object
	OpaqueUserID string `json:"opaque_user_id"`
	UserID       string `json:"user_id"` // "": not shared
}

// Entry is one blob of an accumulation (product.md §5.1, M9).
type Entry struct {
	Position store.Position
	// Data is the blob, byte for byte.
	Data []byte

	giver []byte
}

// EncodeEntry makes the stored form of an entry; tag is as in Encode.
func EncodeEntry(g Giver, data []byte, tag uint64) ([]byte, error) {
	giver, err := json.Marshal(g)
	if err != nil {
		return nil, fmt.Errorf("catchup: encode entry: %w", err)
	}
	giver = giver[1 : len(giver)-1]
	b := make([]byte, 0, 9+binary.MaxVarintLen32+len(giver)+len(data))
	b = binary.BigEndian.AppendUint64(append(b, recordEntry), tag)
	b = binary.AppendUvarint(b, uint64(len(giver)))
	b = append(b, giver...)
	return append(b, data...), nil
}

// DecodeEntry reads the stored form; the parts share the record's bytes.
func DecodeEntry(e store.Entry) (Entry, error) {
	entry, _, err := decodeEntry(e)
	return entry, err
}

func decodeEntry(e store.Entry) (Entry, uint64, error) {
	b := e.Data
	if len(b) < 10 || b[0] != recordEntry {
		return Entry{}, 0, errEntry
	}
	tag := binary.BigEndian.Uint64(b[1:])
	b = b[9:]
	n, w := binary.Uvarint(b)
	if w <= 0 || n == 0 || n >= uint64(len(b)-w) {
		return Entry{}, 0, errEntry
	}
	b = b[w:]
	return Entry{Position: e.Position, giver: b[:n], Data: b[n:]}, tag, nil
}

// Observed is when the entry was taken, by the store's clock, in ms since 1970.
func (e Entry) Observed() int64 { return e.Position.MS() }

// Giver returns who gave the entry.
func (e Entry) Giver() (g Giver, err error) {
	if err := json.Unmarshal(append(append([]byte{'{'}, e.giver...), '}'), &g); err != nil {
		return g, fmt.Errorf("catchup: giver of an entry: %w", err)
	}
	return g, nil
}

// Size is about how many bytes AppendJSON appends.
func (e Entry) Size() int { return len(e.giver) + len(e.Data) + 48 }

// AppendJSON appends {"observed","channel_id","opaque_user_id","user_id","data"}: the
// entry as readers and subscribers see it.
func (e Entry) AppendJSON(b []byte) []byte {
	b = append(b, `{"observed":`...)
	b = strconv.AppendInt(b, e.Observed(), 10)
	b = append(append(b, ','), e.giver...)
	b = append(b, `,"data":`...)
	return append(append(b, e.Data...), '}')
}
