package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync/atomic"
)

// session is one Bayeux client that does the least a client must.
type session struct {
	road      road
	transport string
	id        string
	calls     int // messages of call
	connects  atomic.Int64
	cut       atomic.Bool // we have broken its road
}

// refusal is an answer that says no.
type refusal struct{ *reply }

func (r refusal) Error() string { return "bench: the server refuses: " + r.reply.Error }

// join shakes hands on a new road.
func (t *target) join(ctx context.Context, token string) (*session, error) {
	road, err := t.open(ctx)
	if err != nil {
		return nil, err
	}
	s := &session{road: road, transport: t.transport}
	if err := s.handshake(ctx, token); err != nil {
		road.close()
		return nil, err
	}
	return s, nil
}

// handshake makes a new session on the road.
func (s *session) handshake(ctx context.Context, token string) error {
	s.id = ""
	ext := ""
	if token != "" {
		text, _ := json.Marshal(token) // a string always marshals
		ext = `,"ext":{"token":` + string(text) + `}`
	}
	a, err := s.call(ctx, fmt.Sprintf(`"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["websocket","long-polling"]%s`, ext), nil)
	if err != nil {
		return fmt.Errorf("bench: handshake: %w", err)
	}
	s.id = a.ClientID
	return nil
}

// resume connects the session on a new road, and is answered at once.
func (s *session) resume(ctx context.Context, sink sink) error {
	id := s.connectID()
	_, err := s.exchange(ctx, id, connectMessage(s.id, s.transport, id, `,"advice":{"timeout":0}`), sink)
	return err
}

// next returns the next connect.
func (s *session) next() []byte {
	return connectMessage(s.id, s.transport, s.connectID(), "")
}

// connectID is the id of the next connect. Servers may tell by them which is newer.
func (s *session) connectID() string { return "c" + strconv.FormatInt(s.connects.Add(1), 10) }

// connectMessage is a /meta/connect; more are members that it ends with.
func connectMessage(clientID, transport, id, more string) []byte {
	return fmt.Appendf(nil, `{"channel":"/meta/connect","clientId":%q,"connectionType":%q,"id":%q%s}`, clientID, transport, id, more)
}

// call sends one message, given by its members, and waits for a yes; sink as in
// road.exchange.
func (s *session) call(ctx context.Context, members string, sink sink) (*reply, error) {
	s.calls++
	id := "s" + strconv.Itoa(s.calls)
	message := "{" + members
	if s.id != "" {
		message += fmt.Sprintf(`,"clientId":%q`, s.id)
	}
	return s.exchange(ctx, id, fmt.Appendf(nil, `%s,"id":%q}`, message, id), sink)
}

// exchange sends a message and waits for a yes; else the error is a refusal, or of the
// road.
func (s *session) exchange(ctx context.Context, id string, message []byte, sink sink) (*reply, error) {
	ctx, cancel := context.WithTimeout(ctx, answered)
	defer cancel()
	a, err := s.road.exchange(ctx, id, message, sink)
	if err != nil {
		return nil, err
	}
	if !a.Successful {
		return nil, refusal{a}
	}
	return a, nil
}

// subscribe must come before listen.
func (s *session) subscribe(ctx context.Context, channel string) (*reply, error) {
	a, err := s.call(ctx, fmt.Sprintf(`"channel":"/meta/subscribe","subscription":%q`, channel), nil)
	if err != nil {
		return nil, fmt.Errorf("bench: subscribe to %s: %w", channel, err)
	}
	return a, nil
}

// publication writes a publish; its id and data are JSON.
func (s *session) publication(channel, id string, data []byte) []byte {
	b := make([]byte, 0, len(data)+len(channel)+len(s.id)+len(id)+64)
	b = append(append(b, `{"channel":"`...), channel...)
	b = append(append(b, `","clientId":"`...), s.id...)
	b = append(append(b, `","id":"`...), id...)
	b = append(append(b, `","data":`...), data...)
	return append(b, '}')
}
