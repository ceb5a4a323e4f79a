package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"time"

	"github.com/oklog/ulid/v2"
)

// Position is the place of a record in its log: 48 bits of ms, 32 bits of the
// log's epoch, 48 bits of n, big-endian (store.md D5). Within a log, byte order
// is log order. n is dense within an epoch and an epoch begins with n = its ms
// (decided.md 21), so the zero Position is before every record. As text it is a
// ULID, the public message id.
type Position [16]byte

const max48 = 1<<48 - 1

// NewPosition builds a position; ms and n are cut to 48 bits.
func NewPosition(ms int64, epoch uint32, n uint64) Position {
	var p Position
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(ms)&max48)
	copy(p[0:6], b[2:])
	binary.BigEndian.PutUint32(p[6:10], epoch)
	binary.BigEndian.PutUint64(b[:], n&max48)
	copy(p[10:16], b[2:])
	return p
}

// MS returns the store's clock at the append, in ms since 1970.
func (p Position) MS() int64 {
	return int64(p[0])<<40 | int64(p[1])<<32 | int64(p[2])<<24 | int64(p[3])<<16 | int64(p[4])<<8 | int64(p[5])
}

// Time returns the store's clock at the append.
func (p Position) Time() time.Time { return time.UnixMilli(p.MS()) }

// Epoch returns the epoch: the same n under another epoch is another record.
func (p Position) Epoch() uint32 { return binary.BigEndian.Uint32(p[6:10]) }

// N returns the record's number, which rises by one from record to record of an epoch.
func (p Position) N() uint64 {
	return uint64(p[10])<<40 | uint64(p[11])<<32 | uint64(p[12])<<24 | uint64(p[13])<<16 | uint64(p[14])<<8 | uint64(p[15])
}

// IsZero reports whether p is before every record.
func (p Position) IsZero() bool { return p == Position{} }

// Compare orders positions of one log: -1, 0, +1.
func (p Position) Compare(q Position) int { return bytes.Compare(p[:], q[:]) }

// Before reports whether p comes before q in their log.
func (p Position) Before(q Position) bool { return p.Compare(q) < 0 }

// String returns the ULID form, 26 characters, whose text order is log order.
func (p Position) String() string { return ulid.ULID(p).String() }

// AppendText appends the ULID form to b without allocating.
func (p Position) AppendText(b []byte) ([]byte, error) {
	n := len(b)
	b = append(b, make([]byte, ulid.EncodedSize)...)
	return b, ulid.ULID(p).MarshalTextTo(b[n:])
}

// MarshalText is AppendText, for records that hold positions.
func (p Position) MarshalText() ([]byte, error) { return p.AppendText(nil) }

// UnmarshalText reads what MarshalText has written.
func (p *Position) UnmarshalText(b []byte) (err error) {
	*p, err = ParsePosition(string(b))
	return err
}

// ParsePosition reads the ULID form. Only the canonical spelling is taken.
func ParsePosition(s string) (Position, error) {
	u, err := ulid.ParseStrict(s)
	if err != nil || u.String() != s {
		return Position{}, errors.New("store: position: not a message id")
	}
	return Position(u), nil
}
