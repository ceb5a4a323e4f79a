package bayeux

import (
	"sync/atomic"
	"time"
)

// Delivery is one message on its way to many sessions: encoded once, and compressed once
// if somebody wants that, shared by all of them, never changed. It is built from an allow-list of fields, so that
// nothing a publisher sent beyond them reaches anybody (bayeux-faye.md §13).
type Delivery struct {
	// wire is a text frame of a WebSocket with "[{…}]": a lone delivery is one write of
	// these bytes, and every other transport takes what is in it.
	wire  []byte
	small atomic.Pointer[deflation] // of it; nil: nobody has asked
	born  int64                     // ns since 1970; 0: it is not said
	idAt  uint32                    // where in the payload the id begins, at its quote; 0: it has none
	kept  bool
	lazy  bool
}

// DeliveryFields is what a Delivery carries.
type DeliveryFields struct {
	// Channel is the name the subscriber subscribed to, inside the grammar.
	Channel string
	// ID is the server's id of the message; "" sends none.
	ID string
	// Data is one JSON value; Ext is one JSON object, or nil for none.
	Data []byte
	Ext  []byte
	// Kept says that the message can be read again from the store, so that a
	// session whose queue is full lags instead of losing it (decided.md 13).
	Kept bool
	// Lazy says that it may wait for company, up to Options.LazyTimeout.
	Lazy bool
	// Born is when the message was published, by this machine's clock, for Stats.Waits;
	// zero: it is not counted there.
	Born time.Time
}

// NewDelivery encodes f. It copies Data and Ext.
func NewDelivery(f DeliveryFields) *Delivery {
	n := len(`[{"channel":"","data":,"id":"","ext":}]`) + len(f.Channel) + len(f.Data) + len(f.ID) + len(f.Ext)
	room := frameRoom(n)
	b := make([]byte, room, room+n)
	b = append(b, `[{"channel":`...)
	b = appendText(b, f.Channel)
	b = append(b, `,"data":`...)
	if len(f.Data) == 0 {
		b = append(b, "null"...)
	} else {
		b = append(b, f.Data...)
	}
	idAt := 0
	if f.ID != "" {
		b = append(b, `,"id":`...)
		idAt = len(b) - room
		b = appendText(b, f.ID)
	}
	if len(f.Ext) > 0 {
		b = append(b, `,"ext":`...)
		b = append(b, f.Ext...)
	}
	d := &Delivery{wire: framed(append(b, '}', ']'), room, frameText), idAt: uint32(idAt), kept: f.Kept, lazy: f.Lazy}
	if !f.Born.IsZero() {
		d.born = f.Born.UnixNano()
	}
	return d
}

// text returns the payload, an array of one.
func (d *Delivery) text() []byte { return d.wire[headLen(d.wire):] }

// Channel returns the name the subscriber subscribed to. It is read from the frame,
// so keep it where it is needed more than once.
func (d *Delivery) Channel() string { return textAt(d.text(), len(`[{"channel":`)) }

// ID returns the server's id of the message, "" if it has none; read as Channel is.
func (d *Delivery) ID() string {
	if d.idAt == 0 {
		return ""
	}
	return textAt(d.text(), int(d.idAt))
}

// textAt returns the JSON string that begins at b[at], which is one of appendText's.
func textAt(b []byte, at int) string {
	sc := scanner{b: b, i: at, depth: 1}
	inner, escaped, _ := sc.text()
	text, _ := unquote(inner, escaped)
	return text
}

// Bytes returns the encoded object. It is shared and must not be changed.
func (d *Delivery) Bytes() []byte { return d.wire[headLen(d.wire)+1 : len(d.wire)-1] }

// Size returns what the delivery counts in a queue, in bytes.
func (d *Delivery) Size() int { return len(d.wire) - headLen(d.wire) }

// Kept reports whether the message can be read again from the store.
func (d *Delivery) Kept() bool { return d.kept }

const hexDigits = "0123456789abcdef"

// appendText appends s as a JSON string. What could end a script element is
// escaped, too. Invalid UTF-8 does not occur: all texts come from decode or
// from the server itself.
func appendText(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if plainText[c] && c != '<' && c != '>' && c != '&' {
			continue
		}
		b = append(b, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}
