package bayeux

import (
	"bytes"
	"net/http"
	"net/url"
)

// serveCallback answers script elements (JSONP; security.md §4, 10).
func (v *Server) serveCallback(w http.ResponseWriter, r *http.Request) {
	if !v.refererAllowed(r) {
		v.foreign(w)
		return
	}
	if !v.offered("callback-polling") {
		v.stats.refuse(refuseMethod)
		plain(w, http.StatusMethodNotAllowed)
		return
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || !query.Has("message") {
		v.malformed(w)
		return
	}
	callback := query.Get("jsonp")
	if callback == "" {
		callback = "jsonpcallback"
	}
	if !callbackName(callback) {
		v.stats.refuse(refuseCallback)
		plain(w, http.StatusBadRequest)
		return
	}
	message := query.Get("message")
	v.stats.receivedBytes.Add(int64(len(message)))
	v.answer(w, r, []byte(message), "callback-polling", callback)
}

// callbackName checks [A-Za-z_$][\w$]*(\.…)*, at most 128 bytes.
func callbackName(s string) bool {
	if len(s) > 128 {
		return false
	}
	start := true
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_', c == '$':
			start = false
		case '0' <= c && c <= '9' && !start:
		case c == '.' && !start:
			start = true
		default:
			return false
		}
	}
	return !start
}

// script5 wraps JSON as a call, with the two line ends escaped that JSON allows and
// scripts do not.
func script5(callback string, out []byte) []byte {
	out = bytes.ReplaceAll(out, []byte("\u2028"), []byte(`\u2028`))
	out = bytes.ReplaceAll(out, []byte("\u2029"), []byte(`\u2029`))
	b := make([]byte, 0, len(out)+len(callback)+8)
	b = append(b, "/**/"...)
	b = append(b, callback...)
	b = append(b, '(')
	b = append(b, out...)
	return append(b, ");"...)
}
