package bayeux

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gobelin-broker/gobelin/bayeux/bayeuxtest"
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

// A connect that asks again for what was lost is not answered where its session has just
// left: the one after it would seem to say that all has arrived.
func TestAsksAgainWhereItsSessionLeft(t *testing.T) {
	for again, want := range map[string]string{
		`"id":"7"`:                        "status 503",
		`"id":"8"`:                        `[{"id":"8","successful":true,"advice":{"reconnect":"retry"}}]`,
		`"id":"8","advice":{"timeout":0}`: "status 503",
	} {
		in(t, Options{}, func(t *testing.T, w *world) {
			connect := `{"channel":"/meta/connect","clientId":"${a}","connectionType":"long-polling",`
			w.Run("open a long-polling\n" + hello("a") + listen("a", "/x") + `
				deliver /x 1
				a> ` + connect + `"id":"7"}
				a< [{"data":1},{"id":"7"}]
				open b long-polling
				b> ` + connect + again + `,"ext":{"do":"move"}}
				b< ` + want)
		})
	}
}

// A socket is closed without an answer, likewise, unless it serves others or the client
// says by the ack extension what it has had.
func TestUnableOnASocket(t *testing.T) {
	connect := `{"channel":"/meta/connect","clientId":"` + strings.Repeat("a", 32) + `","connectionType":"websocket","id":"1"`
	synctest.Test(t, func(t *testing.T) {
		v := NewServer(absentStore{}, Options{})
		t.Cleanup(func() { require.NoError(t, v.Shutdown(context.Background())) })
		bayeuxtest.New(t, v).Run(`
			open a websocket
			a> ` + connect + `}
			a< closed 1013
			open b websocket
			b> ` + connect + `,"ext":{"ack":1}}
			b< [{"id":"1","error":"503::Service unavailable"}]
		`)
	})
	in(t, Options{}, func(t *testing.T, w *world) {
		w.Run("open a websocket\nopen b websocket\n" + hello("a") + hello("b") + `
			a> {"channel":"/meta/connect","clientId":"${a}","connectionType":"websocket","id":"2","ext":{"do":"fail"}}
			a< closed 1013
			b> {"channel":"/meta/connect","clientId":"${b}","connectionType":"websocket","id":"2","ext":{"do":"doubt"}}
			b< closed 1013
		`)
	})
}
