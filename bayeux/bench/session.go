package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
)

// session is one Bayeux client that does the least a client must.
type session struct {
	road  road
	id    string
	calls int
}

// join shakes hands on a new road.
func (t *target) join(ctx context.Context, token string) (*session, error) {
	road, err := t.open(ctx)
	if err != nil {
		return nil, err
	}
	s := &session{road: road}
	ext := ""
	if token != "" {
		text, _ := json.Marshal(token) // a string always marshals
		ext = `,"ext":{"token":` + string(text) + `}`
	}
	a, err := s.call(ctx, fmt.Sprintf(`"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["websocket","long-polling"]%s`, ext))
	if err != nil {
		road.close()
		return nil, fmt.Errorf("bench: handshake: %w", err)
	}
	s.id = a.ClientID
	return s, nil
}

// call sends one message, given by its members, and waits for a yes.
func (s *session) call(ctx context.Context, members string) (*reply, error) {
	ctx, cancel := context.WithTimeout(ctx, answered)
	defer cancel()
	s.calls++
	id := "s" + strconv.Itoa(s.calls)
	message := "{" + members
	if s.id != "" {
		message += fmt.Sprintf(`,"clientId":%q`, s.id)
	}
	a, err := s.road.exchange(ctx, id, fmt.Appendf(nil, `%s,"id":%q}`, message, id))
	if err != nil {
		return nil, err
	}
	if !a.Successful {
		return nil, fmt.Errorf("bench: the server refuses: %s", a.Error)
	}
	return a, nil
}

// subscribe must come before listen.
func (s *session) subscribe(ctx context.Context, channel string) (*reply, error) {
	a, err := s.call(ctx, fmt.Sprintf(`"channel":"/meta/subscribe","subscription":%q`, channel))
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
