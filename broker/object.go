package broker

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gobelin-broker/gobelin/channels"
)

// The types of an object (product.md §3).
const (
	TypeLive  = "live"
	TypeVideo = "video"
)

// Object is a room, a live event or a video: what roots are names of
// (product.md §3). It is a snapshot and never changes; all may share it.
type Object struct {
	App *Application
	// ID is the application's own name for it, 1 to 200 bytes.
	ID string
	// Type is TypeLive or TypeVideo.
	Type                string
	Name, OwnerRef, URL string
	// Public: anybody may learn the view root from a listing.
	Public bool
	// Topic is the oid the object was created with: history and routing go by it,
	// so resets lose neither (security.md §1.7).
	Topic channels.OID
	// OID is in the roots handed out now; N is how often they were reset.
	OID channels.OID
	N   uint16
	// Created is when, by the store's clock.
	Created time.Time

	aliases []alias // older oids that still work, oldest first
	auto    bool    // made by a mention, not yet described by anybody
	deleted bool    // a tombstone: the next object of this id begins with N+1
	version uint64  // of the record, for compare-and-set
}

// ObjectSpec describes an object to create.
type ObjectSpec struct {
	ID                  string // empty: a ULID is made
	Type                string // empty: TypeLive
	Name, OwnerRef, URL string
	Private             bool // the opposite of Object.Public
}

// ObjectPatch changes an object; nil fields stay.
type ObjectPatch struct {
	Name, OwnerRef, URL *string
	Public              *bool
}

// ObjectQuery selects a page of an application's objects.
type ObjectQuery struct {
	ID    string // this one only, and no other field but Type counts; empty: all
	After string // ids after this one; empty: from the first
	Type  string // TypeLive, TypeVideo, or empty for both
	Limit int    // 1 to 1,000
}

// ObjectPage is a page of objects in byte order of their ids.
type ObjectPage struct {
	Objects []*Object
	// Next is the After of the following page; empty: this is the last.
	Next string
}

// Bounds of an object's fields, in bytes: they are stored per object and sent
// with each listing.
const (
	maxObjectID    = 200 // security.md §1.3
	maxObjectField = 1024
	maxList        = 1000
)

// check returns what is wrong with a spec, as a refusal.
func (s ObjectSpec) check() error {
	if err := checkObjectID(s.ID); err != nil {
		return err
	}
	if s.Type != TypeLive && s.Type != TypeVideo {
		return &Error{Result: 4000, Text: `type must be "live" or "video"`}
	}
	return checkFields(s.Name, s.OwnerRef, s.URL)
}

// check returns what is wrong with a patch, as a refusal.
func (p ObjectPatch) check() error {
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	return checkFields(text(p.Name), text(p.OwnerRef), text(p.URL))
}

// checkObjectID refuses ids that roots cannot be made of (security.md §1.3), and
// the two that URL paths cannot hold.
func checkObjectID(id string) error {
	if id == "" || len(id) > maxObjectID || !plain(id) || id == "." || id == ".." {
		return &Error{Result: 4000, Text: fmt.Sprintf("object_id must be 1 to %d bytes of UTF-8 without control characters", maxObjectID)}
	}
	return nil
}

func checkFields(name, ownerRef, url string) error {
	for _, f := range []struct{ what, text string }{{"name", name}, {"owner_ref", ownerRef}, {"url", url}} {
		if len(f.text) > maxObjectField || !plain(f.text) {
			return &Error{Result: 4000, Text: fmt.Sprintf("%s must be at most %d bytes of UTF-8 without control characters", f.what, maxObjectField)}
		}
	}
	return nil
}

// plain reports whether s is valid UTF-8 without control characters (C0, DEL, C1).
func plain(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || (r >= 0x7f && r < 0xa0) })
}

// apply returns the object after a patch; changed is false if it is the same.
func (o *Object) apply(p ObjectPatch) (next *Object, changed bool) {
	n := *o
	set := func(dst *string, src *string) {
		if src != nil && *src != *dst {
			*dst, changed = *src, true
		}
	}
	set(&n.Name, p.Name)
	set(&n.OwnerRef, p.OwnerRef)
	set(&n.URL, p.URL)
	if p.Public != nil && *p.Public != n.Public {
		n.Public, changed = *p.Public, true
	}
	if n.auto {
		n.auto, changed = false, true
	}
	return &n, changed
}

// matches reports whether o is what spec describes.
func (o *Object) matches(spec ObjectSpec) bool {
	return o.Type == spec.Type && o.Name == spec.Name && o.OwnerRef == spec.OwnerRef &&
		o.URL == spec.URL && o.Public == !spec.Private
}

// objectRecord is an object as the table "object" keeps it.
type objectRecord struct {
	Type     string        `json:"type,omitempty"`
	Name     string        `json:"name,omitempty"`
	OwnerRef string        `json:"owner_ref,omitempty"`
	URL      string        `json:"url,omitempty"`
	Private  bool          `json:"private,omitempty"`
	Topic    string        `json:"topic,omitempty"`
	OID      string        `json:"oid,omitempty"`
	N        uint16        `json:"n"`
	Created  int64         `json:"created,omitempty"` // ms since 1970
	Aliases  []aliasRecord `json:"aliases,omitempty"`
	Auto     bool          `json:"auto,omitempty"`
	Deleted  bool          `json:"deleted,omitempty"`
}

// encode returns the record of o.
func (o *Object) encode() ([]byte, error) {
	if o.deleted {
		return json.Marshal(objectRecord{N: o.N, Deleted: true})
	}
	r := objectRecord{
		Type: o.Type, Name: o.Name, OwnerRef: o.OwnerRef, URL: o.URL, Private: !o.Public,
		Topic: o.Topic.String(), OID: o.OID.String(), N: o.N, Created: o.Created.UnixMilli(), Auto: o.auto,
	}
	for _, a := range o.aliases {
		r.Aliases = append(r.Aliases, a.record())
	}
	return json.Marshal(r)
}

// decodeObject reads what encode wrote.
func decodeObject(app *Application, id string, data []byte, version uint64) (*Object, error) {
	var r objectRecord
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("broker: object record: %w", err)
	}
	o := &Object{
		App: app, ID: id, Type: r.Type, Name: r.Name, OwnerRef: r.OwnerRef, URL: r.URL, Public: !r.Private,
		N: r.N, Created: time.UnixMilli(r.Created), auto: r.Auto, deleted: r.Deleted, version: version,
	}
	if r.Deleted {
		return o, nil
	}
	var err error
	if o.Topic, err = parseOID(r.Topic); err != nil {
		return nil, err
	}
	if o.OID, err = parseOID(r.OID); err != nil {
		return nil, err
	}
	for _, ar := range r.Aliases {
		a, err := ar.alias()
		if err != nil {
			return nil, err
		}
		o.aliases = append(o.aliases, a)
	}
	return o, nil
}

// objectKey is the key of an object in its table: the decimal number holds no
// "/", so no id can name another application's object.
func objectKey(app uint32, id string) string {
	return strconv.FormatUint(uint64(app), 10) + "/" + id
}
