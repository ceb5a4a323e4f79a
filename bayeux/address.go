package bayeux

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// mostAddresses bounds the table; beyond it new addresses share one entry, so
// that a flood from everywhere is limited as a whole.
const mostAddresses = 100_000

// addressRest is how long an address without sessions is remembered: by then its
// buckets are full again.
const addressRest = time.Minute

// addresses holds what is counted by client address.
type addresses struct {
	limits atomic.Pointer[Limits]

	mu     sync.Mutex
	table  map[string]*address
	sweep  int // at this size the table is swept
	others *address
}

// address is one client address. A nil one allows everything.
type address struct {
	rates atomic.Pointer[rates]

	mu       sync.Mutex
	sessions int
	seen     time.Time
}

// rates are the buckets of an address; nil: off.
type rates struct{ handshakes, requests, publishes *rate.Limiter }

func newAddresses(l *Limits) *addresses {
	t := &addresses{table: make(map[string]*address), sweep: 1024, others: &address{}}
	t.renew(l)
	return t
}

// renew puts new limits in force, with full buckets. Sessions are counted on.
func (t *addresses) renew(l *Limits) {
	t.limits.Store(l)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.others.rates.Store(l.rates())
	for _, a := range t.table {
		a.rates.Store(l.rates())
	}
}

// byAddress reports whether anything is limited by address.
func (l *Limits) byAddress() bool {
	return l.SessionsPerAddr != 0 || l.HandshakesPerAddr != 0 || l.RequestsPerSession != 0 || l.PublishPerSession != 0
}

// rates returns full buckets.
func (l *Limits) rates() *rates {
	return &rates{
		handshakes: limiter(l.HandshakesPerAddr, l.HandshakeBurst),
		requests:   limiter(l.RequestsPerSession, l.RequestBurst),
		publishes:  limiter(l.PublishPerSession, l.PublishBurst),
	}
}

// mayHandshake takes one handshake of the address's rate.
func (a *address) mayHandshake() bool {
	l := a.rates.Load().handshakes
	return l == nil || l.Allow()
}

func limiter(each float64, burst int) *rate.Limiter {
	if each <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(each), max(burst, 1))
}

// get returns the entry of an address, nil if there are no limits by address.
func (t *addresses) get(addr string) *address {
	if !t.limits.Load().byAddress() {
		return nil
	}
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.table[addr]
	if a == nil {
		if len(t.table) >= t.sweep {
			t.clean(now)
		}
		if len(t.table) >= mostAddresses {
			return t.others
		}
		a = &address{}
		a.rates.Store(t.limits.Load().rates())
		t.table[addr] = a
	}
	a.mu.Lock()
	a.seen = now
	a.mu.Unlock()
	return a
}

// clean forgets addresses that are at rest. The caller holds mu.
func (t *addresses) clean(now time.Time) {
	for k, a := range t.table {
		a.mu.Lock()
		idle := a.sessions == 0 && now.Sub(a.seen) > addressRest
		a.mu.Unlock()
		if idle {
			delete(t.table, k)
		}
	}
	t.sweep = min(max(1024, 2*len(t.table)), mostAddresses)
}

// enter counts a session in, unless there are most already; 0: no bound.
func (a *address) enter(most int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if most > 0 && a.sessions >= most {
		return false
	}
	a.sessions++
	return true
}

// leave counts a session out.
func (a *address) leave() {
	if a == nil {
		return
	}
	a.mu.Lock()
	a.sessions--
	a.mu.Unlock()
}

// peer says where a request came from. Of X-Forwarded-For only what trusted
// proxies have added is believed (security.md §4, 21).
func (v *Server) peer(r *http.Request, transport string) Peer {
	return Peer{Addr: v.clientAddr(r), Transport: transport, Origin: clip(r.Header.Get("Origin"))}
}

// clip keeps a header from being stored at any length.
func clip(s string) string {
	if len(s) > 255 {
		return strings.Clone(s[:255])
	}
	return s
}

func (v *Server) clientAddr(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return clip(host)
	}
	addr = addr.Unmap().WithZone("")
	if v.trusted(addr) {
		hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		for i := len(hops) - 1; i >= 0; i-- {
			hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
			if err != nil {
				break
			}
			if addr = hop.Unmap().WithZone(""); !v.trusted(addr) {
				break
			}
		}
	}
	return addr.String()
}

func (v *Server) trusted(a netip.Addr) bool {
	for _, p := range v.rules.Load().proxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
