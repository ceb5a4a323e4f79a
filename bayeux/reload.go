package bayeux

import "net/netip"

// rules are what of the options may change while the server works: whoever needs
// them takes a look at one time, and the next one finds the new ones.
type rules struct {
	limits  Limits
	origins map[string]bool // nil: any
	proxies []netip.Prefix
}

func newRules(o *Options) *rules {
	r := &rules{limits: o.Limits, proxies: o.TrustedProxies}
	for _, origin := range o.Origins {
		if r.origins == nil {
			r.origins = make(map[string]bool)
		}
		r.origins[origin] = true
	}
	return r
}

// Reload takes over Limits, Origins and TrustedProxies of o, with their defaults; what
// else o says is not looked at. They hold from the next request, frame and delivery on
// (the size of a frame from the one after); a session keeps the rates it began with, and
// an address has full buckets again.
func (v *Server) Reload(o Options) {
	next := newRules(new(o.withDefaults()))
	v.rules.Store(next)
	v.addresses.renew(&next.limits)
	v.admission.renew(&next.limits)
}

// limits are those of now. They are not to be changed.
func (v *Server) limits() *Limits { return &v.rules.Load().limits }
