package bayeux

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
)

// script is a file served beside the endpoint.
type script struct {
	body   []byte
	packed []byte // the same by gzip
	etag   string // without quotes, as Faye's server sends it
}

// clientNames are the names under which pages of Faye ask for the client.
var clientNames = []string{"client.js", "faye.js", "faye-browser.js", "faye-browser-min.js"}

func scriptTable(o Options) map[string]script {
	table := make(map[string]script)
	add := func(name string, body []byte) {
		sum := sha256.Sum256(body)
		table[name] = script{body: body, packed: pack(body), etag: hex.EncodeToString(sum[:16])}
	}
	if o.Script != nil {
		for _, name := range clientNames {
			add(name, o.Script)
		}
	}
	for name, body := range o.Scripts {
		add(name, body)
	}
	return table
}

func pack(body []byte) []byte {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // which is a level
	_, _ = w.Write(body)                                  // to memory
	_ = w.Close()
	return b.Bytes()
}

// script returns the script a path names. is: the path is one of a script, be it
// there or not (then the zero script).
func (v *Server) script(path string) (sc script, is bool) {
	mount := strings.TrimSuffix(v.options.Mount, "/")
	if path == mount+".js" {
		return v.scripts["client.js"], true
	}
	name := path[strings.LastIndexByte(path, '/')+1:]
	if strings.HasPrefix(path, mount+"/") {
		sc, is = v.scripts[name]
		return sc, is || strings.HasSuffix(name, ".js") || strings.HasSuffix(name, ".map")
	}
	for _, n := range clientNames[1:] {
		if path == "/"+n {
			return v.scripts[n], true
		}
	}
	return script{}, false
}

func (v *Server) serveScript(w http.ResponseWriter, r *http.Request, sc script) {
	h := w.Header()
	switch {
	case sc.body == nil:
		v.stats.refuse(refusePath)
		h.Set("Content-Length", "0")
		w.WriteHeader(http.StatusNotFound)
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		v.stats.refuse(refuseMethod)
		h.Set("Allow", "GET, HEAD")
		plain(w, http.StatusMethodNotAllowed)
		return
	}
	// It holds nothing of anybody, so any page may have it.
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Cache-Control", "public, max-age=300")
	h.Set("Vary", "Accept-Encoding")
	h.Set("ETag", sc.etag)
	if known(r.Header.Get("If-None-Match"), sc.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", "text/javascript; charset=utf-8")
	body := sc.body
	if acceptsGzip(r.Header.Get("Accept-Encoding")) {
		h.Set("Content-Encoding", "gzip")
		body = sc.packed
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodGet {
		_, _ = w.Write(body)
	}
}

// acceptsGzip reports whether an Accept-Encoding names gzip and does not refuse it.
func acceptsGzip(list string) bool {
	for coding := range strings.SplitSeq(list, ",") {
		name, weight, _ := strings.Cut(coding, ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") {
			q, err := strconv.ParseFloat(strings.TrimPrefix(strings.TrimSpace(weight), "q="), 64)
			return err != nil || q > 0
		}
	}
	return false
}

// known reports whether an If-None-Match names etag.
func known(list, etag string) bool {
	for tag := range strings.SplitSeq(list, ",") {
		if tag = strings.Trim(strings.TrimPrefix(strings.TrimSpace(tag), "W/"), `"`); tag == etag || tag == "*" {
			return true
		}
	}
	return false
}
