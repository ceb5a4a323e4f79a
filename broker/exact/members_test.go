package exact

import (
	"encoding/json"
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

func FuzzMembers(f *testing.F) {
	for _, seed := range []string{`{"a":1,"b":[{}]}`, `{"\u0061":"\ud83d\ude00"}`, ` {"a" : "]}" } `, `{"a":1,"a":2}`, `[`, `{"":-1.5e+3,"x":null}`} {
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
