package api

import (
	"container/list"
	"crypto/sha256"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"golang.org/x/time/rate"
)

// maxBuckets bounds the callers whose rates are remembered. Beyond it the one
// seen longest ago is forgotten, which gives it a full bucket again: an attacker
// needs that many addresses to profit.
const maxBuckets = 100_000

// readAtOnce is how many seconds' worth of bytes a caller may read at once.
const readAtOnce = 16

// limiter bounds the rate of each caller (security.md §3). A nil one allows
// everything. Its methods may be called by many goroutines at once.
type limiter struct {
	requests, publishes rate.Limit
	reads               rate.Limit // bytes
	burst               int

	mu    sync.Mutex
	byKey map[callerKey]*list.Element // guarded by mu
	order *list.List                  // guarded by mu; of *bucket, the one seen last in front
}

// callerKey is a credential or an address, hashed: the key of a map must not be
// as long as a peer likes, nor hold a token.
type callerKey [16]byte

// bucket holds a caller's limiters, which are safe for concurrent use.
type bucket struct {
	key                 callerKey
	requests, publishes *rate.Limiter
	reads               *rate.Limiter // bytes; below 0 there is a debt
}

func newLimiter(requests, publishes, reads float64, burst int) *limiter {
	if requests <= 0 && publishes <= 0 && reads <= 0 {
		return nil
	}
	unbounded := func(r float64) rate.Limit {
		if r <= 0 {
			return rate.Inf
		}
		return rate.Limit(r)
	}
	return &limiter{
		requests: unbounded(requests), publishes: unbounded(publishes), reads: unbounded(reads), burst: burst,
		byKey: map[callerKey]*list.Element{}, order: list.New(),
	}
}

// request charges one request, or refuses it with a *limitError: too many came, or
// the caller has read so much that it has to wait.
func (l *limiter) request(key callerKey) error {
	if l == nil {
		return nil
	}
	b := l.find(key)
	if wait := b.debt(time.Now()); wait > 0 {
		return &limitError{after: wait}
	}
	return take(b.requests, 1)
}

// debt is how long it takes until a caller's answers are paid for.
func (b *bucket) debt(now time.Time) time.Duration {
	tokens := b.reads.TokensAt(now)
	if tokens >= 0 || b.reads.Limit() == rate.Inf {
		return 0
	}
	return time.Duration(-tokens / float64(b.reads.Limit()) * float64(time.Second))
}

// bill charges a caller for the bytes of an answer (security.md §4, 35). They are known
// when they are written, so they are charged then, and who owes some waits: for its next
// request, or for the next part of a long answer. nil charges nobody.
type bill struct {
	bucket *bucket
	gone   <-chan struct{} // closed when the caller has
}

// pay charges n bytes. A debt is never more than what may be read at once.
func (b *bill) pay(n int) {
	if b == nil || b.bucket.reads.Limit() == rate.Inf {
		return
	}
	now, most := time.Now(), b.bucket.reads.Burst()
	if b.bucket.reads.TokensAt(now) >= 0 {
		b.bucket.reads.ReserveN(now, min(n, most))
	}
}

// wait returns when there is no debt; false if the caller has gone before.
func (b *bill) wait() bool {
	if b == nil {
		return true
	}
	for {
		wait := b.bucket.debt(time.Now())
		if wait == 0 {
			return true
		}
		over := time.NewTimer(wait)
		select {
		case <-over.C:
		case <-b.gone:
			over.Stop()
			return false
		}
	}
}

// publish charges n messages, or refuses them with a *limitError.
func (l *limiter) publish(key callerKey, n int) error {
	if l == nil {
		return nil
	}
	return take(l.find(key).publishes, n)
}

// take takes n from a bucket if they are there now; else it says when.
func take(b *rate.Limiter, n int) error {
	now := time.Now()
	r := b.ReserveN(now, n)
	if !r.OK() {
		return &limitError{after: time.Second}
	}
	wait := r.DelayFrom(now)
	if wait == 0 {
		return nil
	}
	r.CancelAt(now)
	return &limitError{after: wait}
}

// find returns a caller's bucket, a full one for a new caller.
func (l *limiter) find(key callerKey) *bucket {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.byKey[key]; e != nil {
		l.order.MoveToFront(e)
		return e.Value.(*bucket)
	}
	b := &bucket{key: key, requests: rate.NewLimiter(l.requests, l.burst), publishes: rate.NewLimiter(l.publishes, l.burst)}
	b.reads = rate.NewLimiter(l.reads, int(min(float64(l.reads)*readAtOnce, 1<<40)))
	l.byKey[key] = l.order.PushFront(b)
	if l.order.Len() > maxBuckets {
		delete(l.byKey, l.order.Remove(l.order.Back()).(*bucket).key)
	}
	return b
}

// credentialKey is the caller whom an Authorization header has shown to be who. There
// are many spellings of one header, and one of what it holds: a token, or the key of an
// application.
func credentialKey(who *broker.Identity, header string) callerKey {
	if who.Role == broker.RoleServer {
		return hashKey("s", who.App.Name)
	}
	return hashKey("c", header[strings.LastIndexByte(header, ' ')+1:])
}

// addressKey is the caller at an address; a network of IPv6 is one caller, for
// one customer has 2^64 addresses there.
func addressKey(addr string) callerKey {
	if ip, err := netip.ParseAddr(addr); err == nil && ip.Is6() && !ip.Is4In6() {
		if net64, err := ip.WithZone("").Prefix(64); err == nil {
			addr = net64.String()
		}
	}
	return hashKey("a", addr)
}

func hashKey(kind, text string) callerKey {
	sum := sha256.Sum256([]byte(kind + text))
	return callerKey(sum[:16])
}

// connectionAddr is the address of a request's connection, without the port.
func connectionAddr(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
