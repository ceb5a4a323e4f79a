package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/stretchr/testify/require"
)

func TestHistory(t *testing.T) {
	c := newCall(t, Options{})
	c.service.pages = []broker.HistoryPage{
		{Messages: []broker.HistoryMessage{{ID: "A", Time: 1700, Channel: "chat", Data: []byte("{ \"n\":\n12345678901234567890 }")}}, Truncated: true},
		{Messages: []broker.HistoryMessage{{ID: "B", Time: 1701, Channel: "chat", Data: []byte(`"<b>"`), Ext: []byte(`{"binary":{}}`)}}, Truncated: true},
	}
	first := `{"id":"A","time":1700,"channel":"chat","data":{ "n":` + "%s" + `12345678901234567890 }}`
	second := `{"id":"B","time":1701,"channel":"chat","data":"<b>","ext":{"binary":{}}}`
	w := c.want("GET", "/v1/objects/own/history?channel=chat", "viewer", "", 200)
	require.Equal(t, `{"result":0,"messages":[`+fmt.Sprintf(first, "\n")+`,`+second+`],"next":null,"truncated":true}`+"\n", w.Body.String())
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	require.Equal(t, broker.HistoryQuery{ObjectID: "own", Channel: "chat", Limit: 100}, c.service.asked[0])
	w = c.want("GET", "/v1/objects/own/history?channel=chat&limit=1&before=C", "viewer", "", 200)
	require.Equal(t, `{"result":0,"messages":[`+second+`],"next":"B","truncated":true}`+"\n", w.Body.String())
	require.Equal(t, broker.HistoryQuery{ObjectID: "own", Channel: "chat", Limit: 1, Before: "C"}, c.service.asked[1])

	// Lines: by Accept or by format; all of it, or as much as the limit says.
	lines := fmt.Sprintf(first, " ") + "\n" + second + "\n"
	for _, ask := range []func() *httptest.ResponseRecorder{
		func() *httptest.ResponseRecorder {
			return c.do("GET", "/v1/history?channel=/demo/x&format=ndjson", "", "")
		},
		func() *httptest.ResponseRecorder {
			return c.do("GET", "/v1/history?channel=/demo/x", "", "", "Accept: text/plain, application/x-ndjson;q=0.9")
		},
	} {
		w := ask()
		require.Equal(t, 200, w.Code)
		require.Equal(t, lines, w.Body.String())
		require.Equal(t, "application/x-ndjson; charset=utf-8", w.Header().Get("Content-Type"))
		require.Equal(t, "true", w.Header().Get("Gobelin-Truncated"))
	}
	require.Equal(t, second+"\n", c.do("GET", "/v1/history?channel=/demo/x&format=ndjson&limit=1", "", "").Body.String())
	require.JSONEq(t, `{"result":4004,"error":"this channel has no history"}`, c.do("GET", "/v1/history?channel=events&format=ndjson", "", "").Body.String())
	w = c.do("HEAD", "/v1/history?channel=/demo/x&format=ndjson", "", "")
	require.Equal(t, 200, w.Code)
	require.Empty(t, w.Body.String())
	// An empty channel is an empty list, not null.
	c.service.pages = []broker.HistoryPage{{}}
	c.want("GET", "/v1/history?channel=/x", "", "", 200, `{"result":0,"messages":[],"next":null,"truncated":false}`)
	require.Empty(t, c.do("GET", "/v1/history?channel=/x&format=ndjson", "", "").Body.String())
}

func TestHistoryRequestsRefused(t *testing.T) {
	c := newCall(t, Options{})
	for query, text := range map[string]string{
		"":                                  "channel is required",
		"channel=":                          "channel must not be empty",
		"channel=a&channel=b":               "channel is there twice",
		"channel=a&sicne=6h":                "unknown parameter",
		"channel=a&after=A&before=B":        "only one of",
		"channel=a&since=6h&before=B":       "only one of",
		"channel=a&limit=0":                 "limit must be 1 to 1000",
		"channel=a&limit=1001":              "limit must be 1 to 1000",
		"channel=a&limit=ten":               "limit must be 1 to 1000",
		"channel=a&format=xml":              "format must be",
		"channel=%zz":                       "malformed",
		"channel=a&limit=1&format=json;b=c": "malformed",
	} {
		w := c.want("GET", "/v1/objects/own/history?"+query, "viewer", "", 400)
		require.Contains(t, w.Body.String(), text, query)
	}
	require.Empty(t, c.service.asked)
	c.want("POST", "/v1/history", "", "", 405)
	c.want("GET", "/v1/objects/own/history?channel=events", "viewer", "", 404, `{"result":4004,"error":"this channel has no history"}`)
}

// What fails after the first part cuts the answer off: a reader must not take half
// for all.
func TestLinesCutOff(t *testing.T) {
	c := newCall(t, Options{})
	c.service.pages = []broker.HistoryPage{{Messages: []broker.HistoryMessage{{ID: "A", Channel: "/x", Data: []byte("1")}}}}
	c.service.fail = errors.New("the disk is gone")
	server := httptest.NewServer(c.handler)
	defer server.Close()
	r, err := http.Get(server.URL + "/v1/history?channel=/x&format=ndjson")
	require.NoError(t, err)
	defer r.Body.Close()
	require.Equal(t, 200, r.StatusCode)
	_, err = io.ReadAll(r.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Equal(t, 1, c.logs.FilterMessage("answer cut off").Len())
}

// A reader that stops reading is cut off after its time, and until then nothing more
// is read for it.
func TestLinesWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCall(t, Options{})
		c.service.pages = make([]broker.HistoryPage, 1000)
		part := []broker.HistoryMessage{{ID: "A", Channel: "/x", Data: bytes.Repeat([]byte("1"), 64<<10)}}
		for i := range c.service.pages {
			c.service.pages[i].Messages = part
		}
		ended := make(chan struct{})
		near, far := net.Pipe()
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer close(ended)
			c.handler.ServeHTTP(w, r)
		})}
		go func() { _ = server.Serve(&oneConn{conn: far, done: make(chan struct{})}) }()
		_, err := io.WriteString(near, "GET /v1/history?channel=/x&format=ndjson HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		head := make([]byte, 100)
		_, err = io.ReadFull(near, head)
		require.NoError(t, err)
		start := time.Now()
		<-ended
		took := time.Since(start)
		require.GreaterOrEqual(t, took, writeStall)
		require.Less(t, took, writeStall+10*time.Second)
		require.NoError(t, server.Close())
		require.NoError(t, near.Close())
	})
}

// oneConn is a listener with one connection.
type oneConn struct {
	conn net.Conn
	done chan struct{}
	gave bool
}

func (l *oneConn) Accept() (net.Conn, error) {
	if !l.gave {
		l.gave = true
		return l.conn, nil
	}
	<-l.done
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error {
	close(l.done)
	return nil
}

func (l *oneConn) Addr() net.Addr { return l.conn.LocalAddr() }

func FuzzHistoryQuery(f *testing.F) {
	f.Add("channel=chat&since=6h&limit=10&format=ndjson")
	f.Add("channel=%2Fdemo%2Fx&after=01M7Y2H8ZT6N4T5K01M7Y2H8ZT")
	f.Add("channel=a;b&&=")
	f.Fuzz(func(t *testing.T, query string) {
		r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "/v1/history", nil)
		require.NoError(t, err)
		r.URL.RawQuery = query
		q, _, err := historyQuery(r)
		if err != nil {
			require.Equal(t, 4000, broker.AsError(err).Result)
			return
		}
		require.NotEmpty(t, q.Channel)
		require.LessOrEqual(t, q.Limit, 1000)
		require.GreaterOrEqual(t, q.Limit, 0)
	})
}

// BenchmarkHistoryLines encodes a page of 1,000 messages.
func BenchmarkHistoryLines(b *testing.B) {
	data, err := json.Marshal(map[string]string{"text": string(bytes.Repeat([]byte("x"), 200))})
	require.NoError(b, err)
	messages := make([]broker.HistoryMessage, 1000)
	for i := range messages {
		messages[i] = broker.HistoryMessage{ID: "01M7Y2H8ZT6N4T5K01M7Y2H8ZT", Time: 1795231884282, Channel: "chat", Data: data}
	}
	b.ReportAllocs()
	for b.Loop() {
		require.NotEmpty(b, historyLines(messages))
	}
}
