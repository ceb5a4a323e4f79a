package main

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// clientAddress returns how to tell a caller's address: the connection's, or, where
// that is a trusted proxy, the last one of X-Forwarded-For that is none. What
// stands before that one the caller may have written itself.
func clientAddress(trusted []netip.Prefix) func(*http.Request) string {
	return func(r *http.Request) string {
		at, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil {
			return r.RemoteAddr
		}
		address := at.Addr().Unmap().WithZone("")
		if len(trusted) == 0 {
			return address.String()
		}
		hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		for _, text := range slices.Backward(hops) {
			if !slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(address) }) {
				break
			}
			hop, err := netip.ParseAddr(strings.TrimSpace(text))
			if err != nil {
				break
			}
			address = hop.Unmap().WithZone("")
		}
		return address.String()
	}
}
