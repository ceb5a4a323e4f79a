package api

import (
	"net/http"
	"slices"
)

// allowOrigin lets pages of other origins read the answer. Credentials of the
// browser are never allowed: cookies do not count here, and a page that holds a
// token sends it itself (decided.md 12).
func (a *api) allowOrigin(h http.Header, r *http.Request) {
	if len(a.Origins) == 0 {
		h["Access-Control-Allow-Origin"] = anyOrigin
	} else {
		h.Add("Vary", "Origin")
		origin := r.Header.Get("Origin")
		if origin == "" || origin == "null" || !slices.Contains(a.Origins, origin) {
			return
		}
		h.Set("Access-Control-Allow-Origin", origin)
	}
	h["Access-Control-Expose-Headers"] = exposed
}

// Shared by all answers, as in begin.
var (
	anyOrigin = []string{"*"}
	exposed   = []string{"ETag, Retry-After, " + truncatedHeader}
)

// preflight answers OPTIONS: which methods and headers a page may use.
func preflight(w *writer, allow string) {
	h := w.Header()
	h.Set("Allow", allow)
	if h.Get("Access-Control-Allow-Origin") != "" {
		h.Set("Access-Control-Allow-Methods", allow)
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, If-Match, Last-Event-ID, Idempotency-Key, X-Requested-With")
		h.Set("Access-Control-Max-Age", "86400")
	}
	w.status = http.StatusNoContent
	w.WriteHeader(w.status)
}
