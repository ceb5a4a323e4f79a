package client

import (
	"encoding/json"
	"strings"
	"time"
)

// Message is one delivery.
type Message struct {
	// Channel is the name it came under: of a replay, the catch-up channel's.
	Channel string
	// ID is the message's id, "" where the server sends none.
	ID string
	// Data and Ext are raw JSON, Ext nil where absent. They must not be changed:
	// other handlers get the same bytes.
	Data json.RawMessage
	Ext  json.RawMessage
	// History is its place in the channel's history; the zero value where the
	// server keeps none.
	History History
}

// History is ext.history of a delivery (product.md §4).
type History struct {
	// ID is the message's id in the history, the same live and replayed.
	ID string
	// TS is when the server took the message.
	TS time.Time
	// Replay: it comes from the past.
	Replay bool
}

// Ack is a server's answer to a publish that it took.
type Ack struct {
	// ID is the message id this client sent with the publish.
	ID string
	// Ext is what rode in the answer's ext; nil: nothing.
	Ext json.RawMessage
}

// CatchUp is what a server says of the past when it acknowledges a subscription
// to a catch-up channel (product.md §4).
type CatchUp struct {
	// Messages is how many it will replay.
	Messages int64
	// Truncated: the interval holds more than the server still keeps.
	Truncated bool
}

// baseChannel returns X for X/catchup/T, and any other name as it is.
func baseChannel(channel string) string {
	if i := strings.LastIndexByte(channel, '/'); i > 0 {
		if base, ok := strings.CutSuffix(channel[:i], "/catchup"); ok && base != "" {
			return base
		}
	}
	return channel
}

// isCatchUp reports whether a channel replays the past.
func isCatchUp(channel string) bool { return len(baseChannel(channel)) != len(channel) }
