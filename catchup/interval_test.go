package catchup

import (
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/channels"
	"github.com/stretchr/testify/require"
)

func TestParseInterval(t *testing.T) {
	is := func(in string, want Interval) {
		t.Helper()
		got, err := ParseInterval(in)
		require.NoError(t, err, in)
		require.Equal(t, want, got, in)
	}
	ok := func(in string, want time.Duration) { t.Helper(); is(in, Interval{Age: want}) }
	bad := func(in string) {
		t.Helper()
		_, err := ParseInterval(in)
		require.ErrorIs(t, err, ErrInterval, "%q", in)
	}
	ok("1s", time.Second)
	ok("30m", 30*time.Minute)
	ok("12h", 12*time.Hour)
	ok("9999999s", 9999999*time.Second)
	ok("9999999h", maxInterval) // beyond a Duration: capped, never negative
	ok("1752000h", maxInterval)
	is("1n", Interval{Count: 1})
	is("50n", Interval{Count: 50})
	is("9999999n", Interval{Count: 9999999})
	for _, in := range []string{
		"", "h", "0h", "00h", "01h", "1", "1d", "1H", "-1h", "+1h", "1.5h", "1h1m", "10000000h", " 1h", "1h ", "1 h",
		"n", "0n", "01n", "-1n", "1N", "10000000n", "1nh", "٣h", "1e3h", "0x1h", "99999999999999999999h", "h1", "1hh", "1\x00h",
	} {
		bad(in)
	}
}

func TestSplit(t *testing.T) {
	f := func(in, base string, age time.Duration, isCatchup bool, want error) {
		t.Helper()
		n, err := channels.Parse(in)
		require.NoError(t, err, in)
		b, d, ok, err := Split(n)
		require.ErrorIs(t, err, want, in)
		require.Equal(t, isCatchup, ok, in)
		if ok {
			require.Equal(t, base, b.String(), in)
			require.Equal(t, Interval{Age: age}, d, in)
		}
	}
	f("/a/catchup/12h", "/a", 12*time.Hour, true, nil)
	f("/a/b/catchup/45s", "/a/b", 45*time.Second, true, nil)
	f("/a", "", 0, false, nil)
	f("/catchups/12h", "", 0, false, nil)
	f("/a/catchup/12x", "", 0, false, ErrInterval)
	f("/a/catchup/0h", "", 0, false, ErrInterval)
	f("/catchup/12h", "", 0, false, ErrPlace)
	f("/a/catchup", "", 0, false, ErrPlace)
	f("/catchup", "", 0, false, ErrPlace)
	f("/a/catchup/1h/b", "", 0, false, ErrPlace)
	f("/a/catchup/1h/catchup/1h", "", 0, false, ErrPlace)
	f("/a/catchup/catchup", "", 0, false, ErrInterval)
	n, err := channels.Parse("/a/b/catchup/50n")
	require.NoError(t, err)
	base, d, ok, err := Split(n)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "/a/b", base.String())
	require.Equal(t, Interval{Count: 50}, d)
}

// FuzzParseInterval compares with a regular expression and arithmetic in floats.
func FuzzParseInterval(f *testing.F) {
	for _, s := range []string{"1h", "12h", "9999999s", "0h", "1d", "h", "", "1234567m", "12345678m", "50n", "0n"} {
		f.Add(s)
	}
	grammar := regexp.MustCompile(`\A[1-9][0-9]{0,6}[hmsn]\z`)
	unit := map[byte]float64{'h': 3600, 'm': 60, 's': 1}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseInterval(s)
		if grammar.MatchString(s) != (err == nil) {
			t.Fatalf("%q: %v", s, err)
		}
		if err != nil {
			return
		}
		n, _ := strconv.ParseFloat(s[:len(s)-1], 64)
		if s[len(s)-1] == 'n' {
			if d != (Interval{Count: int(n)}) {
				t.Fatalf("%q: %v", s, d)
			}
			return
		}
		want := min(n*unit[s[len(s)-1]], maxInterval.Seconds())
		if d.Age <= 0 || d.Count != 0 || d.Age.Seconds() != want {
			t.Fatalf("%q: %v, want %v s", s, d, want)
		}
	})
}
