package trace

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"time"
)

// The kinds of spans, as OTLP numbers them.
const (
	kindServer = 2
	kindClient = 3
)

// Span is a stretch of time with a name, in a trace. A nil one does nothing.
type Span struct {
	tracer *Tracer
	trace  [16]byte
	id     [8]byte
	parent [8]byte // zero: it has none
	kind   int
	name   string
	began  time.Time
	ended  time.Time
	facts  []fact
	failed bool
}

// fact is an attribute: a text, or where that is empty a number.
type fact struct {
	key  string
	text string
	n    int64
}

type key struct{}

// Serve begins the span of a request that has come; traceparent is that header of it, ""
// if it has none. The span, and ctx with it, are for this request alone; both are as
// before where it is not traced.
func (t *Tracer) Serve(ctx context.Context, traceparent, name string) (context.Context, *Span) {
	if t == nil {
		return ctx, nil
	}
	p, told := parseParent(traceparent)
	if told && !p.sampled {
		return ctx, nil
	}
	s := &Span{tracer: t, trace: p.trace, parent: p.span, kind: kindServer, name: name, began: time.Now()}
	if !told {
		fill(s.trace[:])
		if binary.BigEndian.Uint64(s.trace[8:])%100 >= uint64(t.options.Percent) {
			return ctx, nil
		}
	}
	fill(s.id[:])
	return context.WithValue(ctx, key{}, s), s
}

// Start begins a span of something that is asked for the sake of ctx's; nil where there
// is none.
func Start(ctx context.Context, name string) *Span {
	over, _ := ctx.Value(key{}).(*Span)
	if over == nil {
		return nil
	}
	s := &Span{tracer: over.tracer, trace: over.trace, parent: over.id, kind: kindClient, name: name, began: time.Now()}
	fill(s.id[:])
	return s
}

// Text and Number add an attribute. A text is one of a few that the program holds, never
// one of a peer's.
func (s *Span) Text(key, text string) {
	if s != nil {
		s.facts = append(s.facts, fact{key: key, text: text})
	}
}

// Number is Text for numbers.
func (s *Span) Number(key string, n int64) {
	if s != nil {
		s.facts = append(s.facts, fact{key: key, n: n})
	}
}

// End ends the span, which belongs to the tracer then. failed: what it stands for did
// not come to its end, and that was not the caller's fault.
func (s *Span) End(failed bool) {
	if s == nil {
		return
	}
	s.ended, s.failed = time.Now(), failed
	s.tracer.add(s)
}

// fill fills an id, which is never zero.
func fill(id []byte) {
	for {
		_, _ = rand.Read(id) // it never errs
		for _, b := range id {
			if b != 0 {
				return
			}
		}
	}
}
