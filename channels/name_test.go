package channels

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The grammar of bayeux-faye.md §5 once more, as the oracle of these tests.
var (
	nameGrammar    = regexp.MustCompile(`\A(/[a-zA-Z0-9\-_!~()$@]+)+\z`)
	patternGrammar = regexp.MustCompile(`\A(/[a-zA-Z0-9\-_!~()$@]+)*/(\*\*?|[a-zA-Z0-9\-_!~()$@]+)\z`)
)

// checker is what a test, a benchmark and a property of rapid have in common.
type checker interface {
	require.TestingT
	Helper()
}

func mustName(t checker, s string) Name {
	t.Helper()
	n, err := Parse(s)
	require.NoError(t, err, s)
	return n
}

func mustPattern(t checker, s string) Pattern {
	t.Helper()
	p, err := ParsePattern(s)
	require.NoError(t, err, s)
	return p
}

func TestParse(t *testing.T) {
	good := func(s string) {
		t.Helper()
		require.Equal(t, s, mustName(t, s).String())
		p := mustPattern(t, s)
		require.Equal(t, s, p.String())
		require.False(t, p.Wild())
		require.Equal(t, p, mustName(t, s).Pattern())
	}
	good("/a")
	good("/a/b")
	good("/meta/connect")
	good("/-_!~()$@/azAZ09")
	good("/" + strings.Repeat("x", maxName-1))
	good(strings.Repeat("/x", maxName/2))

	bad := func(s string, want error) {
		t.Helper()
		n, err := Parse(s)
		require.ErrorIs(t, err, want, s)
		require.ErrorIs(t, err, ErrInvalid)
		require.True(t, n.IsZero())
		if want == errWildcard {
			return
		}
		p, err := ParsePattern(s)
		require.ErrorIs(t, err, want, s)
		require.True(t, p.IsZero())
	}
	bad("", errNoSlash)
	bad("a", errNoSlash)
	bad("*", errNoSlash)
	bad(" /a", errNoSlash)
	bad("/", errEmpty)
	bad("//", errEmpty)
	bad("//a", errEmpty)
	bad("/a/", errEmpty)
	bad("/a//b", errEmpty)
	bad("/a//*", errEmpty)
	bad("/a\n", errLetter)
	bad("/a\x00", errLetter)
	for _, c := range `.:+%#? ,;"'<>[]{}\|^&=` + "`" {
		bad("/a"+string(c)+"b", errLetter)
	}
	bad("/vidéo", errLetter)
	bad("/\xff\xfe", errLetter)
	bad("/*/a", errPlace)
	bad("/**/a", errPlace)
	bad("/a/***", errPlace)
	bad("/a/*b", errPlace)
	bad("/a/b*", errPlace)
	bad("/a/**b", errPlace)
	bad("/a/*/", errPlace)
	bad("/"+strings.Repeat("x", maxName), errTooLong)
	bad("/*", errWildcard)
	bad("/a/**", errWildcard)
}

// TestAlphabet goes through every byte, since the scanner's sets are arithmetic.
func TestAlphabet(t *testing.T) {
	for c := range 256 {
		s := "/a" + string([]byte{byte(c)}) + "b"
		_, err := Parse(s)
		require.Equal(t, nameGrammar.MatchString(s), err == nil, "%q", s)
	}
}

func TestNameParts(t *testing.T) {
	f := func(s string, segments int, first, tail, last, parent string) {
		t.Helper()
		n := Name{}
		if s != "" {
			n = mustName(t, s)
		}
		require.Equal(t, segments, n.Segments())
		require.Equal(t, first, n.First())
		require.Equal(t, tail, n.Tail().String())
		require.Equal(t, last, n.Last())
		require.Equal(t, parent, n.Parent().String())
		require.Equal(t, s == "", n.IsZero())
		p := n.Pattern()
		require.Equal(t, segments, p.Segments())
		require.Equal(t, first, p.First())
		require.Equal(t, n.Tail().Pattern(), p.Tail())
		require.Equal(t, last, p.Last())
		require.Equal(t, n.Parent(), p.Parent())
		back, ok := p.Name()
		require.Equal(t, s != "", ok)
		require.Equal(t, n, back)
	}
	f("", 0, "", "", "", "")
	f("/a", 1, "a", "", "a", "")
	f("/a/bc", 2, "a", "/bc", "bc", "/a")
	f("/a/bc/d", 3, "a", "/bc/d", "d", "/a/bc")
}

func TestPatternParts(t *testing.T) {
	f := func(s string, segments int, first, tail, last, parent string) {
		t.Helper()
		p := mustPattern(t, s)
		require.True(t, p.Wild())
		require.Equal(t, strings.HasSuffix(s, "**"), p.Deep())
		require.Equal(t, segments, p.Segments())
		require.Equal(t, first, p.First())
		require.Equal(t, last, p.Last())
		require.Equal(t, parent, p.Parent().String())
		if tail == "" {
			require.Equal(t, Pattern{}, p.Tail())
		} else {
			require.Equal(t, mustPattern(t, tail), p.Tail())
		}
		n, ok := p.Name()
		require.False(t, ok)
		require.True(t, n.IsZero())
	}
	f("/*", 1, "*", "", "*", "")
	f("/**", 1, "**", "", "**", "")
	f("/a/*", 2, "a", "/*", "*", "/a")
	f("/a/b/**", 3, "a", "/b/**", "**", "/a/b")
}

func TestMatches(t *testing.T) {
	f := func(pattern, name string, want bool) {
		t.Helper()
		require.Equal(t, want, mustPattern(t, pattern).Matches(mustName(t, name)), "%s %s", pattern, name)
	}
	f("/a/b/c", "/a/b/c", true)
	f("/a/b/*", "/a/b/c", true)
	f("/a/b/**", "/a/b/c", true)
	f("/a/**", "/a/b/c", true)
	f("/**", "/a/b/c", true)
	f("/*", "/a", true)
	f("/a", "/a/b", false)
	f("/a/b", "/a", false)
	f("/a/**", "/a", false)
	f("/a/*", "/a", false)
	f("/a/*", "/a/b/c", false)
	f("/a/*", "/ab/c", false)
	f("/a/**", "/ab/c", false)
	f("/*", "/a/b", false)

	require.False(t, Pattern{}.Matches(Name{}))
	require.False(t, Pattern{}.Matches(mustName(t, "/a")))
	for _, s := range []string{"/a", "/*", "/**"} {
		require.False(t, mustPattern(t, s).Matches(Name{}), s)
	}
}

func TestHasPrefix(t *testing.T) {
	f := func(name, prefix string, want bool) {
		t.Helper()
		require.Equal(t, want, mustName(t, name).HasPrefix(mustName(t, prefix)), "%s %s", name, prefix)
	}
	f("/a/b/c", "/a", true)
	f("/a/b/c", "/a/b", true)
	f("/a/b", "/a/b", true)
	f("/a/bc", "/a/b", false)
	f("/a", "/a/b", false)
	f("/b/a", "/a", false)
	require.False(t, mustName(t, "/a").HasPrefix(Name{}), "the zero name opens nothing")
	require.False(t, Name{}.HasPrefix(mustName(t, "/a")))
	require.False(t, Name{}.HasPrefix(Name{}))
}

// TestTailKeepsMatching: below a common first segment, patterns and names can be
// compared without it, as topics are.
func TestTailKeepsMatching(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := mustName(t, "/r"+genName.Draw(t, "name"))
		p := mustPattern(t, "/r"+genPattern.Draw(t, "pattern"))
		if p.Matches(n) != p.Tail().Matches(n.Tail()) {
			t.Fatalf("%s and %s: %v, their tails: %v", p, n, p.Matches(n), p.Tail().Matches(n.Tail()))
		}
	})
}

func TestNamesDoNotAllocate(t *testing.T) {
	name, pattern := "/0dda8/all_json/x", "/0dda8/all_json/**"
	require.Zero(t, testing.AllocsPerRun(100, func() {
		n, err := Parse(name)
		p, errPattern := ParsePattern(pattern)
		_, errBad := Parse("/bad.name")
		if err != nil || errPattern != nil || errBad == nil || !p.Matches(n) {
			panic("cannot be")
		}
		if n.Tail().First() != n.Parent().Last() || p.Tail().IsZero() || !n.HasPrefix(p.Parent()) {
			panic("cannot be")
		}
	}))
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"", "/", "/a", "/a/b", "/a/*", "/a/**", "/**", "/*/a", "//", "/a/", "/a*", "/***",
		"/-_!~()$@", "/a.b", "/é", "/a\n", "/\x00", strings.Repeat("/x", maxName/2) + "y",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := Parse(s)
		require.Equal(t, len(s) <= maxName && nameGrammar.MatchString(s), err == nil, "name %q: %v", s, err)
		p, errPattern := ParsePattern(s)
		require.Equal(t, len(s) <= maxName && patternGrammar.MatchString(s), errPattern == nil, "pattern %q: %v", s, errPattern)
		if errPattern != nil {
			require.ErrorIs(t, errPattern, ErrInvalid)
			require.Error(t, err, "every name is a pattern")
			return
		}
		require.Equal(t, err != nil, p.Wild())
		require.Equal(t, s, p.String())
		parts := strings.Split(s, "/")[1:]
		require.Equal(t, len(parts), p.Segments())
		require.Equal(t, parts[0], p.First())
		require.Equal(t, parts[len(parts)-1], p.Last())
		require.Equal(t, s, p.Parent().String()+"/"+p.Last())
		require.Equal(t, s, "/"+p.First()+p.Tail().String())
		require.Equal(t, s[len(s)-1] == '*' && s[len(s)-2] == '*', p.Deep())
		if err == nil {
			require.True(t, p.Matches(n))
			require.True(t, n.HasPrefix(n))
		}
	})
}

func BenchmarkParse(b *testing.B) {
	const s = "/09c1de3aa9fdc82befa9fec9cf5b29e0dd9dee62/all_json/catchup/12h"
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPatternMatches(b *testing.B) {
	n := mustName(b, "/09c1de3aa9fdc82befa9fec9cf5b29e0dd9dee62/data/room")
	p := mustPattern(b, "/09c1de3aa9fdc82befa9fec9cf5b29e0dd9dee62/**")
	b.ReportAllocs()
	for b.Loop() {
		if !p.Matches(n) {
			b.Fatal("no match")
		}
	}
}
