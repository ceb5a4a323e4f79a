package bayeux

import (
	"math"
	"strconv"
	"time"
)

// timesyncAccuracy is within what the client's own reckoning is good enough, in ms: it is
// answered only while it is further off (bayeux-cometd.md §2.3).
const timesyncAccuracy = 25

// longestNumber bounds the numbers of timesync that are looked at, in bytes.
const longestNumber = 32

// timesync is what a meta message asks about the clock (bayeux-cometd.md §2.3).
type timesync struct {
	clock   []byte  // the client's own, in ms, as it was written
	tc      float64 // the same
	lag     float64 // of the network, as the client reckons it, in ms
	offset  float64 // of the server's clock, likewise
	lagged  bool    // it gave its lag
	arrived time.Time
}

// readTimesync notes the question of a meta message that arrives now.
func (m *Message) readTimesync() {
	if m.kind == kindPublish || len(m.Ext) == 0 {
		return
	}
	raw := m.ExtValue("timesync")
	if len(raw) == 0 || raw[0] != '{' {
		return
	}
	t := timesync{arrived: time.Now()}
	ok := true
	sc := scanner{b: raw, depth: hardDepth}
	// raw was checked when the message was read, so the walk cannot fail.
	_ = sc.object(func(name []byte, _ bool) error {
		v, err := sc.value(1)
		if err != nil {
			return err
		}
		switch string(name) {
		case "tc":
			t.clock = v
			t.tc, ok = milliseconds(v, ok)
		case "l":
			t.lag, ok = milliseconds(v, ok)
			t.lagged = true
		case "o":
			t.offset, ok = milliseconds(v, ok)
		}
		return nil
	})
	if ok && t.clock != nil {
		m.timesync = &t
	}
}

// milliseconds reads a number of ms that a clock can be; so is what was read before it.
func milliseconds(raw []byte, ok bool) (float64, bool) {
	if len(raw) > longestNumber {
		return 0, false
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	return f, ok && err == nil && math.Abs(f) < 1<<53
}

// append writes the answer as a member of ext; nothing if the client is right enough. The
// time since the message arrived is in it, so that a connect that was held does not count
// as a slow network.
func (t *timesync) append(b []byte) []byte {
	if t == nil {
		return b
	}
	ts := t.arrived.UnixMilli()
	off := t.tc + t.offset + t.lag - float64(ts)
	if t.lagged && t.lag != 0 && math.Abs(off) < timesyncAccuracy {
		return b
	}
	if len(b) > 0 {
		b = append(b, ',')
	}
	b = append(append(b, `"timesync":{"tc":`...), t.clock...)
	b = strconv.AppendInt(append(b, `,"ts":`...), ts, 10)
	b = strconv.AppendInt(append(b, `,"p":`...), time.Since(t.arrived).Milliseconds(), 10)
	if t.lagged {
		b = strconv.AppendInt(append(b, `,"a":`...), int64(math.Round(off)), 10)
	}
	return append(b, '}')
}

// timestamp is a time as replies tell it to who told its own (bayeux-cometd.md §2.4).
func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.00") }
