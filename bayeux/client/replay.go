package client

import (
	"context"
	"errors"
	"strconv"
)

// Replay ids that are no message's (bayeux-cometd.md §3).
const (
	ReplayNew = -1 // only what comes
	ReplayAll = -2 // all that is kept, and what comes
)

// SubscribeFrom is Subscribe for a plain channel from a replay id on: ReplayNew,
// ReplayAll, or the ReplayID of the last message that was had; then everything after it
// comes, and goes on live. Messages then carry their ids (Message.ReplayID). A later
// session goes on behind the newest message that came. If the server does not keep that
// any more, or not the id given here, it refuses: then the error, or Subscription.Err,
// is an *Error with code 400.
func (c *Client) SubscribeFrom(ctx context.Context, channel string, id int64, handler func(Message)) (*Subscription, error) {
	if id < ReplayAll || isPattern(channel) || isCatchUp(channel) {
		return nil, errors.New("client: subscribe: want a replay id, -1 or -2, and a plain channel")
	}
	return c.subscribe(ctx, &Subscription{c: c, channel: channel, handler: handler, byReplayID: true, replayID: id, done: make(chan struct{})})
}

// ReplayID returns the replay id that a message has in its data, event.replayId; false
// where it has none: its subscription was not made by SubscribeFrom, its data is no
// object, or the server knows no such ids.
func (m Message) ReplayID() (id int64, ok bool) {
	id, err := strconv.ParseInt(string(member(member(m.Data, "event"), "replayId")), 10, 64)
	return id, err == nil && id >= 0
}

// replayExtLocked is the ext of a subscribe, as further members: from where a channel's
// subscriptions by replay id go on, the one that is furthest behind; "" without any.
func (c *Client) replayExtLocked(channel string) string {
	if !c.replaysLocked(channel) {
		return ""
	}
	from := int64(ReplayNew)
	for _, s := range c.byChannel[channel] {
		switch {
		case !s.byReplayID, s.replayID == ReplayNew, from == ReplayAll:
		case s.replayID == ReplayAll, from == ReplayNew, s.replayID < from:
			from = s.replayID
		}
	}
	return replayExt(channel, from)
}

// replayExt is the ext of a subscribe from an id on, as further members.
func replayExt(channel string, id int64) string {
	b := appendString([]byte(`,"ext":{"replay":{`), channel)
	b = strconv.AppendInt(append(b, ':'), id, 10)
	return string(append(b, "}}"...))
}

// noteReplayLocked remembers how far the subscriptions of a message's channel by replay
// id have come.
func (c *Client) noteReplayLocked(m *Message) {
	for _, s := range c.byChannel[m.Channel] {
		if !s.byReplayID {
			continue
		}
		if id, ok := m.ReplayID(); ok && id > s.replayID {
			s.replayID = id
		}
	}
}

// replaysLocked reports whether a channel is subscribed by a replay id.
func (c *Client) replaysLocked(channel string) bool {
	for _, s := range c.byChannel[channel] {
		if s.byReplayID {
			return true
		}
	}
	return false
}
