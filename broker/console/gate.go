package console

import (
	"crypto/sha256"
	"crypto/subtle"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"go.uber.org/zap"
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

// Gate tells who has the operator's token, and slows who guesses. It is safe for
// concurrent use.
type Gate struct {
	log  *zap.Logger
	want atomic.Pointer[[sha256.Size]byte] // nil: there is no token, nobody comes in

	wrongTokens, throttled atomic.Int64

	// mu guards the tries left: of addresses that failed, and of all that found no
	// room among them.
	mu       sync.Mutex
	failures map[netip.Prefix]*rate.Limiter
	crowd    *rate.Limiter
	swept    time.Time
}

// NewGate returns a gate for those who have a token. 128 random bits or more are
// expected of it: guessing is slowed, not stopped. Empty: nobody comes in. log is told
// of wrong tokens, never of their text.
func NewGate(token broker.Secret, log *zap.Logger) *Gate {
	g := &Gate{log: log, failures: map[netip.Prefix]*rate.Limiter{}, crowd: newTries()}
	g.Renew(token)
	return g
}

// Renew makes another token the right one, from the next request on.
func (g *Gate) Renew(token broker.Secret) {
	if token == "" {
		g.want.Store(nil)
		return
	}
	g.want.Store(new(sha256.Sum256([]byte(token.Reveal()))))
}

// Admit reports whether a request has the token; if not it has been answered (401, 429).
func (g *Gate) Admit(w http.ResponseWriter, r *http.Request) bool {
	switch v, wait := g.judge(r, time.Now()); v {
	case granted:
		return true
	case throttled:
		g.throttled.Add(1)
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(wait.Seconds())))))
		refuse(w, http.StatusTooManyRequests, "too many wrong tokens")
		return false
	case wrong:
		g.wrongTokens.Add(1)
		// Bounded by the tries: one line each.
		g.log.Warn("console: wrong token", zap.String("address", r.RemoteAddr))
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="gobelin console"`)
	refuse(w, http.StatusUnauthorized, "the console's token is needed")
	return false
}

func newTries() *rate.Limiter { return rate.NewLimiter(rate.Every(tryEvery), tries) }

// judge says what a request at a time is; wait is for throttled, the time until the next
// try.
func (g *Gate) judge(r *http.Request, now time.Time) (v verdict, wait time.Duration) {
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
func (g *Gate) matches(token string) bool {
	if len(token) > maxToken {
		return false
	}
	got, want := sha256.Sum256([]byte(token)), g.want.Load()
	return want != nil && subtle.ConstantTimeCompare(got[:], want[:]) == 1
}

// bucket returns the tries of an address; with grow it makes them, without it may
// return nil: the address never failed. Caller holds mu.
func (g *Gate) bucket(from netip.Prefix, now time.Time, grow bool) *rate.Limiter {
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
func (g *Gate) sweep(now time.Time) {
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
