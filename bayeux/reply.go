package bayeux

import (
	"bytes"
	"math/rand/v2"
	"strconv"
	"time"
)

// reply is the answer to one message (bayeux-faye.md §4), before it is encoded.
type reply struct {
	m        *Message
	clientID string // "": none
	err      string // "": successful
	advice   *Advice
	ext      []byte // raw JSON, nil: none
	ack      uint64 // the number of an answer to a connect; 0: none
	grants   bool   // the ack extension, to a handshake
	types    []string
}

// encode returns the reply as a JSON object.
func (r reply) encode() []byte { return r.append(make([]byte, 0, r.size())) }

// size is about what append appends.
func (r *reply) size() int {
	n := 64 + len(r.m.ID) + len(r.clientID) + len(r.m.ChannelText) + len(r.m.rawSubscription) + len(r.err) + len(r.ext)
	if r.m.kind != kindPublish {
		n += 96 // advice, mostly
	}
	return n
}

// append appends the reply. Of a message only the id, the channel, the clientId and the
// subscription are echoed.
func (r *reply) append(b []byte) []byte {
	m := r.m
	b = append(b, '{')
	if len(m.ID) > 0 {
		b = append(b, `"id":`...)
		b = append(b, m.ID...)
		b = append(b, ',')
	}
	if r.clientID != "" {
		b = append(b, `"clientId":`...)
		b = appendText(b, r.clientID)
		b = append(b, ',')
	}
	if m.ChannelText != "" && len(m.ChannelText) <= maxError {
		b = append(b, `"channel":`...)
		b = appendText(b, m.ChannelText)
		b = append(b, ',')
	}
	if r.err == "" {
		b = append(b, `"successful":true`...)
	} else {
		b = append(b, `"successful":false,"error":`...)
		b = appendText(b, r.err)
	}
	switch m.kind {
	case kindHandshake:
		b = append(b, `,"version":"1.0","supportedConnectionTypes":[`...)
		for i, t := range r.types {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendText(b, t)
		}
		b = append(b, ']')
	case kindSubscribe, kindUnsubscribe:
		b = append(b, `,"subscription":`...)
		if m.rawSubscription != nil {
			b = append(b, m.rawSubscription...)
		} else {
			b = append(b, `[]`...)
		}
	}
	if r.advice != nil {
		b = r.advice.append(b, m)
	}
	if m.dated && m.kind != kindPublish {
		b = appendText(append(b, `,"timestamp":`...), timestamp(time.Now()))
	}
	return append(r.appendExt(b), '}')
}

// outcome is what a publish comes back with: its reply, and before that, of a remote call,
// what the application answers, if it does. CometD's users ask that itself whether the
// call went well.
type outcome struct {
	reply
	data []byte
}

func (a *outcome) size() int {
	n := a.reply.size()
	if a.data != nil {
		n += 64 + len(a.m.ChannelText) + len(a.m.ID) + len(a.data)
	}
	return n
}

func (a *outcome) append(b []byte) []byte {
	if a.data != nil {
		b = appendText(append(b, `{"channel":`...), a.m.ChannelText)
		if len(a.m.ID) > 0 {
			b = append(append(b, `,"id":`...), a.m.ID...)
		}
		b = append(append(b, `,"data":`...), a.data...)
		b = append(b, `,"successful":true},`...)
	}
	return a.reply.append(b)
}

// appendExt writes the extensions' members behind the application's own.
func (r *reply) appendExt(b []byte) []byte {
	own := r.ownExt(nil)
	if len(own)+len(r.ext) == 0 {
		return b
	}
	b = append(b, `,"ext":`...)
	if len(own) == 0 {
		return append(b, r.ext...)
	}
	b = append(b, '{')
	if members := bytes.TrimSpace(r.ext); len(members) > 2 {
		b = append(append(b, members[1:len(members)-1]...), ',')
	}
	return append(append(b, own...), '}')
}

// ownExt appends the members of ext that are the protocol's.
func (r *reply) ownExt(b []byte) []byte {
	sep := func() {
		if len(b) > 0 {
			b = append(b, ',')
		}
	}
	if r.grants {
		b = append(b, `"ack":true`...)
	}
	if r.ack > 0 {
		sep()
		b = strconv.AppendUint(append(b, `"ack":`...), r.ack, 10)
	}
	return r.m.timesync.append(b)
}

// append writes the advice whole: clients stop for good, or crash, when a member
// is missing (bayeux-cometd.md §0.7).
func (a *Advice) append(b []byte, m *Message) []byte {
	b = append(b, `,"advice":{"reconnect":`...)
	b = appendText(b, a.Reconnect)
	b = append(b, `,"interval":`...)
	interval := a.Interval
	if a.heeds > 0 && m.AdviceInterval >= 0 {
		interval = min(m.AdviceInterval, a.heeds)
	}
	b = strconv.AppendInt(b, interval, 10)
	b = append(b, `,"timeout":`...)
	b = strconv.AppendInt(b, a.Timeout, 10)
	return append(b, '}')
}

// pause is the jittered interval of refusals, in ms: without one Faye's clients
// come back about 80 times a second (bayeux-faye.md §0.6), and without jitter
// all at once.
func pause() int64 { return pauseLeast + rand.Int64N(pauseMost-pauseLeast) }

// usual is the advice of a successful handshake or connect. The interval is the client's,
// if it asks for one (bayeux-cometd.md §1.4), but so that its session lives.
// It is shared and never changed: each held connect has it.
func (v *Server) usual() *Advice { return v.retry }

// usualAdvice makes what usual returns.
func (o *Options) usualAdvice() *Advice {
	return &Advice{
		Reconnect: "retry", Interval: o.Interval.Milliseconds(), Timeout: o.Timeout.Milliseconds(),
		heeds: o.MaxInterval.Milliseconds() / 2,
	}
}

// again is the advice of a refusal: how is "handshake" or "retry".
func (v *Server) again(how string) *Advice {
	return &Advice{Reconnect: how, Interval: pause(), Timeout: v.options.Timeout.Milliseconds()}
}

// never is the advice after a disconnect (bayeux-cometd.md §0.6).
func (v *Server) never() *Advice {
	return &Advice{Reconnect: "none", Timeout: v.options.Timeout.Milliseconds()}
}

// streaming is the advice of a connect by eventsource: it keeps the session, and
// the stream carries the messages (bayeux-faye.md §3).
func (v *Server) streaming() *Advice {
	return &Advice{Reconnect: "retry", Interval: v.options.Timeout.Milliseconds()}
}

// adviceFor is the advice of a refused handshake or connect.
func (v *Server) adviceFor(e *Error) *Advice {
	if e.Advice == nil {
		if e.Code >= 500 {
			return v.again("retry")
		}
		return v.again("handshake")
	}
	a := *e.Advice
	if a.Reconnect != "none" && a.Interval <= 0 {
		a.Interval = pause()
	}
	if a.Timeout <= 0 {
		a.Timeout = v.options.Timeout.Milliseconds()
	}
	return &a
}

// refusedWhole is the answer to a frame that could not be read.
func refusedWhole(code int, text string) []byte {
	e := Error{Code: code, Text: text}
	return append(appendText([]byte(`{"successful":false,"error":`), e.Error()), '}')
}

// ms is d as advice counts it.
func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
