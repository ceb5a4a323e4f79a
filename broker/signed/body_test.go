package signed

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/gobelin-broker/gobelin/broker/exact"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Vectors made by PHP 8.2 (security.md §2.1, examples.md A5): slashes and all that is
// not ASCII are escaped, in the text and in the signature.
var vectors = []struct{ name, secret, signed, signature string }{
	{
		"viewer.log", "k7Zr0cXn1pQmE3vT5yUb8dWf2gHjLs4A",
		`{"command":"viewer.log","api_key":"pk_demo_1","timestamp":1411310000,"cdn":158,"app":"appname-here","graph":1,"url":"sestore3\/username\/path\/filename.mp4","starttime":"2014-09-21 15:00:00"}`,
		`AiH8wVh42KXLkHTuUkOCGGzH4Otr03FUTIuv6lWY3to=`,
	},
	{
		"publish", "k7Zr0cXn1pQmE3vT5yUb8dWf2gHjLs4A",
		`{"command":"publish","api_key":"pk_demo_1","timestamp":1411310001,"channel":"\/video\/123\/all_json","data":{"text":"caf\u00e9 \ud83d\ude00 <\/script>","price":1.1,"big":9007199254740993,"empty":{},"list":[]}}`,
		`rAkXlgyT085kZEfB7Dl2e\/Zhj67Ov5G4y2x6\/h+7fQY=`,
	},
	{
		"A5", "9c1185a5c5e9fc54612808977ee8f548b2258d31a1d2c3b4a5968778695a4b3c",
		`{"command":"viewer.log","api_key":"APXDEMO000000000000000000000KEY1","timestamp":1411312260,"cdn":158,"app":"demo-origin","graph":1,"url":"sestore3\/username\/path\/filename.mp4","starttime":"2014-09-21 15:00:00"}`,
		`LiC7NjiHZy+Cj8AGbiWnKVS6MlPBz6EFXR\/EDrkoZWk=`,
	},
}

func TestS2Vectors(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			sent := strings.TrimSuffix(v.signed, "}") + `,"signature":"` + v.signature + `"}`
			b, err := Parse([]byte(sent))
			require.NoError(t, err)
			require.NoError(t, b.Verify([]byte(v.secret)))
			require.Equal(t, v.signed, string(b.rest[0])+string(b.rest[1]))
			require.Equal(t, `command`, b.Members[0].Name)
			for _, m := range b.Members {
				require.NotEqual(t, name, m.Name)
			}
			require.ErrorIs(t, b.Verify([]byte(v.secret+"x")), ErrSignature)
			// What we sign differs in nothing but the slashes, which need no escape.
			ours, err := Sign([]byte(v.signed), []byte(v.secret))
			require.NoError(t, err)
			require.Equal(t, strings.TrimSuffix(v.signed, "}")+`,"signature":"`+strings.ReplaceAll(v.signature, `\/`, "/")+`"}`, string(ours))
		})
	}
}

var secret = []byte("k7Zr0cXn1pQmE3vT5yUb8dWf2gHjLs4A")

// mac is the signature of a text, computed apart from the code that is tested.
func mac(text string) string {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

func TestS2Accepted(t *testing.T) {
	f := func(signed, sent string) {
		t.Helper()
		sent = strings.ReplaceAll(sent, "SIG", mac(signed))
		b, err := Parse([]byte(sent))
		require.NoError(t, err, sent)
		require.NoError(t, b.Verify(secret), sent)
	}
	f(`{"a":1,"b":"x"}`, `{"a":1,"b":"x","signature":"SIG"}`)
	f(`{"a":1,"b":"x"}`, `{"signature":"SIG","a":1,"b":"x"}`)
	f(`{"a":1,"b":"x"}`, `{"a":1,"signature":"SIG","b":"x"}`)
	// Python's spacing, wherever the member stands.
	f(`{"a": 1, "b": "x"}`, `{"a": 1, "b": "x", "signature": "SIG"}`)
	f(`{"a": 1, "b": "x"}`, `{"signature": "SIG", "a": 1, "b": "x"}`)
	f(`{"a": 1, "b": "x"}`, `{"a": 1, "signature": "SIG", "b": "x"}`)
	f("{\n  \"a\": 1,\n  \"b\": [\n    2\n  ]\n}", "{\n  \"a\": 1,\n  \"b\": [\n    2\n  ],\n  \"signature\": \"SIG\"\n}")
	f("{\n  \"a\": 1,\n  \"b\": 2\n}", "{\n  \"signature\": \"SIG\",\n  \"a\": 1,\n  \"b\": 2\n}")
	// Nested ones are data, and so is a text that looks like a member.
	f(`{"data":{"signature":"x","signature":7},"a":",\"signature\":\"y\""}`, `{"data":{"signature":"x","signature":7},"a":",\"signature\":\"y\"","signature":"SIG"}`)
	f(`{"Signature":"x","signatur\u0065s":1}`, `{"Signature":"x","signature":"SIG","signatur\u0065s":1}`)
	f(`{"a":1}`, `{"a":1,"signature":"`+strings.ReplaceAll(mac(`{"a":1}`), "/", `\/`)+`"}`)
}

func TestS2Refused(t *testing.T) {
	const rest = `{"a":1,"b":2}`
	good := mac(rest)
	raw, err := base64.StdEncoding.DecodeString(good)
	require.NoError(t, err)
	f := func(what, sent string, want error) {
		t.Helper()
		t.Run(what, func(t *testing.T) {
			b, err := Parse([]byte(sent))
			if err == nil {
				err = b.Verify(secret)
			}
			require.ErrorIs(t, err, want, sent)
		})
	}
	member := func(value string) string { return `{"a":1,"b":2,"signature":` + value + `}` }
	f("duplicate signature", `{"a":1,"signature":"`+good+`","b":2,"signature":"`+good+`"}`, ErrSignature)
	f("escaped name alone", `{"a":1,"b":2,"\u0073ignature":"`+good+`"}`, ErrSignature)
	f("escaped name beside", `{"a":1,"b":2,"signature":"`+good+`","\u0073ignature":"x"}`, ErrSignature)
	f("number", member(`7`), ErrSignature)
	f("null", member(`null`), ErrSignature)
	f("array", member(`["`+good+`"]`), ErrSignature)
	f("40 characters", member(`"`+good[:40]+`"`), ErrSignature)
	f("43 characters", member(`"`+good[:43]+`"`), ErrSignature)
	f("hex", member(`"`+hex.EncodeToString(raw)+`"`), ErrSignature)
	f("hex of 44 digits", member(`"`+hex.EncodeToString(raw)[:44]+`"`), ErrSignature)
	f("line break in the base64", member(`"`+good[:20]+`\n`+good[20:]+`"`), ErrSignature)
	f("line break for a character", member(`"`+good[:20]+`\n`+good[21:]+`"`), ErrSignature)
	slashed := 0
	for !strings.Contains(mac(fmt.Sprintf(`{"a":%d}`, slashed)), "/") {
		slashed++
	}
	f("URL alphabet", strings.ReplaceAll(fmt.Sprintf(`{"a":%d,"signature":"%s"}`, slashed, mac(fmt.Sprintf(`{"a":%d}`, slashed))), "/", "_"), ErrSignature)
	f("loose last bits", member(`"`+good[:42]+string(next(good[42]))+`="`), ErrSignature)
	f("changed value", `{"a":1,"b":3,"signature":"`+good+`"}`, ErrSignature)
	f("changed blank", `{"a":1, "b":2,"signature":"`+good+`"}`, ErrSignature)
	f("blank before the cut's comma kept", `{"a":1,"b":2 ,"signature":"`+mac(`{"a":1,"b":2}`)+`" }`, ErrSignature)
	f("trailing line break", member(`"`+good+`"`)+"\n", ErrSignature)
	f("changed signature", member(`"A`+good[1:]+`"`), map[bool]error{true: ErrSignature}[good[0] != 'A'])
	f("only member", `{"signature":"`+mac(`{}`)+`"}`, ErrSignature)
	f("missing", rest, ErrSignature)

	f("trailing bytes", member(`"`+good+`"`)+"x", exact.ErrSyntax)
	f("array of one", `[`+member(`"`+good+`"`)+`]`, exact.ErrType)
	f("no JSON", `{"a":1,`, exact.ErrSyntax)
	f("bytes that are no UTF-8", "{\"a\":\"\xff\"}", exact.ErrUTF8)
	f("too deep", `{"a":`+strings.Repeat("[", 128)+strings.Repeat("]", 128)+`}`, exact.ErrDepth)
	f("too long", `{"a":"`+strings.Repeat("x", MaxBody)+`"}`, exact.ErrSyntax)
	t.Run("duplicate other member", func(t *testing.T) {
		var twice *exact.DuplicateError
		_, err := Parse([]byte(`{"a":1,"\u0061":2,"signature":"` + good + `"}`))
		require.ErrorAs(t, err, &twice)
		require.Equal(t, "a", twice.Name)
	})
}

// next is the base64 digit behind c: the last two bits of a 44 character signature
// are no part of its bytes.
func next(c byte) byte {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	return digits[(strings.IndexByte(digits, c)+1)%64]
}

func TestSignRefuses(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		_, err := Sign([]byte(text), secret)
		require.ErrorContains(t, err, want, text)
	}
	f(`{}`, "no member")
	f(`[]`, "not an object")
	f(`{"a":1`, "not valid JSON")
	f(`{"a":1,"a":2}`, "duplicate")
	f(`{"a":1,"signature":"x"}`, "signature already")
	f(`{"signature":"x","a":1}`, "signature already")
	f(`{"signature":7}`, "no member")
	f(`{"a":1,"Signature":7}`, "could be taken for")
	f(`{"a":"`+strings.Repeat("x", MaxBody-20)+`"}`, "with the signature")
}

// TestS2Property: whatever is signed is verified wherever the member stands and however
// the object is laid out, and any changed byte is found out.
func TestS2Property(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		blank := rapid.StringOfN(rapid.RuneFrom([]rune(" \t\r\n")), 0, 3, -1)
		value := rapid.OneOf(
			rapid.Map(rapid.String(), func(s string) string { return quote(s) }),
			rapid.Map(rapid.Int64(), func(n int64) string { return fmt.Sprint(n) }),
			rapid.SampledFrom([]string{`1.0e+22`, `[1, {"signature":"x"}]`, `{}`, `"caf\u00e9 \/"`, `null`, `"}"`, `",\"signature\":"`}),
		)
		var plain, with strings.Builder
		n := rapid.IntRange(1, 6).Draw(t, "members")
		at := rapid.IntRange(0, n).Draw(t, "place of the signature")
		sig := func() string { return `"signature"` + blank.Draw(t, "b") + ":" + blank.Draw(t, "b") + `"SIG"` }
		both := func(s string) { plain.WriteString(s); with.WriteString(s) }
		both(blank.Draw(t, "b") + "{" + blank.Draw(t, "b"))
		for i := range n {
			switch {
			case i == at && i == 0:
				with.WriteString(sig() + blank.Draw(t, "b") + "," + blank.Draw(t, "b"))
			case i == at:
				with.WriteString("," + blank.Draw(t, "b") + sig())
			}
			if i > 0 {
				both(blank.Draw(t, "b") + "," + blank.Draw(t, "b"))
			}
			both(fmt.Sprintf(`"k%d"`, i) + blank.Draw(t, "b") + ":" + blank.Draw(t, "b") + value.Draw(t, "v"))
		}
		both(blank.Draw(t, "b"))
		plainText := plain.String()
		if at == n {
			// Behind the last value, where Sign puts it, too.
			plainText = strings.TrimRight(plainText, " \t\r\n")
			with.Reset()
			with.WriteString(plainText + "," + blank.Draw(t, "b") + sig())
		}
		tail := blank.Draw(t, "b") + "}"
		plainText += tail
		sent := strings.Replace(with.String()+tail, "SIG", mac(plainText), 1)

		b, err := Parse([]byte(sent))
		require.NoError(t, err, sent)
		require.NoError(t, b.Verify(secret), sent)
		require.Len(t, b.Members, n)

		ours, err := Sign([]byte(plainText), secret)
		require.NoError(t, err)
		b, err = Parse(ours)
		require.NoError(t, err)
		require.NoError(t, b.Verify(secret))
		changed := bytes.Clone(ours)
		i := rapid.IntRange(0, len(ours)-1).Draw(t, "changed byte")
		changed[i] ^= byte(rapid.IntRange(1, 255).Draw(t, "by"))
		if b, err := Parse(changed); err == nil {
			require.ErrorIs(t, b.Verify(secret), ErrSignature, "%q", changed)
		}
	})
}

func quote(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// FuzzParse: no text breaks the parser; what is cut out is one member, and what is left
// is the same object without it.
func FuzzParse(f *testing.F) {
	for _, v := range vectors {
		f.Add([]byte(strings.TrimSuffix(v.signed, "}") + `,"signature":"` + v.signature + `"}`))
	}
	for _, seed := range []string{`{"signature":"x" , "a":1}`, `{"a":1 , "signature" : 1}`, `{"signature":1}`, `{"a":{"signature":1}}`, `{}`, `{"\u0073ignature":1,"a":[]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := Parse(text)
		if err != nil {
			return
		}
		_ = b.Verify(secret)
		rest := append(bytes.Clone(b.rest[0]), b.rest[1]...)
		var want, got map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(text, &want))
		require.NoError(t, json.Unmarshal(rest, &got), "%q", rest)
		if len(want) > 1 {
			delete(want, name)
		}
		require.Equal(t, want, got, "%q", rest)
		if _, there := got[name]; there {
			return
		}
		// The rest may be signed, unless a name looks like the signature's.
		if signed, err := Sign(rest, secret); err == nil {
			b, err := Parse(signed)
			require.NoError(t, err)
			require.NoError(t, b.Verify(secret))
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	text, err := Sign([]byte(vectors[0].signed), secret)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		body, err := Parse(text)
		if err != nil || body.Verify(secret) != nil {
			b.Fatal("refused")
		}
	}
}
