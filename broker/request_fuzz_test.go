package broker

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gobelin-broker/gobelin/broker/exact"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
)

// FuzzAuthorization: no header makes anybody of its sender but one that holds a key or a
// token of this broker, and that means the same in each of its spellings.
func FuzzAuthorization(f *testing.F) {
	now := time.Unix(1_700_000_000, 0)
	app := Application{ID: 7, Name: "demo", AppKey: "key", TokenSecret: "0123456789abcdef0123456789abcdef"}
	token, err := SignToken(app, map[string]any{"role": "viewer", "channel_id": "o"}, time.Hour, now)
	require.NoError(f, err)
	v := newTokens([]Account{{Apps: []Application{app}}}, TokenRules{}, false, func() time.Time { return now })
	for _, s := range []string{
		"Bearer " + token, "bearer   " + token, "demo " + token, "other " + token, "Bearer " + token + "=", "Bearer " + strings.ToUpper(token),
		"Basic ZGVtbzprZXk=", "basic ZGVtbzprZXk", "Basic ZGVtbzprZXl=", "Basic ZGVt\nbzprZXk=", "Basic Og==", "Basic", "", " ", "Bearer  ", "demo \x00",
		"Bearer eyJhbGciOiJub25lIn0.eyJyb2xlIjoiYWRtaW4ifQ.", "Bearer ..", "Bearer " + strings.Repeat("a", maxAuthorization),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		who, err := v.authorization(header)
		if err != nil {
			require.Nil(t, who)
			require.Equal(t, 4001, AsError(err).Result)
			return
		}
		if who.Role == RoleServer {
			_, text, _ := strings.Cut(header, " ")
			raw, err := base64.StdEncoding.DecodeString(strings.Trim(text, " "))
			require.NoError(t, err)
			require.Equal(t, "demo:key", string(raw))
			return
		}
		require.Equal(t, RoleViewer, who.Role)
		require.True(t, strings.HasSuffix(strings.TrimRight(header, " "), " "+token), "%q", header)
	})
}

// A number has one spelling, as a number and as a text.
func TestWholeNumber(t *testing.T) {
	for text, want := range map[string]int64{`0`: 0, `7`: 7, `"7"`: 7, `-7`: -7, `"-7"`: -7, `"\u0037"`: 7, `"9223372036854775807"`: 1<<63 - 1} {
		got, err := WholeNumber([]byte(text))
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, bad := range []string{``, `""`, `"07"`, `-0`, `"-0"`, `"+7"`, `7.0`, `"7e0"`, `" 7"`, `"1_0"`, `"0x7"`, `"9223372036854775808"`, `null`, `[7]`} {
		_, err := WholeNumber([]byte(bad))
		require.ErrorIs(t, err, exact.ErrType, bad)
	}
}

// FuzzStreamDate: a date that is taken is one of package time, and short.
func FuzzStreamDate(f *testing.F) {
	for _, s := range []string{"2026-11-21", "2026-11-21T12:00:00Z", "2026-11-21T12:00:00.123+01:00", "0000-01-01", "2026-02-30", "2026-11-21T12:00:00." + strings.Repeat("9", 100) + "Z", "2026-11-21T12:00:00,5Z", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		at, err := ParseStreamDate(s)
		if err != nil {
			return
		}
		require.LessOrEqual(t, len(s), maxStreamDate)
		require.GreaterOrEqual(t, at.Year(), 0)
		require.Less(t, at.Year(), 10_000)
		start, err := StreamSpec{Name: "n", StartDate: s}.check()
		require.NoError(t, err)
		require.Equal(t, at.UnixMilli(), start)
	})
}

// FuzzPostedRecord: a record that is taken is shown on one line, as JSON that has all
// that was sent, once, and what every record has.
func FuzzPostedRecord(f *testing.F) {
	for _, s := range []string{
		`{"type":"x"}`, `{"type":"x","id":"a\"b\\","log_id":{"n":1.10},"created_at":"2026-11-21T12:00:00Z"}`, "{\"type\":\"x\",\r\n\"v\":[\n]}",
		`{"type":"x","checksum":7,"version":null,"created_at":"9999-12-31T23:59:59.999Z"}`, `{"connection":{"type":"create","a":1}}`,
		`{"connection":{},"type":"x"}`, `{"type":"\ud800"}`, `{"type":"x","\u0069d":"y"}`, `{"type":"x","created_at":"0000-01-01T00:00:00Z","log_id":"\n","source":1,"user":{}}`,
		`{"type":"x","":{},"Id":1,"ID":2}`,
	} {
		f.Add([]byte(s))
	}
	x := newStreams(f, nil)
	f.Fuzz(func(t *testing.T, text []byte) {
		data, id, err := x.b.checkRecord(bytes.Clone(text))
		if err != nil {
			require.Contains(t, []int{4000, 4013}, AsError(err).Result)
			return
		}
		r, err := catchup.DecodeRecord(store.Entry{Data: catchup.Uncopied(data), Position: store.NewPosition(1_700_000_000_000, 1, 1)})
		require.NoError(t, err)
		var w catchup.RecordWriter
		line := w.AppendJSON(nil, &r)
		require.True(t, utf8.Valid(line), "%q", line)
		require.False(t, bytes.ContainsAny(line, "\r\n"), "%q", line)
		var sent, shown map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(text, &sent))
		require.NoError(t, json.Unmarshal(line, &shown), "%q", line)
		for name, value := range sent {
			require.Equal(t, compact(t, value), compact(t, shown[name]), name)
		}
		if r.Connection {
			require.Len(t, shown, len(sent))
			return
		}
		var shownID string
		require.NoError(t, json.Unmarshal(shown["id"], &shownID))
		require.Equal(t, id, shownID)
		for _, name := range []string{"type", "checksum", "created_at", "version"} {
			require.Contains(t, shown, name)
		}
		require.Equal(t, len(shown), names(t, line), "%q", line)
	})
}

// names counts the members of an object, doubles too.
func names(t *testing.T, object []byte) (n int) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(object))
	_, err := d.Token()
	require.NoError(t, err)
	for d.More() {
		_, err := d.Token()
		require.NoError(t, err)
		var skipped json.RawMessage
		require.NoError(t, d.Decode(&skipped))
		n++
	}
	return n
}

// compact is JSON without the blanks between its tokens.
func compact(t *testing.T, text []byte) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, json.Compact(&b, text))
	return b.String()
}
