package client

import (
	"strconv"
	"strings"
)

// acks is the ack extension: the server numbers its answers to connects, with which
// alone messages come, and is told with the next connect which was the newest that
// was taken. It is guarded by the client's mu.
type acks struct {
	on    bool   // the server grants it, for this session
	batch uint64 // of the newest answer of which all messages are in the inbox
}

// grantLocked begins a session; ext is that of the handshake's answer.
func (a *acks) grantLocked(ext []byte) {
	granted := member(ext, "ack")
	*a = acks{on: string(granted) == "true" || string(member(granted, "enabled")) == "true"}
	if n, err := strconv.ParseUint(string(member(granted, "batch")), 10, 53); err == nil {
		a.batch = n
	}
}

// taken notes that all of a frame is in the inbox: with the answers to connects in it, also
// to one that was given up while they were on their way.
func (c *Client) taken(frame []envelope) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range frame {
		if e.channel != metaConnect || !e.successful || e.clientID != "" && e.clientID != c.session || !c.acks.on {
			continue
		}
		if n, err := strconv.ParseUint(string(member(e.ext, "ack")), 10, 53); err == nil {
			c.acks.batch = max(c.acks.batch, n)
		}
	}
}

// acknowledgement returns the member ext of a connect, beginning with a comma; empty
// without the extension.
func (c *Client) acknowledgement() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.acks.on {
		return ""
	}
	return `,"ext":{"ack":` + strconv.FormatUint(c.acks.batch, 10) + `}`
}

// handshakeExt returns the member ext of a handshake, beginning with a comma; empty
// without any.
func (o *Options) handshakeExt() string {
	var members []string
	if o.Token != "" {
		members = append(members, `"token":`+string(appendString(nil, o.Token.Reveal())))
	}
	if o.Ack {
		members = append(members, `"ack":true`)
	}
	if members == nil {
		return ""
	}
	return `,"ext":{` + strings.Join(members, ",") + `}`
}
