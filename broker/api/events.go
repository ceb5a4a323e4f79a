package api

import (
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/catchup"
)

// events is an answer of server-sent events that goes on until the peer leaves.
type events struct {
	// serve writes events to a sink until it ends. An error comes before the first and
	// is a refusal.
	serve func(sink broker.StreamSink) error
	bare  bool // only the head is wanted
}

const (
	streamTime = catchup.RecordTime
	// streamStall is how long one write may take before the peer is taken for dead,
	// which is about what TCP itself gives one that does not answer. Who reads slowly,
	// or pauses, is waited for: nothing is kept for it meanwhile but this write.
	streamStall = 15 * time.Minute
	// keptBuffer is the largest buffer that is used again.
	keptBuffer = 1 << 20
)

// frames is what a write needs; connections that rest hold none.
type frames struct {
	buf     []byte
	records catchup.RecordWriter
}

var framePool = sync.Pool{New: func() any { return new(frames) }}

// sink writes the events of one connection (product.md V5, V6).
type sink struct{ w *writer }

// serveEvents answers with events.
func (w *writer) serveEvents(e events) {
	s := sink{w}
	if e.bare {
		s.begin()
		return
	}
	if err := e.serve(s); err != nil && w.status == 0 {
		w.refuse(err)
	}
}

func (s sink) begin() {
	if s.w.status != 0 {
		return
	}
	h := s.w.Header()
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no")
	s.w.begin(http.StatusOK, "text/event-stream")
}

// Records is part of broker.StreamSink.
func (s sink) Records(records []catchup.Record) error {
	f := framePool.Get().(*frames)
	f.buf = f.buf[:0]
	for i := range records {
		f.append(&records[i])
	}
	err := s.put(f.buf)
	if cap(f.buf) <= keptBuffer {
		framePool.Put(f)
	}
	return err
}

// append appends the frame of a record: data with the id last, connection without.
func (f *frames) append(r *catchup.Record) {
	if r.Connection {
		f.buf = append(f.buf, "event: connection\ndata: "...)
		f.buf = append(f.records.AppendJSON(f.buf, r), "\n\n"...)
		return
	}
	f.buf = append(f.buf, "event: data\ndata: "...)
	f.buf = append(f.records.AppendJSON(f.buf, r), "\nid: "...)
	f.buf, _ = r.Position.AppendText(f.buf) // it cannot fail: the buffer has the right size
	f.buf = append(f.buf, "\n\n"...)
}

// Poke is part of broker.StreamSink.
func (s sink) Poke(p broker.Poke) error {
	b := append(make([]byte, 0, 160), "event: poke\ndata: {\"ts\":\""...)
	b = append(p.At.UTC().AppendFormat(b, streamTime), '"')
	if p.Stream != "" {
		b = append(append(b, `,"stream":"`...), p.Stream...) // hex digits
		b = append(b, `","members":{"count":`...)
		b = strconv.AppendInt(b, int64(p.Members), 10)
		b = append(b, `,"max":`...)
		b = append(strconv.AppendInt(b, int64(p.Max), 10), '}')
	}
	return s.put(append(b, "}\n\n"...))
}

// put writes and flushes.
func (s sink) put(b []byte) error {
	s.begin()
	to := http.NewResponseController(s.w.ResponseWriter)
	_ = to.SetWriteDeadline(time.Now().Add(streamStall)) // recorders of tests have none
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	if err := to.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}
