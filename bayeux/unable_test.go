package bayeux

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// absentStore is an application whose store does not answer.
type absentStore struct{}

func (absentStore) Handshake(context.Context, *Session, *Message) (SessionHandler, error) {
	return nil, &Error{Code: 503, Text: "Service unavailable"}
}

func (absentStore) Publish(_ context.Context, _ Peer, _ *Message, done func(Ack, error)) {
	done(Ack{}, &Error{Code: 503, Text: "Service unavailable"})
}

func (absentStore) Resume(context.Context, *Session, *Message) (SessionHandler, error) {
	return nil, &Error{Code: 503, Text: "Service unavailable"}
}

func (absentStore) Forward(context.Context, Peer, *Message) ([]byte, error) {
	return nil, &Error{Code: 503, Text: "Service unavailable"}
}

// A connect alone whose session cannot be taken up is answered so that the client sends
// it again as it is; whatever has company, or is asked by a script element, is not.
func TestUnableToTakeUp(t *testing.T) {
	v := NewServer(absentStore{}, Options{})
	defer func() { require.NoError(t, v.Shutdown(context.Background())) }()
	connect := `{"channel":"/meta/connect","clientId":"` + strings.Repeat("a", 32) + `","connectionType":"long-polling","id":"1"}`
	subscribe := `{"channel":"/meta/subscribe","clientId":"` + strings.Repeat("a", 32) + `","subscription":"/a"}`
	f := func(body string, want int) {
		t.Helper()
		req := httptest.NewRequest(http.MethodPost, "/faye", strings.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		rec := httptest.NewRecorder()
		v.ServeHTTP(rec, req)
		require.Equal(t, want, rec.Code)
		require.Equal(t, want == 503, rec.Header().Get("Retry-After") != "")
		require.Contains(t, rec.Body.String(), `"error":"503::Service unavailable"`)
	}
	f("["+connect+"]", 503)
	f("["+subscribe+"]", 200)
	f("["+subscribe+","+connect+"]", 200)
	f(`[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"]}]`, 200)
}
