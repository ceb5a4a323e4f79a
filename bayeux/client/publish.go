package client

import (
	"context"
	"encoding/json"
)

// Publish publishes data and waits until the server has taken it. data is sent as
// it is when it is a json.RawMessage, else as encoding/json writes it. When the
// connection breaks before the answer, the message is sent again with the same id,
// which the session's server takes once (decided.md 5). The error is an *Error
// when the server refused, else the context's (the outcome is then unknown),
// ErrClosed or ErrStopped.
//
// Publishes of one goroutine keep their order; many may wait at once.
func (c *Client) Publish(ctx context.Context, channel string, data any) (Ack, error) {
	b, err := encodeData(data)
	if err != nil {
		return Ack{}, err
	}
	k := newCall(channel)
	k.data = b
	reply, err := c.do(ctx, k)
	if err != nil {
		return Ack{}, err
	}
	c.counts.published.Add(1)
	return Ack{ID: reply.id, Ext: json.RawMessage(reply.ext)}, nil
}
