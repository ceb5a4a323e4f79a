package catchup

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// The records of an account log (product.md §5.4). An entry's data is the place of the
// record that it is a copy of, zero for one that is none (store.Origin), and then one
// of these, with its type before all else; texts have their lengths before them:
//
//	1, type, key, head, data     of the broker's own
//	2, type, id, created, mask, text   posted by a backend
//	3, type, text                a connection event
const (
	recordOwn        = 1
	recordPosted     = 2
	recordConnection = 3
)

// What of a posted record its publisher has left to us.
const (
	lacksChecksum = 1 << iota
	lacksCreated
	lacksVersion
)

// RecordVersion is what version says where the publisher does not.
const RecordVersion = "1.0"

// RecordSource is the source of the broker's own records.
const RecordSource = "gobelin"

var errRecordForm = errors.New("catchup: not a record of an account log")

// RecordLog names the log of an account. account has at most 200 bytes.
func RecordLog(account string) store.LogName {
	return store.LogName{Feed: "@account/" + account, Path: "records"}
}

// RecordHead says what a record of the broker's own is about.
type RecordHead struct {
	Type         string // message, comment, …
	LogID        string // path of the channel, name of the store, comment id, bucket
	ObjectID     string
	Organization string // the application's number
	UID, UserID  string // user_ref and opaque_user_id; empty without a token
	// Key: records of one type with the same key are versions of one thing and share
	// their id. Empty: each record is a thing of its own.
	Key string
}

// Encode makes the stored form. data is any JSON; it is not looked at.
func (h RecordHead) Encode(data []byte) []byte {
	b := make([]byte, 0, 192+len(h.Type)+len(h.Key)+len(h.LogID)+len(h.ObjectID)+len(h.UID)+len(h.UserID)+len(data))
	b = appendText(append(b, recordOwn), h.Type)
	b = appendText(b, h.Key)
	var short [256]byte
	head := h.appendMembers(short[:0])
	b = append(binary.AppendUvarint(b, uint64(len(head))), head...)
	return append(b, data...)
}

// appendMembers appends the members but type and data, without braces.
func (h RecordHead) appendMembers(b []byte) []byte {
	b = appendQuoted(append(b, `"log_id":`...), h.LogID)
	b = appendQuoted(append(b, `,"object_id":`...), h.ObjectID)
	b = append(b, `,"source":{"type":"`+RecordSource+`"},"user":{"organization_id":`...)
	b = appendQuoted(b, h.Organization)
	b = appendQuoted(append(b, `,"uid":`...), h.UID)
	b = appendQuoted(append(b, `,"user_id":`...), h.UserID)
	return append(b, '}')
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// appendQuoted is appendString, quick for what is plain.
func appendQuoted(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			return appendString(b, s)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// Uncopied puts before a record that is no copy what copies have there.
func Uncopied(record []byte) []byte {
	return append(make([]byte, len(store.Position{}), len(store.Position{})+len(record)), record...)
}

// PostedRecord is a record as a backend sends it (product.md V8).
type PostedRecord struct {
	Type string
	// Text is the object, as it was sent, without blanks around it.
	Text []byte
	// ID is what the record gets for an id; "" where its publisher gave one.
	ID string
	// Created is what created_at says; zero where it says nothing, or no time.
	Created time.Time
	// The members that its publisher has given.
	HasChecksum, HasCreated, HasVersion bool
}

// Encode makes the stored form.
func (p PostedRecord) Encode() []byte {
	mask := byte(0)
	for bit, has := range map[byte]bool{lacksChecksum: p.HasChecksum, lacksCreated: p.HasCreated, lacksVersion: p.HasVersion} {
		if !has {
			mask |= bit
		}
	}
	b := appendText(append(make([]byte, 0, 64+len(p.Type)+len(p.Text)), recordPosted), p.Type)
	b = appendText(b, p.ID)
	b = binary.AppendVarint(b, createdMS(p.Created))
	return append(append(b, mask), p.Text...)
}

// createdMS is a time as it is kept; 0: none.
func createdMS(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// EncodeConnection makes the stored form of a connection event (product.md V10). kind is
// create or delete, text {"connection":{…}}.
func EncodeConnection(kind string, text []byte) []byte {
	return append(appendText([]byte{recordConnection}, kind), text...)
}

// NaturalID is 32 hex digits made of what makes a record the one it is (product.md V9).
func NaturalID(parts ...string) string {
	h := sha256.New()
	var size [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(size[:], uint64(len(p)))
		h.Write(size[:])
		h.Write([]byte(p))
	}
	var sum [sha256.Size]byte
	return hex.EncodeToString(h.Sum(sum[:0])[:16])
}

// Record is one record of an account log, as it is read. It shares the entry's bytes.
type Record struct {
	Position store.Position
	// Connection: it is a connection event, and no data.
	Connection bool
	// Type is that of the data; of a connection event create or delete.
	Type []byte
	// Created is what created_at says, where that is a time; else when it was taken.
	Created time.Time

	form   byte
	mask   byte
	origin store.Position
	key    []byte // or id
	head   []byte
	text   []byte // or data
}

// DecodeRecord reads an entry of an account log.
func DecodeRecord(e store.Entry) (Record, error) {
	origin, b, err := store.Origin(e.Data)
	if err != nil || len(b) == 0 {
		return Record{}, errRecordForm
	}
	r := Record{Position: e.Position, origin: origin, form: b[0], Connection: b[0] == recordConnection}
	in := rowReader{rest: b[1:], ok: true}
	r.Type = in.take(in.number())
	r.Created = r.taken()
	switch r.form {
	case recordOwn:
		r.key = in.take(in.number())
		r.head = in.take(in.number())
	case recordPosted:
		r.key = in.take(in.number())
		ms, w := binary.Varint(in.rest)
		if w <= 0 {
			return Record{}, errRecordForm
		}
		in.take(uint64(w))
		if mask := in.take(1); len(mask) == 1 {
			r.mask = mask[0]
		}
		if ms != 0 {
			r.Created = time.UnixMilli(ms)
		}
	case recordConnection:
	default:
		return Record{}, errRecordForm
	}
	if r.text = in.rest; !in.ok || len(r.text) < 2 && r.form != recordOwn || len(r.text) == 0 {
		return Record{}, errRecordForm
	}
	return r, nil
}

// taken is when the broker got it.
func (r *Record) taken() time.Time {
	if r.origin.IsZero() {
		return r.Position.Time()
	}
	return r.origin.Time()
}

// Size is about how many bytes AppendJSON appends.
func (r *Record) Size() int { return 192 + len(r.Type) + len(r.head) + len(r.text) }

// RecordWriter writes records as streams show them. It is for one goroutine.
type RecordWriter struct {
	sums summer
	bare []byte
}

// AppendJSON appends the record as JSON on one line, with the id, checksum, created_at
// and version that it has not (product.md V8, V9).
func (w *RecordWriter) AppendJSON(b []byte, r *Record) []byte {
	start := len(b)
	switch r.form {
	case recordConnection:
		b = append(b, r.text...)
	case recordPosted:
		b = w.appendPosted(b, r)
	default:
		b = w.appendOwn(b, r)
	}
	// Line ends in JSON can only be blanks; in a stream they would end the event.
	if line := b[start:]; bytes.ContainsAny(line, "\r\n") {
		for i, c := range line {
			if c == '\r' || c == '\n' {
				line[i] = ' '
			}
		}
	}
	return b
}

func (w *RecordWriter) appendOwn(b []byte, r *Record) []byte {
	w.bare = append(w.bare[:0], `{"type":`...)
	w.bare = append(appendQuoted(w.bare, string(r.Type)), ',')
	w.bare = append(append(w.bare, r.head...), `,"data":`...)
	w.bare = append(append(w.bare, r.text...), `,"version":"`+RecordVersion+`"}`...)
	b = append(append(b, `{"id":"`...), r.id()...)
	b = append(append(b, `","checksum":"`...), w.sums.checksum(w.bare)...)
	b = append(r.appendCreated(append(b, '"', ',')), ',')
	return append(b, w.bare[1:]...)
}

// appendPosted appends what a publisher has sent, and behind it what is missing.
func (w *RecordWriter) appendPosted(b []byte, r *Record) []byte {
	w.bare = append(w.bare[:0], r.text[:len(r.text)-1]...)
	if r.mask&lacksVersion != 0 {
		w.bare = append(w.bare, `,"version":"`+RecordVersion+`"`...)
	}
	b = append(b, w.bare...)
	if len(r.key) > 0 {
		b = append(append(append(b, `,"id":"`...), r.key...), '"')
	}
	if r.mask&lacksChecksum != 0 {
		w.bare = append(w.bare, '}')
		b = append(append(append(b, `,"checksum":"`...), w.sums.checksum(w.bare)...), '"')
	}
	if r.mask&lacksCreated != 0 {
		b = r.appendCreated(append(b, ','))
	}
	return append(b, '}')
}

func (r *Record) appendCreated(b []byte) []byte {
	b = append(b, `"created_at":"`...)
	return append(r.taken().UTC().AppendFormat(b, RecordTime), '"')
}

// RecordTime is how times are written in streams.
const RecordTime = "2006-01-02T15:04:05.000Z"

// id is that of a record of the broker's own.
func (r *Record) id() string {
	if len(r.key) > 0 {
		return NaturalID(string(r.Type), string(r.key))
	}
	at := r.origin
	if at.IsZero() {
		at = r.Position
	}
	return NaturalID(string(r.Type), string(r.head), at.String())
}

// RecordFilter selects records (product.md V1, V17). The zero value admits all.
type RecordFilter struct {
	Resources []string  // types of data; none: all
	Events    []string  // data, connection; none: all
	Since     time.Time // of created_at, inclusive; zero: no bound
}

// Admits reports whether a stream with the filter shows a record.
func (f *RecordFilter) Admits(r *Record) bool {
	event := eventData
	if r.Connection {
		event = eventConnection
	}
	if len(f.Events) > 0 && !slices.Contains(f.Events, event) {
		return false
	}
	if !f.Since.IsZero() && r.Created.Before(f.Since) {
		return false
	}
	return r.Connection || len(f.Resources) == 0 || slices.Contains(f.Resources, string(r.Type))
}

// The events of a stream that are records.
const (
	eventData       = "data"
	eventConnection = "connection"
)
