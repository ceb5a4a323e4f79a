package bayeux

import (
	"bytes"
	"compress/flate"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// leastDeflated is the smallest delivery that is compressed: of what is smaller too
// little would be saved.
const leastDeflated = 200

// deflation is a delivery compressed (permessage-deflate, RFC 7692): once, for all
// connections, which is why none of them may refer to what it had before. It consists of
// blocks that end at a byte, so that those of several deliveries stand one after the
// other in a frame as they are. It takes no more memory than the delivery itself.
type deflation struct {
	once  sync.Once
	frame []byte // with "[{…}]"; nil: it would be no smaller
	part  []byte // of that, "{…}"
}

// Blocks that are not compressed, of one character, and what ends a message: of an empty
// block the first byte, since the peer adds the others (RFC 7692 §7.2.2).
const (
	blockOpen  = "\x00\x01\x00\xfe\xff["
	blockComma = "\x00\x01\x00\xfe\xff,"
	blockClose = "\x00\x01\x00\xfe\xff]"
	blockEnd   = "\x00"
)

// flater compresses; it is lent, as it has tables of a megabyte.
type flater struct {
	w *flate.Writer
	b bytes.Buffer
}

var flaters = sync.Pool{New: func() any {
	f := &flater{}
	f.w, _ = flate.NewWriter(&f.b, flate.BestSpeed) // it errs for other levels
	return f
}}

// deflated returns the delivery compressed, or nil where that saves nothing. It is made
// by the first who asks.
func (d *Delivery) deflated(stats *counters) *deflation {
	if d.Size() < leastDeflated {
		return nil
	}
	f := d.small.Load()
	if f == nil {
		if f = new(deflation); !d.small.CompareAndSwap(nil, f) {
			f = d.small.Load()
		}
	}
	f.once.Do(func() {
		f.make(d.Bytes())
		stats.deflated.Add(1)
	})
	if f.frame == nil {
		return nil
	}
	return f
}

func (f *deflation) make(object []byte) {
	by := flaters.Get().(*flater)
	defer flaters.Put(by)
	by.b.Reset()
	by.w.Reset(&by.b)
	_, err := by.w.Write(object)
	if err = errors.Join(err, by.w.Flush()); err != nil || by.b.Len() >= len(object)-len(blockOpen+blockClose+blockEnd) {
		return
	}
	room := frameRoom(by.b.Len())
	b := make([]byte, room, room+by.b.Len()+len(blockOpen+blockClose+blockEnd))
	b = append(append(b, blockOpen...), by.b.Bytes()...)
	f.part = b[room+len(blockOpen):]
	f.frame = framed(append(append(b, blockClose...), blockEnd...), room, frameDeflated)
	if by.b.Cap() > mostPooled {
		by.b = bytes.Buffer{}
	}
}

// cap is what it takes, in bytes, once it is made.
func (f *deflation) cap() int {
	if f == nil {
		return 0
	}
	return cap(f.frame)
}

// appendStored appends p in blocks that are not compressed.
func appendStored(b, p []byte) []byte {
	for len(p) > 0 {
		n := min(len(p), 1<<16-1)
		b = append(b, 0, byte(n), byte(n>>8), ^byte(n), ^byte(n>>8))
		b = append(b, p[:n]...)
		p = p[n:]
	}
	return b
}

// smaller reports whether a frame with these deliveries is sent compressed to c.
func (c *socket) smaller(ds []*Delivery) bool {
	return c.deflates && slices.ContainsFunc(ds, func(d *Delivery) bool { return d.deflated(&c.server.stats) != nil })
}

// appendDeflated appends what joinAll would, as the payload of a compressed frame. What
// is for this connection alone is in it as it is.
func (c *socket) appendDeflated(b []byte, ds []*Delivery, replies, connects [][]byte) []byte {
	before := blockOpen
	add := func() {
		b = append(b, before...)
		before = blockComma
	}
	for _, d := range ds {
		add()
		if f := d.deflated(&c.server.stats); f != nil {
			b = append(b, f.part...)
		} else {
			b = appendStored(b, d.Bytes())
		}
	}
	for _, list := range [2][][]byte{replies, connects} {
		for _, r := range list {
			add()
			b = appendStored(b, r)
		}
	}
	return append(append(b, blockClose...), blockEnd...)
}

// deflateOffer is what a request for an upgrade offers where it can be taken.
const deflateOffer = "permessage-deflate"

const extensionsHeader = "Sec-Websocket-Extensions"

// offersDeflate reports whether one of the extensions offered is a compression that is
// spoken here: without context from one message to the next, in either direction, and with
// the full window of ours.
func offersDeflate(h http.Header) bool {
	for _, line := range h[extensionsHeader] {
		for offer := range strings.SplitSeq(line, ",") {
			words := strings.Split(offer, ";")
			if strings.TrimSpace(words[0]) == deflateOffer && !slices.ContainsFunc(words[1:], foreignParameter) {
				return true
			}
		}
	}
	return false
}

// foreignParameter reports whether a parameter of an offer is none that can be agreed to.
func foreignParameter(word string) bool {
	name, _, _ := strings.Cut(strings.TrimSpace(word), "=")
	return name != "client_max_window_bits" && name != "client_no_context_takeover" && name != "server_no_context_takeover"
}
