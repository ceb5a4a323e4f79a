package catchup

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// MaxDocument bounds a document, and a change of one, in bytes of canonical JSON, unless
// NewDocuments is told another bound (product.md E23).
const MaxDocument = 102_400

var errDocument = errors.New("catchup: not a stored document")

// DocumentSizeError: a document, or what was sent to change it, is too large.
type DocumentSizeError struct {
	Most int // bytes of canonical JSON
}

// Error names the bound.
func (e *DocumentSizeError) Error() string {
	return "catchup: a document has at most " + strconv.Itoa(e.Most) + " bytes"
}

// VersionError: a change was made for another version than the document has.
type VersionError struct {
	Version uint64 // that it has
}

// Error names the version.
func (e *VersionError) Error() string {
	return "catchup: document has version " + strconv.FormatUint(e.Version, 10)
}

// ChangeID tells a change from every other, also from one that has the same version
// because the store lost a part of what it had.
type ChangeID [16]byte

// Document is shared data as it stands after its last change (product.md §7). The
// zero Document is one that nobody has written yet: version 0, no data.
type Document struct {
	// Version counts the changes; it rises by one with each.
	Version uint64
	// Data is a JSON object in canonical form; nil before the first change.
	Data []byte
	// Changed is when the last change was made, by the store's clock.
	Changed time.Time

	writers []writer // of each top-level member, in the order of Data
	change  []byte   // the message of the last change, as its channel has it
	id      ChangeID
	tag     uint64 // of the publish that made it
	row     uint64 // version of the row, for compare-and-set; 0: there is none
	expires time.Time
}

// writer stands for a user_ref: 8 bytes of its hash, so that a document of many
// members by many users stays small. Zero is nobody.
type writer uint64

func writerOf(userRef string) writer {
	if userRef == "" {
		return 0
	}
	sum := sha256.Sum256([]byte(userRef))
	return writer(binary.BigEndian.Uint64(sum[:]) | 1)
}

// Object returns the document's data, {} where there is none.
func (d Document) Object() []byte {
	if len(d.Data) == 0 {
		return []byte("{}")
	}
	return d.Data
}

// By returns the top-level members last written by a user (product.md E10).
func (d Document) By(userRef string) []byte {
	w := writerOf(userRef)
	all := members(d.Data)
	gone := map[int]bool{}
	for i := range all {
		gone[i] = w == 0 || i >= len(d.writers) || d.writers[i] != w
	}
	return appendObject(nil, without(all, gone))
}

// Author is who changes a document.
type Author struct {
	UserRef string `json:"user_ref"` // "" for a backend
	Role    string `json:"role"`
}

// ChangeKind says what a change does.
type ChangeKind uint8

// The changes there are (product.md E15).
const (
	Merging   ChangeKind = iota // merge patch
	Replacing                   // the whole document
	Clearing                    // to {}
)

// Change is what somebody wants of a document.
type Change struct {
	Kind ChangeKind
	// Data is the patch or the new document, in canonical form; unused to clear.
	Data []byte
	// IfVersion, when not nil, is the version the document must have; 0: nobody has
	// written it yet.
	IfVersion *uint64
	By        Author
	// Tag is the publisher's mark, as Message.Tag.
	Tag uint64
}

// effect is what a change makes of a document's members.
type effect struct {
	data    []byte
	set     []member // written, with their whole new values
	removed []member
}

// on returns what the change does to data. A member that it names and that is there
// afterwards is written, also if its value is the same; so only a change that names
// nothing, or deletes what is not there, has no effect.
func (c Change) on(data []byte) effect {
	var e effect
	switch c.Kind {
	case Merging:
		e.data = Merge(data, c.Data)
	case Replacing:
		e.data = c.Data
	case Clearing:
		e.data = []byte("{}")
	}
	named := nameIndex(members(c.Data))
	after := members(e.data)
	for _, m := range after {
		if _, written := named[m.name]; written {
			e.set = append(e.set, m)
		}
	}
	there := nameIndex(after)
	for _, m := range members(data) {
		if _, stays := there[m.name]; !stays {
			e.removed = append(e.removed, m)
		}
	}
	return e
}

// apply returns the document after a change at a time; changed is false for one
// without effect, which keeps the version. id is the change's own, most the bound of a
// document; one that is above it may still be made smaller. Errors: *VersionError,
// *DocumentSizeError.
func (d Document) apply(n DocumentName, c Change, most int, at time.Time, id ChangeID) (next Document, changed bool, err error) {
	if c.IfVersion != nil && *c.IfVersion != d.Version {
		return d, false, &VersionError{Version: d.Version}
	}
	if len(c.Data) > most {
		return d, false, &DocumentSizeError{Most: most}
	}
	e := c.on(d.Data)
	if len(e.data) > most && len(e.data) >= len(d.Data) {
		return d, false, &DocumentSizeError{Most: most}
	}
	if len(e.set) == 0 && len(e.removed) == 0 {
		return d, false, nil
	}
	if at.Before(d.Changed) {
		at = d.Changed
	}
	next = Document{Version: d.Version + 1, Data: e.data, Changed: time.UnixMilli(at.UnixMilli()), id: id, tag: c.Tag, row: d.row}
	before := map[string]writer{}
	for i, m := range members(d.Data) {
		if i < len(d.writers) {
			before[m.name] = d.writers[i]
		}
	}
	for _, m := range e.set {
		before[m.name] = writerOf(c.By.UserRef)
	}
	for _, m := range members(e.data) {
		next.writers = append(next.writers, before[m.name])
	}
	next.change = next.message(n, e, c.By)
	return next, true, nil
}

// message encodes a change as its channel has it (product.md E18). Members of changes
// are top-level ones with their whole new values: the document before, less removed,
// with changes put in, is the document after.
func (d Document) message(n DocumentName, e effect, by Author) []byte {
	b := make([]byte, 0, 256+2*len(d.Data))
	b = append(b, `{"scope":"`...)
	b = append(b, n.Scope...)
	b = append(b, `","op":"set","changes":`...)
	b = appendObject(b, e.set)
	b = append(b, `,"removed":[`...)
	for i, m := range e.removed {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, m.raw...)
	}
	b = append(b, `],"data":`...)
	b = append(b, d.Data...)
	b = append(b, `,"version":`...)
	b = strconv.AppendUint(b, d.Version, 10)
	b = append(b, `,"by":{"user_ref":`...)
	b = appendString(b, by.UserRef)
	b = append(b, `,"role":`...)
	b = appendString(b, by.Role)
	b = append(b, `},"time":`...)
	b = strconv.AppendInt(b, d.Changed.UnixMilli(), 10)
	return n.end(b)
}

// end closes a message with the conference it is about, if any.
func (n DocumentName) end(b []byte) []byte {
	if n.ConfNum != "" {
		b = append(b, `,"conf_num":`...)
		b = appendString(b, n.ConfNum)
	}
	return append(b, '}')
}

// nonce marks the log's record of the last change, so that any node may see to it
// that it is there.
func (d Document) nonce(n DocumentName) store.Nonce {
	h := sha256.New()
	h.Write([]byte(n.Key))
	h.Write([]byte{0})
	h.Write(binary.BigEndian.AppendUint64(d.id[:len(d.id):len(d.id)], d.Version))
	return store.Nonce(h.Sum(nil)[:16])
}

// documentV1 begins a row: version, ms of the last change, tag, its id, data, writers
// (8 bytes each), message of the last change; texts with their lengths before them.
const documentV1 = 1

func (d Document) encode() []byte {
	b := make([]byte, 0, 64+len(d.Data)+8*len(d.writers)+len(d.change))
	b = append(b, documentV1)
	b = binary.AppendUvarint(b, d.Version)
	b = binary.AppendUvarint(b, uint64(d.Changed.UnixMilli()))
	b = binary.AppendUvarint(b, d.tag)
	b = append(b, d.id[:]...)
	b = binary.AppendUvarint(b, uint64(len(d.Data)))
	b = append(b, d.Data...)
	b = binary.AppendUvarint(b, uint64(len(d.writers)))
	for _, w := range d.writers {
		b = binary.BigEndian.AppendUint64(b, uint64(w))
	}
	return append(b, d.change...)
}

// decodeDocument reads what encode wrote.
func decodeDocument(v store.Value) (Document, error) {
	r := rowReader{rest: v.Data, ok: len(v.Data) > 0 && v.Data[0] == documentV1}
	r.take(1)
	d := Document{row: v.Version, expires: v.Expires}
	d.Version = r.number()
	d.Changed = time.UnixMilli(int64(r.number()))
	d.tag = r.number()
	copy(d.id[:], r.take(uint64(len(d.id))))
	d.Data = r.take(r.number())
	n := r.number()
	if n > uint64(len(r.rest))/8 {
		r.ok = false
	}
	if all := r.take(8 * n); r.ok {
		d.writers = make([]writer, 0, n)
		for w := range slices.Chunk(all, 8) {
			d.writers = append(d.writers, writer(binary.BigEndian.Uint64(w)))
		}
	}
	if d.change = r.rest; !r.ok {
		return Document{}, fmt.Errorf("%w: row of %d bytes", errDocument, len(v.Data))
	}
	return d, nil
}

// rowReader takes a row apart; ok is false once something was not there.
type rowReader struct {
	rest []byte
	ok   bool
}

func (r *rowReader) take(n uint64) []byte {
	if !r.ok || n > uint64(len(r.rest)) {
		r.ok = false
		return nil
	}
	part := r.rest[:n]
	r.rest = r.rest[n:]
	return part
}

func (r *rowReader) number() uint64 {
	n, w := binary.Uvarint(r.rest)
	if w <= 0 {
		r.ok = false
		return 0
	}
	r.take(uint64(w))
	return n
}
