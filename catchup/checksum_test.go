package catchup

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestChecksum: the same content is the same sum however it is written, another is
// another (V9).
func TestChecksum(t *testing.T) {
	same := func(a, b string) {
		t.Helper()
		require.Equal(t, Checksum([]byte(a)), Checksum([]byte(b)))
	}
	differ := func(a, b string) {
		t.Helper()
		require.NotEqual(t, Checksum([]byte(a)), Checksum([]byte(b)))
	}
	require.Equal(t, "99914b932bd37a50b983c5e7c90ae93b", Checksum([]byte(" {} ")), "MD5 of {}")
	same(`{"a":1,"b":{"d":[1,2],"c":null}}`, " {\n\"b\" : {\"c\":null , \"d\":[ 1,2 ]},\t\"a\":1 }")
	same(`{"a":"A\/\u00e9\ud83d\ude00\n"}`, `{"a":"\u0041/é😀\u000a"}`)
	same(`{"a":1,"a":2}`, `{"a":2}`)
	same(`{"a":1,"id":"x","checksum":"y","created_at":"z"}`, `{"\u0069d":"q","a":1}`)
	differ(`{"a":{"id":"x"}}`, `{"a":{"id":"y"}}`)
	differ(`{"a":1}`, `{"a":1.0}`)
	differ(`{"a":12345678901234567890}`, `{"a":12345678901234567891}`)
	differ(`{"a":"1"}`, `{"a":1}`)
	differ(`{"a":[1,2]}`, `{"a":[2,1]}`)
	differ(`{"a":"\ud83d"}`, `{"a":"\ud83e"}`)
	differ(`{"ab":"c"}`, `{"a":"bc"}`)
	deep := strings.Repeat("[", 5000) + strings.Repeat("]", 5000)
	require.Len(t, Checksum([]byte(`{"a":`+deep+`}`)), 32)
}

// FuzzCanonical: the sorted form of JSON is JSON that says the same, and is its own;
// of anything else it is something, without a crash.
func FuzzCanonical(f *testing.F) {
	for _, seed := range []string{`{"b":[1,{"y":0,"x":"\u00e9\\\""}],"a":-1.5e3}`, `[]`, `{"`, `{"a"}`, `"\ud83d\ude00\ud83d"`, `{"a":,}`, `]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var s summer
		sorted := string(s.canonical(text))
		var before, after any
		if json.Unmarshal(text, &before) != nil {
			return
		}
		if _, object := before.(map[string]any); object {
			return // members may be left out
		}
		require.NoError(t, json.Unmarshal([]byte(sorted), &after), sorted)
		require.Equal(t, fmt.Sprint(before), fmt.Sprint(after))
		require.Equal(t, sorted, string(s.canonical([]byte(sorted))))
	})
}
