package bayeux

import (
	"github.com/gobelin-broker/gobelin/channels"
)

// Message is one message as a client sent it (bayeux-faye.md §4). Names are
// matched exactly, a repeated name fails the message, and Data and Ext are the
// very bytes that came. It shares no memory with the connection it was read
// from: whoever gets one may keep it, and must not change it.
type Message struct {
	// Channel is the checked channel; zero if ChannelText is outside the grammar
	// or the limits.
	Channel channels.Name
	// ChannelText is the channel as sent; "" if there was none.
	ChannelText string
	// ID is the raw JSON of the id, a string or a number; nil if absent or falsy
	// (0 and "", which Faye does not echo).
	ID []byte
	// ClientID is the session named by the sender; "" if none.
	ClientID string
	// Data and Ext are raw JSON; nil if absent. Ext is nil or an object.
	Data []byte
	Ext  []byte

	// Version and MinimumVersion of a handshake; "" if absent.
	Version        string
	MinimumVersion string
	// SupportedConnectionTypes of a handshake; nil if absent, not nil if empty.
	SupportedConnectionTypes []string
	// ConnectionType of a connect; "" if absent.
	ConnectionType string
	// Subscription of a subscribe or unsubscribe; nil if absent.
	Subscription []string
	// SubscriptionList is true when Subscription was sent as an array.
	SubscriptionList bool
	// AdviceTimeout and AdviceInterval are what the client asks for, in ms,
	// from 0 to a year; -1 if absent.
	AdviceTimeout  int64
	AdviceInterval int64
	// Error is the text of an error field: such a message is not carried out.
	Error string
	// Errand is for a Resumer that may have a message carried out twice, elsewhere by
	// Carry and then here after ErrHere: its Forward may set it, and finds it again in
	// what a SessionHandler gets. It never comes from a peer.
	Errand string

	kind            kind
	fault           *Error // why it cannot be carried out
	rawSubscription []byte // echoed as sent
	rawAdvice       []byte // compared from connect to connect (decided.md 4)
	size            int    // bytes on the wire
	dated           bool   // it has a timestamp
	timesync        *timesync
}

// kind is what a message asks for, by the exact channel (security.md §4, 29).
type kind uint8

const (
	kindPublish kind = iota
	kindHandshake
	kindConnect
	kindSubscribe
	kindUnsubscribe
	kindDisconnect
	kindMeta // any other channel of /meta
)

func kindOf(channel string) kind {
	if len(channel) < len("/meta") || channel[:len("/meta")] != "/meta" {
		return kindPublish
	}
	switch channel {
	case "/meta/handshake":
		return kindHandshake
	case "/meta/connect":
		return kindConnect
	case "/meta/subscribe":
		return kindSubscribe
	case "/meta/unsubscribe":
		return kindUnsubscribe
	case "/meta/disconnect":
		return kindDisconnect
	}
	if reserved(channel, "/meta") {
		return kindMeta
	}
	return kindPublish
}

// reserved reports whether a channel or pattern is root or lies below it.
func reserved(channel, root string) bool {
	return len(channel) >= len(root) && channel[:len(root)] == root &&
		(len(channel) == len(root) || channel[len(root)] == '/')
}

// ExtValue returns the raw JSON of the member key of ext, nil if there is none.
// key must be a plain name; of a repeated member the first counts.
func (m *Message) ExtValue(key string) []byte {
	if len(m.Ext) == 0 {
		return nil
	}
	sc := scanner{b: m.Ext, depth: hardDepth}
	var found []byte
	// Ext was checked when the message was read, so the walk cannot fail.
	_ = sc.object(func(name []byte, escaped bool) error {
		value, err := sc.value(1)
		if err != nil || found != nil {
			return err
		}
		if escaped {
			text, ok := unquote(name, true)
			if ok && text == key {
				found = value
			}
		} else if string(name) == key {
			found = value
		}
		return nil
	})
	return found
}

// ExtString returns the member key of ext as text; false if it is absent or not
// a string.
func (m *Message) ExtString(key string) (string, bool) {
	v := m.ExtValue(key)
	if len(v) < 2 || v[0] != '"' {
		return "", false
	}
	return unquote(v[1:len(v)-1], true)
}
