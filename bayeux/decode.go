package bayeux

import (
	"errors"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/gobelin-broker/gobelin/channels"
)

var (
	// errUTF8: the text is not UTF-8 (security.md §4, 12).
	errUTF8 = errors.New("bayeux: malformed message: not UTF-8")
	// errBatch: more messages than Limits.Batch.
	errBatch = errors.New("bayeux: too many messages in a batch")
)

// The protocol's fields, as bits of a set that finds duplicates.
const (
	fieldChannel = 1 << iota
	fieldID
	fieldClientID
	fieldData
	fieldExt
	fieldVersion
	fieldMinimumVersion
	fieldSupportedConnectionTypes
	fieldConnectionType
	fieldSubscription
	fieldAdvice
	fieldError
	fieldTimestamp
)

// field returns the bit of a field name, 0 for what is no protocol field.
func field(name []byte) uint {
	switch string(name) {
	case "channel":
		return fieldChannel
	case "id":
		return fieldID
	case "clientId":
		return fieldClientID
	case "data":
		return fieldData
	case "ext":
		return fieldExt
	case "version":
		return fieldVersion
	case "minimumVersion":
		return fieldMinimumVersion
	case "supportedConnectionTypes":
		return fieldSupportedConnectionTypes
	case "connectionType":
		return fieldConnectionType
	case "subscription":
		return fieldSubscription
	case "advice":
		return fieldAdvice
	case "error":
		return fieldError
	case "timestamp":
		return fieldTimestamp
	}
	return 0
}

// Bounds on what is echoed or looked up, in bytes. Longer texts have no honest
// use and would be paid for in every reply.
const (
	maxID    = 255
	maxError = 1024
	maxTypes = 32
	maxWord  = 255
)

// decode reads a body or frame: one message, an array of them, or null
// (bayeux-faye.md §1). The error tells that nothing of it can be used; what is
// wrong with a single message is kept in its fault and spoils no other. The
// messages share no memory with body.
func decode(body []byte, l *Limits) ([]*Message, error) { return new(usual).decode(body, l) }

// usual is what the messages of one connection name again and again, so that it is not
// made anew for each.
type usual struct {
	clientID string
	channel  channels.Name
}

// decode is as the function.
func (u *usual) decode(body []byte, l *Limits) ([]*Message, error) {
	if !utf8.Valid(body) {
		return nil, errUTF8
	}
	d := decoder{scanner: scanner{b: body, depth: l.Depth}, limits: l, usual: u}
	var messages []*Message
	var err error
	switch d.peek() {
	case '{':
		var m *Message
		if m, err = d.message(0); err == nil {
			messages = []*Message{m}
		}
	case '[':
		err = d.array(func() error {
			if d.peek() == 'n' {
				return d.word("null")
			}
			if len(messages) == l.Batch {
				return errBatch
			}
			m, err := d.element()
			messages = append(messages, m)
			return err
		})
	case 'n':
		err = d.word("null")
	default:
		err = errMalformed
	}
	if err != nil {
		return nil, err
	}
	if d.space(); d.i != len(body) {
		return nil, errMalformed
	}
	return messages, nil
}

type decoder struct {
	scanner
	limits *Limits
	usual  *usual
}

// element reads one element of a batch; one that is no object fails alone.
func (d *decoder) element() (*Message, error) {
	if d.peek() == '{' {
		return d.message(1)
	}
	if _, err := d.value(1); err != nil {
		return nil, err
	}
	return &Message{fault: &Error{Code: 400, Text: "Malformed message"}, AdviceTimeout: -1, AdviceInterval: -1}, nil
}

// message reads one object. depth is how many arrays are open around it.
func (d *decoder) message(depth int) (*Message, error) {
	m := &Message{AdviceTimeout: -1, AdviceInterval: -1}
	start := d.i
	var seen uint
	err := d.object(func(name []byte, escaped bool) error {
		var f uint
		if !escaped {
			f = field(name)
		} else if text, ok := unquote(name, true); !ok || field([]byte(text)) != 0 {
			// A spelling that another reader of the message takes for the field.
			m.fail("name")
		}
		c := d.peek()
		raw, err := d.value(depth + 1)
		if err != nil || f == 0 {
			return err
		}
		if seen&f != 0 {
			m.fail(string(name))
			return nil
		}
		seen |= f
		d.take(m, f, c, raw)
		return nil
	})
	if err != nil {
		return nil, err
	}
	m.size = d.i - start
	d.finish(m)
	return m, nil
}

// fail marks the message as not to be carried out; the first cause is told.
func (m *Message) fail(field string) {
	if m.fault == nil {
		m.fault = &Error{Code: 400, Args: []string{field}, Text: "Malformed message"}
	}
}

// take keeps one field; c is the first byte of raw. Null
// is as good as absent, except as data.
func (d *decoder) take(m *Message, f uint, c byte, raw []byte) {
	if c == 'n' && f != fieldData {
		return
	}
	switch f {
	case fieldChannel:
		if c != '"' {
			m.fault = ErrInvalidChannel("")
			return
		}
		if m.ChannelText = d.usual.channel.String(); !same(raw, m.ChannelText) {
			m.ChannelText = d.string(raw)
		}
	case fieldID:
		m.takeID(c, raw)
	case fieldClientID:
		if m.ClientID = d.usual.clientID; c != '"' || !same(raw, m.ClientID) {
			m.ClientID = d.word255(m, "clientId", c, raw)
			if len(m.ClientID) == len(raw)-2 {
				d.usual.clientID = m.ClientID
			}
		}
	case fieldData:
		m.Data = raw
	case fieldExt:
		if c != '{' {
			m.fail("ext")
			return
		}
		m.Ext = raw
	case fieldVersion:
		m.Version = d.word255(m, "version", c, raw)
	case fieldMinimumVersion:
		m.MinimumVersion = d.word255(m, "minimumVersion", c, raw)
	case fieldSupportedConnectionTypes:
		m.SupportedConnectionTypes = d.types(m, c, raw)
	case fieldConnectionType:
		m.ConnectionType = d.word255(m, "connectionType", c, raw)
	case fieldSubscription:
		d.subscription(m, c, raw)
	case fieldAdvice:
		d.advice(m, c, raw)
	case fieldError:
		if c != '"' || len(raw) > maxError {
			m.fail("error")
			return
		}
		m.Error = d.string(raw)
	case fieldTimestamp:
		m.dated = true
	}
}

// same reports whether a scanned string is plainly text.
func same(raw []byte, text string) bool { return string(raw[1:len(raw)-1]) == text }

// string returns the text of a scanned string.
func (d *decoder) string(raw []byte) string {
	inner := raw[1 : len(raw)-1]
	for _, c := range inner {
		if c == '\\' {
			text, _ := unquote(inner, true)
			return text
		}
	}
	return string(inner)
}

// word255 returns a short text field.
func (d *decoder) word255(m *Message, name string, c byte, raw []byte) string {
	if c != '"' || len(raw) > maxWord+2 {
		m.fail(name)
		return ""
	}
	return d.string(raw)
}

func (m *Message) takeID(c byte, raw []byte) {
	switch {
	case c == 'f': // false is falsy
	case c == '"':
		if len(raw) > maxID+2 {
			m.fail("id")
		} else if len(raw) > 2 {
			m.ID = raw
		}
	case c == '-' || '0' <= c && c <= '9':
		if len(raw) > maxID {
			m.fail("id")
		} else if !zero(raw) {
			m.ID = raw
		}
	default:
		m.fail("id")
	}
}

// zero reports whether a number is some spelling of 0.
func zero(number []byte) bool {
	for _, c := range number {
		switch {
		case c == 'e' || c == 'E':
			return true
		case '1' <= c && c <= '9':
			return false
		}
	}
	return true
}

// list reads an array of texts; false if it holds anything else or too many.
func (d *decoder) list(raw []byte, most int) ([]string, bool) {
	texts := []string{}
	sc := scanner{b: raw, depth: d.depth}
	ok := true
	// raw was scanned already, so the walk cannot fail.
	_ = sc.array(func() error {
		c := sc.peek()
		v, err := sc.value(1)
		if err != nil {
			return err
		}
		if c != '"' || len(texts) == most {
			ok = false
			return errMalformed
		}
		texts = append(texts, d.string(v))
		return nil
	})
	return texts, ok
}

func (d *decoder) types(m *Message, c byte, raw []byte) []string {
	if c != '[' {
		m.fail("supportedConnectionTypes")
		return nil
	}
	texts, ok := d.list(raw, maxTypes)
	if !ok {
		m.fail("supportedConnectionTypes")
	}
	return texts
}

func (d *decoder) subscription(m *Message, c byte, raw []byte) {
	switch c {
	case '"':
		m.rawSubscription = raw
		if text := d.string(raw); text != "" {
			m.Subscription = []string{text}
		}
	case '[':
		texts, ok := d.list(raw, d.limits.SubscriptionList)
		if !ok {
			m.fail("subscription")
			return
		}
		m.Subscription, m.SubscriptionList = texts, true
		m.rawSubscription = raw
	default:
		m.fail("subscription")
	}
}

// maxAdvice is a year in ms: more is meant as "for ever" and would overflow.
const maxAdvice = 365 * 24 * 3600 * 1000

func (d *decoder) advice(m *Message, c byte, raw []byte) {
	if c != '{' {
		m.fail("advice")
		return
	}
	m.rawAdvice = raw
	sc := scanner{b: raw, depth: d.depth}
	// raw was scanned already, so the walk cannot fail.
	_ = sc.object(func(name []byte, _ bool) error {
		v, err := sc.value(1)
		if err != nil {
			return err
		}
		switch string(name) {
		case "timeout":
			m.AdviceTimeout = m.milliseconds(v)
		case "interval":
			m.AdviceInterval = m.milliseconds(v)
		}
		return nil
	})
}

func (m *Message) milliseconds(raw []byte) int64 {
	if raw[0] == 'n' {
		return -1
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) || math.IsNaN(f) {
		m.fail("advice")
		return -1
	}
	return int64(min(max(f, 0), maxAdvice))
}

// finish checks what needs the whole message and copies, once, what is kept of
// the buffer.
func (d *decoder) finish(m *Message) {
	m.kind = kindOf(m.ChannelText)
	if m.ChannelText != "" && m.ChannelText == d.usual.channel.String() {
		m.Channel = d.usual.channel
	} else if n, err := d.name(m.ChannelText); err == nil {
		m.Channel, d.usual.channel = n, n
	}
	if len(m.Data) > d.limits.Message && m.fault == nil {
		m.fault = &Error{Code: 413, Text: "Message too large"}
	}
	if m.kind == kindPublish {
		// What a publish has no use for is not kept.
		m.rawSubscription, m.rawAdvice = nil, nil
	}
	n := len(m.ID) + len(m.Data) + len(m.Ext) + len(m.rawSubscription) + len(m.rawAdvice)
	if n == 0 {
		return
	}
	buf := make([]byte, 0, n)
	for _, p := range [...]*[]byte{&m.ID, &m.Data, &m.Ext, &m.rawSubscription, &m.rawAdvice} {
		if *p != nil {
			at := len(buf)
			buf = append(buf, *p...)
			*p = buf[at:len(buf):len(buf)]
		}
	}
}

// name checks a channel against the grammar and the limits.
func (d *decoder) name(text string) (channels.Name, error) {
	n, err := channels.Parse(text)
	if err == nil && !d.limits.allow(text) {
		return channels.Name{}, channels.ErrInvalid
	}
	return n, err
}

// allow applies the length limits to a channel or pattern inside the grammar.
func (l *Limits) allow(text string) bool {
	if len(text) > l.Channel {
		return false
	}
	segments := 0
	for i := 0; i < len(text); i++ {
		if text[i] == '/' {
			segments++
		}
	}
	return segments <= l.Segments
}
