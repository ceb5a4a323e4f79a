package broker

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestS7URLPattern(t *testing.T) {
	f := func(url string, want bool, patterns ...string) {
		t.Helper()
		p, err := ParseURLPattern(patterns)
		require.NoError(t, err)
		require.Equal(t, want, p.Match(url), "%q by %q", url, patterns)
	}
	f("mystream_720p", true, "mystream_720p")
	f("mystream_720p", true, "mystream_*")
	f("mystream_720p", false, "stream_*")
	f("mystream_720p", false, "mystream_")
	f("mystream_720p", false, "MyStream_720p")
	f("mystream_720p", true, "other|mystream_720p")
	f("mystream_720p", true, "other", "my*p")
	f("mystream_720p", false, "other|my*x", "my")
	f("mystream_", true, "mystream_*")
	f("a/b/c.mp4", true, "a/*.mp4")
	f("a/b/c.mp4", true, "*")
	f("", true, "*")
	f("", true, "a||b")
	f("", false, "a")
	f("anything", false)
	f("abab", true, "*ab*ab*")
	f("abab", true, "ab**ab")
	f("aba", false, "ab*ba")
	f("abba", true, "ab*ba")
	f("aXbXc", true, "a*b*c")
	f("aXcXb", false, "a*b*c")
	// Every other character is itself.
	f("a.b", false, "a?b")
	f("a?b", true, "a?b")
	f("axb", false, "a.b")
	f(`a\b[c]`, true, `a\b[c]`)
	f("a+", false, "a+*+")
	f("caffè", true, "caff*")

	require.True(t, URLPattern{}.Match("whatever"))
	many := strings.Repeat("a|", maxURLPatterns)
	_, err := ParseURLPattern([]string{many})
	require.ErrorContains(t, err, "more than 100 alternatives")
	_, err = ParseURLPattern([]string{strings.Repeat("a", maxObjectField+1)})
	require.ErrorContains(t, err, "1024 bytes")
}

// FuzzURLPattern compares with a regular expression that says the same.
func FuzzURLPattern(f *testing.F) {
	f.Add("my*_7*p|other", "mystream_720p")
	f.Add("*a*b", "ab")
	f.Add("a*a", "a")
	f.Fuzz(func(t *testing.T, pattern, url string) {
		p, err := ParseURLPattern([]string{pattern})
		if err != nil {
			return
		}
		text := strings.NewReplacer(`\*`, `[\s\S]*`, `\|`, `|`).Replace(regexp.QuoteMeta(pattern))
		want, err := regexp.Compile(`^(?:` + text + `)$`)
		if err != nil {
			return // what is no UTF-8 has no regular expression
		}
		require.Equal(t, want.MatchString(url), p.Match(url))
	})
}

// BenchmarkURLPattern: many stars and a url that nearly fits.
func BenchmarkURLPattern(b *testing.B) {
	p, err := ParseURLPattern([]string{strings.Repeat("*a", 500) + "*b"})
	require.NoError(b, err)
	url := strings.Repeat("a", 1000)
	b.ReportAllocs()
	for b.Loop() {
		if p.Match(url) {
			b.Fatal("matched")
		}
	}
}
