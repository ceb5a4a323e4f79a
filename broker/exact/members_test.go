package exact

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMembers(t *testing.T) {
	good := func(text string, want ...string) {
		t.Helper()
		members, err := Members([]byte(text), 8)
		require.NoError(t, err, text)
		var got []string
		for _, m := range members {
			got = append(got, m.Name+"="+string(m.Value))
		}
		require.Equal(t, want, got, text)
	}
	good(`{}`)
	good(" \t\r\n{ } ")
	good(`{"a":1}`, "a=1")
	good(`{"a" : 12345678901234567890 , "b":[1,{"c":"]}"}] }`, "a=12345678901234567890", `b=[1,{"c":"]}"}]`)
	good(`{"a":"x\"y\\","b":true,"c":null}`, `a="x\"y\\"`, "b=true", "c=null")
	good(`{"\u0061":1}`, "a=1")
	good(`{"a":1,"A":2}`, "a=1", "A=2")
	good(`{"a":{"x":1,"x":2}}`, `a={"x":1,"x":2}`)

	bad := func(text string, want error) {
		t.Helper()
		_, err := Members([]byte(text), 8)
		require.ErrorIs(t, err, want, text)
	}
	bad(``, ErrSyntax)
	bad(`{"a":1`, ErrSyntax)
	bad(`{"a":1}{}`, ErrSyntax)
	bad(`{"a":01}`, ErrSyntax)
	bad(`{"a":}`, ErrSyntax)
	bad("{\"a\":\"\xff\"}", ErrUTF8)
	bad("{\"\xed\xa0\x80\":1}", ErrUTF8)
	bad(`{"\ud800":1}`, ErrUTF8)
	bad(`[1]`, ErrType)
	bad(`"x"`, ErrType)
	bad(`7`, ErrType)
	bad(`{"a":`+strings.Repeat("[", 8)+strings.Repeat("]", 8)+`}`, ErrDepth)
	bad(strings.Repeat("[", 1<<20), ErrDepth)
	bad(`{`+manyMembers(maxMembers+1)+`}`, ErrSyntax)
	for _, text := range []string{`{"a":1,"a":1}`, `{"a":1,"\u0061":2}`, `{"b":{},"a":1,"b":[]}`} {
		_, err := Members([]byte(text), 8)
		var dup *DuplicateError
		require.ErrorAs(t, err, &dup, text)
	}
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"` + strings.Repeat("k", i+1) + `":0`)
	}
	return b.String()
}

func TestElements(t *testing.T) {
	all, err := Elements([]byte(`[1, "a,b" ,[2,3],{"x":"]"} ]`), 4)
	require.NoError(t, err)
	require.Len(t, all, 4)
	require.Equal(t, `{"x":"]"}`, string(all[3]))
	_, err = Elements([]byte(`[1,2]`), 1)
	require.ErrorIs(t, err, ErrType)
	_, err = Elements([]byte(`{}`), 1)
	require.ErrorIs(t, err, ErrType)
	all, err = Elements([]byte(`[ ]`), 1)
	require.NoError(t, err)
	require.Empty(t, all)
}

func TestValues(t *testing.T) {
	s, err := Text([]byte(`"a\u00e9\ud83d\ude00\/"`))
	require.NoError(t, err)
	require.Equal(t, "aé😀/", s)
	s, err = Text([]byte(`"\ufffd\n"`))
	require.NoError(t, err)
	require.Equal(t, "\ufffd\n", s)
	for _, bad := range []string{`"\ud800\n"`, `"\udc00 \ufffd"`, `1`, `null`, `["a"]`} {
		_, err = Text([]byte(bad))
		require.Error(t, err, bad)
	}
	for text, want := range map[string]int64{"0": 0, "1700000000": 1700000000, "1.7e9": 1700000000, "1.9": 1, "-0.5": -1} {
		got, err := Seconds([]byte(text))
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, bad := range []string{"1e400", "1e300", `"1"`, "null", "[]", "true", "-1e400"} {
		_, err := Seconds([]byte(bad))
		require.ErrorIs(t, err, ErrType, bad)
	}
	for _, bad := range []string{"1.0", "1e3", `"1"`, "99999999999999999999"} {
		_, err := Int([]byte(bad))
		require.ErrorIs(t, err, ErrType, bad)
	}
	n, err := Int([]byte("-7"))
	require.NoError(t, err)
	require.Equal(t, int64(-7), n)
	require.True(t, Folds("\u212aid", "kid"))
	require.True(t, Folds("\u017fub", "sub"))
	require.False(t, Folds("k\u0131d", "kid"))
}

// A text that stands for half of a pair is refused whatever stands beside it, also where
// that looks like the escape of U+FFFD and is none.
func TestHalvedPairs(t *testing.T) {
	for text, want := range map[string]string{
		`"\\ufffd"`: `\ufffd`, `"\ufffd\uFFFD"`: "\ufffd\ufffd", "\"\ufffd\\n\"": "\ufffd\n", `"\ud83d\ude00\ufffd"`: "\U0001f600\ufffd",
		`"\\\ufffd"`: "\\\ufffd", `"\uD83D\uDE00\\ud800\ufffd"`: "\U0001f600\\ud800\ufffd",
	} {
		got, err := Text([]byte(text))
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, bad := range []string{
		`"\\ufffd\ud800"`, `"\ud800\\ufffd"`, `"\udc00\\ufffd"`, `"\\uFFFD\udfff"`, `"\ud800\ud800\udc00"`, `"\ud83d\u0041\\ufffd"`,
		`"\ude00\ud83d\\ufffd\\ufffd"`, `"\ufffd\ud800"`, "\"\ufffd\\ud800\"",
	} {
		_, err := Text([]byte(bad))
		require.ErrorIs(t, err, ErrUTF8, bad)
	}
}

// FuzzText compares with encoding/json, and with what was sent: a text that is taken has
// as many characters as were written, and is the same when it is written again.
func FuzzText(f *testing.F) {
	for _, seed := range []string{`"\ud800"`, `"\\ufffd\ud800"`, `"\ud83d\ude00"`, `"a\\\"\/\b\f\n\r\t"`, "\"\ufffd\u2028\"", `"\u0000"`, `7`, `"\ud800\ud800\udc00"`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		if Check(value, 1) != nil || len(value) == 0 || value[0] != '"' || value[len(value)-1] != '"' {
			return
		}
		got, err := Text(value)
		var want string
		require.NoError(t, json.Unmarshal(value, &want))
		// Another reader keeps halves as code units: it knows which there are.
		whole := wholePairs(value[1 : len(value)-1])
		if !whole {
			require.ErrorIs(t, err, ErrUTF8, "%s", value)
			return
		}
		require.NoError(t, err, "%s", value)
		require.Equal(t, want, got)
	})
}

// escapes are those of a string that is JSON, each whole.
var escapes = regexp.MustCompile(`\\(u[0-9a-fA-F]{4}|.)`)

// wholePairs reports whether each surrogate of a string has its other half.
func wholePairs(inner []byte) bool {
	var high bool // an escape of a first half ended where this one begins
	end := 0
	for _, at := range escapes.FindAllIndex(inner, -1) {
		unit := rune(0)
		if inner[at[0]+1] == 'u' {
			n, _ := strconv.ParseUint(string(inner[at[0]+2:at[1]]), 16, 32)
			unit = rune(n)
		}
		second := unit >= 0xdc00 && unit <= 0xdfff
		if high != (second && at[0] == end) {
			return false
		}
		if second && !high {
			return false
		}
		high, end = unit >= 0xd800 && unit <= 0xdbff, at[1]
	}
	return !high
}

func FuzzMembers(f *testing.F) {
	for _, seed := range []string{
		`{"a":1,"b":[{}]}`, `{"\u0061":"\ud83d\ude00"}`, ` {"a" : "]}" } `, `{"a":1,"a":2}`, `[`, `{"":-1.5e+3,"x":null}`,
		// What encoding/json is careless about (security.md §6).
		"{\"\u212aid\":1,\"kid\":2,\"KID\":3}", `{"\u006bid":1,"kid":2}`, `{"a":9007199254740993,"b":1e999}`, "{\"a\":\"\xff\"}", `{"a":"\ud800"}`, "\ufeff{}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		members, err := Members(text, 64)
		if err != nil {
			return
		}
		// What is taken means the same to encoding/json, and each value is JSON.
		var want map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(text, &want))
		require.Len(t, members, len(want))
		for _, m := range members {
			require.Equal(t, string(want[m.Name]), string(m.Value))
			require.Equal(t, byte('"'), text[m.Start])
			require.Equal(t, string(m.Value), string(text[m.End-len(m.Value):m.End]))
			require.NoError(t, Check(m.Value, 64))
			deeper, err := Members(m.Value, 64)
			inner, innerErr := Inner(nil, m.Value)
			require.Equal(t, err, innerErr)
			require.Equal(t, deeper, inner)
		}
	})
}

func BenchmarkMembers(b *testing.B) {
	text := []byte(`{"app":"demo-origin","role":"viewer","channel_id":"23161357","opaque_user_id":"A1954218","user_id":"","exp":1700003600}`)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Members(text, 16); err != nil {
			b.Fatal(err)
		}
	}
}
