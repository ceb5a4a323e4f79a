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

// takenLocked notes that all that came with an answer to a connect is in the inbox.
func (a *acks) takenLocked(ext []byte) {
	if n, err := strconv.ParseUint(string(member(ext, "ack")), 10, 53); err == nil && a.on {
		a.batch = n
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
		members = append(members, `"token":`+string(appendString(nil, o.Token)))
	}
	if o.Ack {
		members = append(members, `"ack":true`)
	}
	if members == nil {
		return ""
	}
	return `,"ext":{` + strings.Join(members, ",") + `}`
}
