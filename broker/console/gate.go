package console

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Bounds on guessing (security.md §4.3 row 43). A token of 128 bits needs none;
// these are for the one an operator made up.
const (
	// tries an address has at once; fewer would punish a person's slips.
	tries = 10
	// tryEvery is how long it takes to get one back: one address guesses 8,640
	// times a day.
	tryEvery = 10 * time.Second
	// maxGuessers bounds the addresses remembered. When all are in use, the
	// addresses after share one bucket: a crowd is slowed together.
	maxGuessers = 1024
	// maxToken bounds what is hashed, in bytes.
	maxToken = 1024
)

// verdict is what the gate says of a request.
type verdict int

const (
	granted   verdict = iota
	missing           // no token at all
	wrong             // a guess
	throttled         // no tries left
)

// gate tells who has the token, and slows who guesses.
type gate struct {
	want   [sha256.Size]byte
	closed bool // there is no token: nobody comes in

	// mu guards the tries left: of addresses that failed, and of all that found no
	// room among them.
	mu       sync.Mutex
	failures map[netip.Prefix]*rate.Limiter
	crowd    *rate.Limiter
	swept    time.Time
}

func newGate(token string) *gate {
	return &gate{
		want: sha256.Sum256([]byte(token)), closed: token == "",
		failures: map[netip.Prefix]*rate.Limiter{}, crowd: newTries(),
	}
}

func newTries() *rate.Limiter { return rate.NewLimiter(rate.Every(tryEvery), tries) }

// admit judges a request at a time; wait is for throttled, the time until the next
// try.
func (g *gate) admit(r *http.Request, now time.Time) (v verdict, wait time.Duration) {
	token, given := bearer(r.Header)
	if !given {
		return missing, 0
	}
	right := g.matches(token)
	from := addressOf(r.RemoteAddr)
	g.mu.Lock()
	defer g.mu.Unlock()
	left := g.bucket(from, now, !right)
	if left == nil {
		return granted, 0
	}
	if n := left.TokensAt(now); n < 1 {
		return throttled, max(time.Nanosecond, time.Duration((1-n)*float64(tryEvery)))
	}
	if right {
		return granted, 0
	}
	left.AllowN(now, 1)
	return wrong, 0
}

// matches compares by hash, so that neither content nor length shows in the time.
func (g *gate) matches(token string) bool {
	if len(token) > maxToken {
		return false
	}
	got := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(got[:], g.want[:]) == 1 && !g.closed
}

// bucket returns the tries of an address; with grow it makes them, without it may
// return nil: the address never failed. Caller holds mu.
func (g *gate) bucket(from netip.Prefix, now time.Time, grow bool) *rate.Limiter {
	if l := g.failures[from]; l != nil {
		return l
	}
	if len(g.failures) >= maxGuessers {
		g.sweep(now)
	}
	if len(g.failures) >= maxGuessers {
		return g.crowd
	}
	if !grow {
		return nil
	}
	l := newTries()
	g.failures[from] = l
	return l
}

// sweep forgets the addresses that have all their tries back, at most once a second:
// a crowd must not make each of its guesses costly. Caller holds mu.
func (g *gate) sweep(now time.Time) {
	if now.Sub(g.swept) < time.Second {
		return
	}
	g.swept = now
	for from, l := range g.failures {
		if l.TokensAt(now) >= tries {
			delete(g.failures, from)
		}
	}
}

// bearer returns the token of the Authorization header; false when there is none.
// Two headers, or another scheme, are a token that is never right.
func bearer(h http.Header) (string, bool) {
	all := h.Values("Authorization")
	if len(all) == 0 {
		return "", false
	}
	scheme, token, ok := strings.Cut(all[0], " ")
	if len(all) > 1 || !ok || !strings.EqualFold(scheme, "Bearer") {
		return "", true
	}
	return token, true
}

// addressOf returns the network that shares tries: an IPv4 address, a /64 of IPv6.
// What is no address (a test's, a socket file's) is the zero Prefix.
func addressOf(remote string) netip.Prefix {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	a := ap.Addr().Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return p
}
