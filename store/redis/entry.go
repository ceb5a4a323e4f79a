package redis

import (
	"encoding/binary"
	"errors"
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/internal/window"
)

// errEntry is what a key of ours with something else in it gets.
var errEntry = errors.New("redis: not what we wrote")

// entryHead is what precedes the data in a stream entry: the epoch and the tag of
// the call that wrote it.
const entryHead = 4 + 8

// decodeEntry reads a stream entry. Its id is ms-n, its one field d.
func decodeEntry(m goredis.XMessage) (store.Entry, error) {
	d, ok := m.Values["d"].(string)
	if !ok || len(d) < entryHead {
		return store.Entry{}, errEntry
	}
	p, err := parseStreamID(m.ID, binary.BigEndian.Uint32([]byte(d[:4])))
	return store.Entry{Position: p, Data: []byte(d[entryHead:])}, err
}

// streamID is where a position lies in its stream.
func streamID(ms int64, n uint64) string {
	b := make([]byte, 0, 32)
	b = strconv.AppendInt(b, max(ms, 0), 10)
	return string(strconv.AppendUint(append(b, '-'), n, 10))
}

// parseStreamID reads what streamID wrote.
func parseStreamID(id string, epoch uint32) (store.Position, error) {
	a, b, ok := strings.Cut(id, "-")
	ms, err := strconv.ParseUint(a, 10, 48)
	if !ok || err != nil {
		return store.Position{}, errEntry
	}
	n, err := strconv.ParseUint(b, 10, 48)
	if err != nil {
		return store.Position{}, errEntry
	}
	return store.NewPosition(int64(ms), epoch, n), nil
}

// meta is what of a log's meta reading needs; append.lua writes it and knows the
// rest.
type meta struct {
	log    window.Log
	widest int
}

// metaSize is how long a meta is.
const metaSize = 60

// decodeMeta reads a log's meta.
func decodeMeta(text string) (meta, bool) {
	if len(text) != metaSize {
		return meta{}, false
	}
	var m meta
	copy(m.log.Last[:], text)
	if m.log.Last.N() == 0 { // nothing kept, or deleted
		return meta{}, true
	}
	start := binary.BigEndian.Uint64([]byte("\x00\x00" + text[16:22]))
	m.log.Start = store.NewPosition(int64(start), m.log.Last.Epoch(), start)
	m.widest = int(binary.BigEndian.Uint32([]byte(text[40:44])))
	return m, true
}
