package catchup

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
)

var inLog = store.NewPosition(1763683200123, 7, 42)

// copied is the entry that a copy of a record becomes.
func copied(origin store.Position, record []byte) store.Entry {
	return store.Entry{Position: inLog, Data: append(append([]byte{}, origin[:]...), record...)}
}

func shown(t *testing.T, e store.Entry) (Record, map[string]any) {
	t.Helper()
	r, err := DecodeRecord(e)
	require.NoError(t, err)
	var w RecordWriter
	text := w.AppendJSON(nil, &r)
	require.NotContains(t, string(text), "\n")
	var m map[string]any
	require.NoError(t, json.Unmarshal(text, &m), string(text))
	return r, m
}

// TestOwnRecord: common members, data byte for byte, id by the key (V8, V9).
func TestOwnRecord(t *testing.T) {
	h := RecordHead{Type: "message", LogID: "chat", ObjectID: `a"b`, Organization: "12", UID: "zoé", UserID: "A9"}
	origin := store.NewPosition(1763683200100, 1, 9)
	r, m := shown(t, copied(origin, h.Encode([]byte("{\"n\": 1.00,\r\n\"s\":\"<x>\"}"))))
	require.False(t, r.Connection)
	require.Equal(t, "message", string(r.Type))
	require.Equal(t, origin.Time(), r.Created)
	require.Equal(t, map[string]any{"organization_id": "12", "uid": "zoé", "user_id": "A9"}, m["user"])
	require.Equal(t, map[string]any{"type": "gobelin"}, m["source"])
	require.Equal(t, []any{"message", "chat", `a"b`, "1.0", "2025-11-21T00:00:00.100Z"}, []any{m["type"], m["log_id"], m["object_id"], m["version"], m["created_at"]})
	require.Regexp(t, "^[0-9a-f]{32}$", m["id"])
	require.Len(t, m, 10)
	var w RecordWriter
	text := w.AppendJSON(nil, &r)
	require.Contains(t, string(text), `"data":{"n": 1.00,  "s":"<x>"}`, "numbers stay what they were")
	require.Equal(t, Checksum(text), m["checksum"])

	_, again := shown(t, copied(origin, h.Encode([]byte(`{"s":"<x>","n":1.00}`))))
	require.Equal(t, m["id"], again["id"])
	require.Equal(t, m["checksum"], again["checksum"])
	_, other := shown(t, copied(store.NewPosition(1763683200100, 1, 10), h.Encode([]byte(`1`))))
	require.NotEqual(t, m["id"], other["id"], "another message")
	h.Key = "12/show/room"
	_, one := shown(t, copied(origin, h.Encode([]byte(`1`))))
	_, two := shown(t, copied(store.Position{}, h.Encode([]byte(`2`))))
	require.Equal(t, one["id"], two["id"], "two versions of one thing")
	require.NotEqual(t, one["checksum"], two["checksum"])
}

// TestPostedRecord: what a publisher sends stays, only what is absent is set (V8).
func TestPostedRecord(t *testing.T) {
	text := "{\"type\":\"summary\",\n\"x\":12345678901234567890,\"id\":\"mine\",\"checksum\":\"c\",\"created_at\":\"2022-02-29T15:15:15Z\",\"version\":3}"
	p := PostedRecord{Type: "summary", Text: []byte(text), HasChecksum: true, HasCreated: true, HasVersion: true}
	r, _ := shown(t, copied(store.Position{}, p.Encode()))
	var w RecordWriter
	require.Equal(t, strings.ReplaceAll(text, "\n", " "), string(w.AppendJSON(nil, &r)))
	require.Equal(t, inLog.Time(), r.Created, "a day that does not exist")

	p = PostedRecord{Type: "summary", Text: []byte(`{"type":"summary","x":1}`), ID: "0123", Created: time.UnixMilli(5)}
	r, m := shown(t, copied(store.Position{}, p.Encode()))
	require.Equal(t, int64(5), r.Created.UnixMilli())
	require.Equal(t, map[string]any{
		"type": "summary", "x": 1.0, "version": "1.0", "id": "0123", "created_at": "2025-11-21T00:00:00.123Z",
		"checksum": Checksum([]byte(`{"version":"1.0","x":1,"type":"summary"}`)),
	}, m)
}

// TestConnectionRecord: passed through (V10).
func TestConnectionRecord(t *testing.T) {
	r, m := shown(t, copied(store.Position{}, EncodeConnection("create", []byte("{\"connection\":\r\n{\"type\":\"create\"}}"))))
	require.True(t, r.Connection)
	require.Equal(t, "create", string(r.Type))
	require.Equal(t, map[string]any{"connection": map[string]any{"type": "create"}}, m)
}

func TestRecordFilter(t *testing.T) {
	data := &Record{Type: []byte("summary"), Created: time.UnixMilli(100)}
	joined := &Record{Type: []byte("create"), Connection: true, Created: time.UnixMilli(100)}
	f := func(want bool, r *Record, f RecordFilter) {
		t.Helper()
		require.Equal(t, want, f.Admits(r))
	}
	f(true, data, RecordFilter{})
	f(true, joined, RecordFilter{Resources: []string{"sleep"}})
	f(false, data, RecordFilter{Resources: []string{"sleep"}})
	f(true, data, RecordFilter{Resources: []string{"sleep", "summary"}})
	f(false, data, RecordFilter{Events: []string{"connection"}})
	f(true, joined, RecordFilter{Events: []string{"connection"}})
	f(false, joined, RecordFilter{Events: []string{"data"}})
	f(true, data, RecordFilter{Since: time.UnixMilli(100)})
	f(false, data, RecordFilter{Since: time.UnixMilli(101)})
}

// FuzzDecodeRecord: a record that is none is an error and no crash; one that is one can
// be written.
func FuzzDecodeRecord(f *testing.F) {
	f.Add(RecordHead{Type: "message"}.Encode([]byte("1")))
	f.Add(PostedRecord{Type: "x", Text: []byte(`{"type":"x"}`)}.Encode())
	f.Add(EncodeConnection("create", []byte("{}")))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := DecodeRecord(copied(store.Position{}, data))
		if err != nil {
			return
		}
		var w RecordWriter
		require.NotEmpty(t, w.AppendJSON(nil, &r))
		require.NotContains(t, string(w.AppendJSON(nil, &r)), "\n")
	})
}

func BenchmarkRecordWriter(b *testing.B) {
	h := RecordHead{Type: "message", LogID: "chat", ObjectID: "show-7", Organization: "12", UID: "zoe", UserID: "A9"}
	e := copied(inLog, h.Encode([]byte(`{"text":"a message of some length, as people write them","n":17,"tags":["a","b"]}`)))
	var w RecordWriter
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		r, err := DecodeRecord(e)
		if err != nil {
			b.Fatal(err)
		}
		buf = w.AppendJSON(buf[:0], &r)
	}
}
