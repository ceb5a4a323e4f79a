package catchup

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// merged is Merge of texts that need not be canonical.
func merged(t testing.TB, document, patch string) string {
	t.Helper()
	d, err := Canonical([]byte(document))
	require.NoError(t, err, document)
	p, err := Canonical([]byte(patch))
	require.NoError(t, err, patch)
	return string(Merge(d, p))
}

// E15: the cases of RFC 7396, appendix A, that are about objects, and what JSON
// libraries tend to spoil.
func TestMergeE15(t *testing.T) {
	f := func(document, patch, want string) {
		t.Helper()
		require.Equal(t, want, merged(t, document, patch))
	}
	f(`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`)
	f(`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`)
	f(`{"a":"b"}`, `{"a":null}`, `{}`)
	f(`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`)
	f(`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`)
	f(`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`)
	f(`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`)
	f(`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`)
	f(`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`)
	f(`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`)

	f(`{"list":[]}`, `{"x":{}}`, `{"list":[],"x":{}}`)
	f(`{"big":12345678901234567890,"one":1.0,"e":1E+2}`, `{"neg":-0,"tiny":1e-400}`,
		`{"big":12345678901234567890,"one":1.0,"e":1E+2,"neg":-0,"tiny":1e-400}`)
	f(`{"z":1,"a":2,"m":3}`, `{"a":5,"z":null,"b":1}`, `{"a":5,"m":3,"b":1}`)
	f(`{"a":[null,{"b":null}]}`, `{"c":[null]}`, `{"a":[null,{"b":null}],"c":[null]}`)
	f(`{"\u0061":1}`, `{"a":2}`, `{"\u0061":2}`) // one name, whatever its spelling
	f(`{"a":"<&>\/\u2028"}`, `{"b":"é😀"}`, `{"a":"<&>\/\u2028","b":"é😀"}`)
	f(` { "a" : [ 1 , 2 ] } `, "{\"b\":\t\"x y\"}", `{"a":[1,2],"b":"x y"}`)
	f(`{"a":1}`, `{"a":2,"a":3,"b":{"c":1,"c":2}}`, `{"a":3,"b":{"c":2}}`) // the last one counts
	f(`{"a":[{"x":1,"x":2}]}`, `{}`, `{"a":[{"x":2}]}`)
	f(`{"":0}`, `{"":{"":null}}`, `{"":{}}`)
	// Threat 27: names of prototypes are not merged, at any depth and in any spelling; what
	// has one can be rid of it.
	f(`{"a":{}}`, `{"__proto__":{"x":1},"a":{"constructor":{"prototype":{"x":1}},"b":1},"c":{"\u005f_proto__":1,"toString":2}}`, `{"a":{"b":1},"c":{"toString":2}}`)
	f(`{"__proto__":{"x":1},"prototype":2}`, `{"__proto__":{"y":1},"prototype":null}`, `{"__proto__":{"x":1}}`)
	deep := strings.Repeat(`{"a":`, 31) + `{"x":1}` + strings.Repeat(`}`, 31)
	f(deep, strings.Replace(deep, `"x":1`, `"x":null`, 1), strings.Repeat(`{"a":`, 31)+`{}`+strings.Repeat(`}`, 31))
}

// E23: bad input has its own error, and nothing else gets through.
func TestCanonicalE23(t *testing.T) {
	f := func(text string, want error) {
		t.Helper()
		_, err := Canonical([]byte(text))
		require.ErrorIs(t, err, want, text)
	}
	for _, text := range []string{``, ` `, `{`, `{"a":1`, `{"a":01}`, `{"a":1}x`, `{a:1}`, "{\"a\":\"\xff\"}", `{"\ud800":1}`, `{"a":NaN}`} {
		f(text, ErrJSON)
	}
	for _, text := range []string{`[1]`, `"x"`, `7`, `null`, `true`} {
		f(text, ErrObject)
	}
	f(strings.Repeat(`{"a":`, 32)+`{}`+strings.Repeat(`}`, 32), ErrDepth)
	f(`{"a":`+strings.Repeat(`[`, 1<<20), ErrDepth)
	_, err := Canonical([]byte(`{"a":"` + strings.Repeat(`[`, 100) + `\"` + strings.Repeat(`{`, 100) + `"}`))
	require.NoError(t, err, "brackets in a text are none")
}

// reference is RFC 7396, section 2, on Go values.
func reference(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	r, ok := target.(map[string]any)
	if !ok {
		r = map[string]any{}
	}
	for name, value := range p {
		if value == nil {
			delete(r, name)
		} else if !isPrototype(name) {
			r[name] = reference(r[name], value)
		}
	}
	return r
}

func parse(t testing.TB, text []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	require.NoError(t, d.Decode(&v), string(text))
	return v
}

func FuzzMerge(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"a":{"b":1,"c":[]},"d":12345678901234567890}`, `{"a":{"b":null,"x":{"y":null}},"d":1.0}`},
		{`{"a":1,"a":2}`, `{"\u0061":null}`},
		{`{"prototype":1}`, `{"__proto__":{"a":1},"prototype":null}`},
		{`{}`, `{"":{"":{}}}`},
		{`{"a":[{"b":null,"b":1}]}`, `{"a":{"c":1}}`},
		{`{"\"\\":",:{}[]"}`, `{"\"\\":null,"x":"\ud83d\ude00"}`},
	} {
		f.Add([]byte(seed[0]), []byte(seed[1]))
	}
	f.Fuzz(func(t *testing.T, document, patch []byte) {
		d, err := Canonical(document)
		if err != nil {
			return
		}
		p, err := Canonical(patch)
		if err != nil {
			return
		}
		require.Equal(t, parse(t, document), parse(t, d), "the same to a reader")
		again, err := Canonical(d)
		require.NoError(t, err)
		require.Equal(t, string(d), string(again))
		got := Merge(d, p)
		require.Equal(t, reference(parse(t, d), parse(t, p)), parse(t, got))
		again, err = Canonical(got)
		require.NoError(t, err)
		require.Equal(t, string(got), string(again))
	})
}

func BenchmarkMerge(b *testing.B) {
	var text strings.Builder
	text.WriteString(`{"poll":{"question":"Which?","options":[{"opt":"A","response":0}]}`)
	for i := range 100 {
		fmt.Fprintf(&text, `,"member%d":{"name":"somebody","score":%d,"tags":[]}`, i, i)
	}
	text.WriteByte('}')
	document, err := Canonical([]byte(text.String()))
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		patch, err := Canonical([]byte(`{"member50":{"score":51},"poll":{"question":"What?"}}`))
		if err != nil {
			b.Fatal(err)
		}
		Merge(document, patch)
	}
}
