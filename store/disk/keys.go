package disk

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/gobelin-broker/gobelin/store"
)

// layout is the version of what keys and values below mean.
const layout = 1

// The tables of the database, the first byte of each key (store.md §2.6). All
// integers are big-endian, so that byte order is order.
const (
	tabMeta    = 0x00 // name(1)                             → see meta
	tabRecord  = 0x01 // class(1) bucket(4) id(8) ms(6) n(6)   → flags(1) data
	tabChannel = 0x02 // len(1) feed path                    → channel
	tabMark    = 0x03 // class(1) bucket(4) id(8)            → len(1) feed path: who has records in a bucket
	tabIdle    = 0x04 // minute(4) id(8)                     → len(1) feed path: when to look whether it is idle
	tabRedact  = 0x05 // as tabRecord                        → nothing
	tabNonce   = 0x06 // day(4) hash of the name(16) nonce(16) → position(16)
	tabRow     = 0x07 // len(1) table key                    → version(8) expires(8) due(4) data
	tabDue     = 0x08 // minute(4) len(1) table key          → nothing: when to look whether a row expired
	tabSpoke   = 0x09 // minute(4) len(1) feed path          → nothing: who appended in a minute
	tabGroup   = 0x0A // len(1) feed len(1) path name        → see groups.Encode
	tabSeries  = 0x10 // grain(1) bucket(4) len(1) series slot(4) → data
	tabStretch = 0x11 // grain(1) bucket(4)                  → ms(8): until when the bucket is kept
)

const (
	recordKeyLen = 1 + 1 + 4 + 8 + 6 + 6
	nonceKeyLen  = 1 + 4 + 16 + 16
	flagRedacted = 1
)

var (
	keyLayout = []byte{tabMeta, 'v'}
	keySeries = []byte{tabMeta, 's'} // mark(8) next id(8)
)

func put48(b []byte, v uint64) {
	binary.BigEndian.PutUint16(b, uint16(v>>32))
	binary.BigEndian.PutUint32(b[2:], uint32(v))
}

func get48(b []byte) uint64 {
	return uint64(binary.BigEndian.Uint16(b))<<32 | uint64(binary.BigEndian.Uint32(b[2:]))
}

// putRecordKey writes a record's key into b, of recordKeyLen bytes. tab is
// tabRecord or tabRedact.
func putRecordKey(b []byte, tab byte, c class, bucket uint32, id uint64, ms int64, n uint64) {
	b[0], b[1] = tab, byte(c)
	binary.BigEndian.PutUint32(b[2:], bucket)
	binary.BigEndian.PutUint64(b[6:], id)
	put48(b[14:], uint64(ms))
	put48(b[20:], n)
}

type place struct {
	class  class
	bucket uint32
	id     uint64
	ms     int64
	n      uint64
}

// parseRecordKey reads what putRecordKey wrote.
func parseRecordKey(b []byte) (place, bool) {
	if len(b) != recordKeyLen {
		return place{}, false
	}
	return place{class(b[1]), binary.BigEndian.Uint32(b[2:]), binary.BigEndian.Uint64(b[6:]), int64(get48(b[14:])), get48(b[20:])}, true
}

// bucketKey returns the beginning of the keys of one bucket in tab.
func bucketKey(tab byte, c class, bucket uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{tab, byte(c)}, bucket)
}

func markKey(c class, bucket uint32, id uint64) []byte {
	return binary.BigEndian.AppendUint64(bucketKey(tabMark, c, bucket), id)
}

// dueKey begins the keys of tabIdle and tabDue.
func dueKey(tab byte, minute uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{tab}, minute)
}

func appendName(b []byte, n store.LogName) []byte {
	b = append(b, byte(len(n.Feed)))
	b = append(b, n.Feed...)
	return append(b, n.Path...)
}

func parseName(b []byte) (store.LogName, bool) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return store.LogName{}, false
	}
	return store.LogName{Feed: string(b[1 : 1+int(b[0])]), Path: string(b[1+int(b[0]):])}, true
}

// groupsKey begins the keys of the groups of a log.
func groupsKey(n store.LogName) []byte {
	b := append([]byte{tabGroup, byte(len(n.Feed))}, n.Feed...)
	return append(append(b, byte(len(n.Path))), n.Path...)
}

func groupKey(g store.GroupName) []byte { return append(groupsKey(g.Log), g.Name...) }

// parseGroupKey reads what groupKey wrote.
func parseGroupKey(b []byte) (g store.GroupName, ok bool) {
	rest := b[min(len(b), 1):]
	for _, part := range []*string{&g.Log.Feed, &g.Log.Path} {
		if len(rest) == 0 || len(rest) < 1+int(rest[0]) {
			return g, false
		}
		*part, rest = string(rest[1:1+int(rest[0])]), rest[1+int(rest[0]):]
	}
	g.Name = string(rest)
	return g, true
}

func channelKey(n store.LogName) []byte { return appendName([]byte{tabChannel}, n) }

// rowKey's length byte keeps tables apart whatever bytes their names hold.
func rowKey(table, key string) []byte {
	b := append(make([]byte, 0, 2+len(table)+len(key)), tabRow, byte(len(table)))
	b = append(b, table...)
	return append(b, key...)
}

type nonceKey [nonceKeyLen]byte

// nameHash stands for a log in nonce keys. It must not collide at a publisher's
// will: a false match would drop a message.
func nameHash(n store.LogName) (h [16]byte) {
	sum := sha256.Sum256(appendName(nil, n))
	copy(h[:], sum[:])
	return h
}

func makeNonceKey(day uint32, hash [16]byte, n store.Nonce) (k nonceKey) {
	k[0] = tabNonce
	binary.BigEndian.PutUint32(k[1:], day)
	copy(k[5:], hash[:])
	copy(k[21:], n[:])
	return k
}

// prefixEnd returns the first key after all that begin with p.
func prefixEnd(p []byte) []byte {
	end := append([]byte(nil), p...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}
