package console

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/broker"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// request is one from an address with a token.
func request(from, token string) *http.Request {
	return &http.Request{RemoteAddr: from, Header: http.Header{"Authorization": {"Bearer " + token}}}
}

func TestGateSlowsEachAddressByItself(t *testing.T) {
	g, now := NewGate("right", zap.NewNop()), time.Unix(1000, 0)
	f := func(from, token string, want verdict) {
		t.Helper()
		v, _ := g.judge(request(from, token), now)
		require.Equal(t, want, v)
	}
	for range tries {
		f("192.0.2.1:1000", "no", wrong)
	}
	f("192.0.2.1:2000", "no", throttled)
	f("[::ffff:192.0.2.1]:2000", "no", throttled)
	f("192.0.2.1:2000", "right", throttled)
	f("192.0.2.2:1000", "right", granted)
	f("192.0.2.2:1000", "no", wrong)
	f("192.0.2.2:1000", "right", granted)

	for i := range tries {
		f(fmt.Sprintf("[2001:db8:0:1::%x]:1", i+1), "no", wrong)
	}
	f("[2001:db8:0:1:ffff::1]:1", "no", throttled)
	f("[2001:db8:0:2::1]:1", "right", granted)
}

func TestGateGivesTriesBackSlowly(t *testing.T) {
	g, now := NewGate("right", zap.NewNop()), time.Unix(1000, 0)
	guesses := 0
	for range 24 * 3600 { // a guess each second for a day
		if v, wait := g.judge(request("192.0.2.1:1", "no"), now); v == wrong {
			guesses++
		} else {
			require.Equal(t, throttled, v)
			require.Positive(t, wait)
			require.LessOrEqual(t, wait, tryEvery)
		}
		now = now.Add(time.Second)
	}
	require.Equal(t, int(24*time.Hour/tryEvery)+tries-1, guesses)
}

// However many addresses guess, a bounded number is remembered and the rest are
// slowed together.
func TestGateBoundsGuessers(t *testing.T) {
	g, now := NewGate("right", zap.NewNop()), time.Unix(1000, 0)
	guesses := 0
	for i := range 20 * maxGuessers {
		if v, _ := g.judge(request(fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255), "no"), now); v == wrong {
			guesses++
		}
	}
	require.Len(t, g.failures, maxGuessers)
	require.Equal(t, maxGuessers+tries, guesses)

	v, _ := g.judge(request("192.0.2.1:1", "right"), now)
	require.Equal(t, throttled, v, "one of the crowd")
	now = now.Add(tries * tryEvery)
	v, _ = g.judge(request("192.0.2.1:1", "right"), now)
	require.Equal(t, granted, v)
	require.Empty(t, g.failures, "those with all their tries back are forgotten")
}

// Without the token no header gets in, and none makes the gate fall over.
func FuzzGate(f *testing.F) {
	f.Add("192.0.2.1:80", "Bearer right", "")
	f.Add("@", "bearer  right", "Bearer right")
	f.Add("[fe80::1%eth0]:1", "Basic cmlnaHQ=", "x")
	f.Fuzz(func(t *testing.T, from, one, two string) {
		g := NewGate("right", zap.NewNop())
		r := &http.Request{RemoteAddr: from, Header: http.Header{"Authorization": {one, two}}}
		v, _ := g.judge(r, time.Unix(1000, 0))
		require.Equal(t, wrong, v, "two headers are never right")
		r.Header["Authorization"] = []string{one}
		v, _ = g.judge(r, time.Unix(1000, 0))
		right := len(one) == 12 && strings.EqualFold(one[:7], "Bearer ") && one[7:] == "right"
		require.Equal(t, right, v == granted)
	})
}

// After Renew the token of before is a guess, and the tries that were used stay used.
func TestRenew(t *testing.T) {
	g, now := NewGate("right", zap.NewNop()), time.Unix(1000, 0)
	judge := func(token string) verdict {
		v, _ := g.judge(request("192.0.2.1:1", token), now)
		return v
	}
	require.Equal(t, granted, judge("right"))
	g.Renew("another")
	require.Equal(t, wrong, judge("right"))
	require.Equal(t, granted, judge("another"))
	g.Renew("")
	require.Equal(t, wrong, judge("another"))
	require.Equal(t, wrong, judge(""))
}

// FuzzAsked: of a query only parameters that are known come through, each once and short;
// numbers are between their bounds; a body is one object and nothing behind it.
func FuzzAsked(f *testing.F) {
	f.Add("search=a&limit=10", `{"id":"x"}`)
	f.Add("search=a&search=b", `{"id":"x"} {}`)
	f.Add("limit=9223372036854775808&after=%00", `{"ID":"x","id":7}`)
	f.Add("a;b", `null`)
	f.Add("limit=+7", strings.Repeat("[", 20_000))
	rt := routes["sessions"]
	f.Fuzz(func(t *testing.T, query, body string) {
		r := &http.Request{URL: &url.URL{RawQuery: query}, Body: io.NopCloser(strings.NewReader(body))}
		a, err := rt.asked(r)
		if err != nil {
			require.Equal(t, 4000, broker.AsError(err).Result)
			return
		}
		for name, all := range a.Values {
			require.Contains(t, rt.params, name)
			require.Len(t, all, 1)
			require.LessOrEqual(t, len(all[0]), maxText)
		}
		n, err := a.number("limit", 50, 1, 200)
		require.True(t, err != nil || n >= 1 && n <= 200)
		var into struct{ ID string }
		if a.into(&into) == nil {
			require.True(t, json.Valid([]byte(body)))
		}
	})
}
