package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"
)

// envelope is one message as received. Names are taken exactly as written; where
// one is repeated the last counts. data and ext alias the frame.
type envelope struct {
	channel, id, clientID, err string
	isReply, successful        bool
	advice                     *advice
	data, ext                  []byte // nil: absent
}

// advice is what a server says about going on; absent fields are -1 or "".
type advice struct {
	reconnect         string
	interval, timeout time.Duration
}

// What a server may ask for at most: a hostile or broken one shall not send us
// away for ever, nor keep us waiting on a dead link.
const (
	maxInterval = time.Hour
	maxHold     = 15 * time.Minute
)

var errMalformed = errors.New("client: frame: malformed")

// decodeFrame reads a frame or body: an array of messages, or one message.
func decodeFrame(b []byte) ([]envelope, error) {
	if !utf8.Valid(b) || !json.Valid(b) {
		return nil, errMalformed
	}
	w := walker{b: b}
	switch w.peek() {
	case '{':
		e, err := decodeEnvelope(w.value())
		return []envelope{e}, err
	case '[':
	default:
		return nil, errMalformed
	}
	var all []envelope
	for w.next() {
		e, err := decodeEnvelope(w.value())
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}

func decodeEnvelope(raw []byte) (envelope, error) {
	var e envelope
	if raw[0] != '{' {
		return e, errMalformed
	}
	w := walker{b: raw}
	for w.next() {
		key, v := w.member()
		switch key {
		case "channel":
			e.channel = text(v)
		case "id":
			e.id = text(v)
		case "clientId":
			e.clientID = text(v)
		case "error":
			e.err = text(v)
		case "successful":
			e.isReply, e.successful = true, string(v) == "true"
		case "data":
			e.data = v
		case "ext":
			e.ext = v
		case "advice":
			e.advice = decodeAdvice(v)
		}
	}
	return e, nil
}

func decodeAdvice(raw []byte) *advice {
	if raw[0] != '{' {
		return nil
	}
	a := &advice{interval: -1, timeout: -1}
	w := walker{b: raw}
	for w.next() {
		key, v := w.member()
		switch key {
		case "reconnect":
			a.reconnect = text(v)
		case "interval":
			a.interval = milliseconds(v, maxInterval)
		case "timeout":
			a.timeout = milliseconds(v, maxHold)
		}
	}
	return a
}

// milliseconds reads a number of ms, cut to [0, limit]; -1 for anything else.
func milliseconds(raw []byte, limit time.Duration) time.Duration {
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || f < 0 {
		return -1
	}
	return time.Duration(min(f, float64(limit/time.Millisecond)) * float64(time.Millisecond))
}

// decodeHistory reads ext.history (product.md §4, message envelope).
func decodeHistory(ext []byte) (History, bool) {
	var h History
	raw := member(ext, "history")
	if len(raw) == 0 || raw[0] != '{' {
		return h, false
	}
	w := walker{b: raw}
	for w.next() {
		key, v := w.member()
		switch key {
		case "id":
			h.ID = text(v)
		case "ts":
			ms, _ := strconv.ParseInt(string(v), 10, 64)
			h.TS = time.UnixMilli(ms)
		case "replay":
			h.Replay = string(v) == "true"
		}
	}
	return h, h.ID != ""
}

// decodeCatchUp reads ext.catchup of an acknowledgement (product.md §4).
func decodeCatchUp(ext []byte) *CatchUp {
	raw := member(ext, "catchup")
	if len(raw) == 0 || raw[0] != '{' {
		return nil
	}
	c := &CatchUp{Truncated: string(member(raw, "truncated")) == "true"}
	c.Messages, _ = strconv.ParseInt(string(member(raw, "messages")), 10, 64)
	return c
}

// member returns the value of one name of a valid JSON object; nil: absent, or
// not an object.
func member(object []byte, name string) []byte {
	if len(object) == 0 || object[0] != '{' {
		return nil
	}
	var found []byte
	w := walker{b: object}
	for w.next() {
		if key, v := w.member(); key == name {
			found = v
		}
	}
	return found
}

// text reads a JSON string, or a number as it is written (some peers echo ids
// as numbers); "" for anything else.
func text(raw []byte) string {
	switch c := raw[0]; {
	case c == '-' || '0' <= c && c <= '9':
		return string(raw)
	case c != '"':
		return ""
	}
	for _, c := range raw {
		if c == '\\' {
			var s string
			if json.Unmarshal(raw, &s) != nil {
				return ""
			}
			return s
		}
	}
	return string(raw[1 : len(raw)-1])
}

// walker steps through JSON that is known to be valid.
type walker struct {
	b []byte
	i int
}

// peek skips blanks and returns the next byte, 0 at the end.
func (w *walker) peek() byte {
	for ; w.i < len(w.b); w.i++ {
		switch c := w.b[w.i]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// next moves into an array or object, or past a comma, to the next element;
// false at its end.
func (w *walker) next() bool {
	switch w.peek() {
	case '[', '{', ',':
		w.i++
	}
	c := w.peek()
	return c != ']' && c != '}' && c != 0
}

// member reads `"name": value`.
func (w *walker) member() (string, []byte) {
	key := text(w.value())
	w.peek() // the colon
	w.i++
	return key, w.value()
}

// value returns the extent of the value at hand and moves behind it.
func (w *walker) value() []byte {
	c := w.peek()
	start := w.i
	switch c {
	case '"':
		w.str()
	case '{', '[':
		w.nested()
	default:
		for w.i < len(w.b) && !ends(w.b[w.i]) {
			w.i++
		}
	}
	return w.b[start:w.i:w.i]
}

func (w *walker) str() {
	for w.i++; w.i < len(w.b) && w.b[w.i] != '"'; w.i++ {
		if w.b[w.i] == '\\' {
			w.i++
		}
	}
	w.i++
}

func (w *walker) nested() {
	for depth := 0; w.i < len(w.b); {
		switch w.b[w.i] {
		case '"':
			w.str()
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		w.i++
		if depth == 0 {
			return
		}
	}
}

func ends(c byte) bool {
	switch c {
	case ',', ']', '}', ' ', '\t', '\n', '\r':
		return true
	}
	return false
}

// appendString writes s as a JSON string.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			q, _ := json.Marshal(s) // a string always marshals
			return append(b, q...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// encodeData turns what a caller publishes into JSON; raw JSON stays byte for
// byte as it is.
func encodeData(data any) ([]byte, error) {
	if raw, ok := data.(json.RawMessage); ok {
		if !json.Valid(raw) || !utf8.Valid(raw) {
			return nil, errors.New("client: publish: data is not valid json")
		}
		return raw, nil
	}
	b, err := json.Marshal(data)
	if err != nil {
		return nil, fmt.Errorf("client: publish: data: %w", err)
	}
	return b, nil
}
