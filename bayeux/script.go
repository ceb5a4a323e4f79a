package bayeux

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
)

// script is a file served beside the endpoint.
type script struct {
	body []byte
	etag string // without quotes, as Faye's server sends it
}

// clientNames are the names under which pages of Faye ask for the client.
var clientNames = []string{"client.js", "faye.js", "faye-browser.js", "faye-browser-min.js"}

func scriptTable(o Options) map[string]script {
	table := make(map[string]script)
	add := func(name string, body []byte) {
		sum := sha256.Sum256(body)
		table[name] = script{body: body, etag: hex.EncodeToString(sum[:16])}
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
	h.Set("ETag", sc.etag)
	if known(r.Header.Get("If-None-Match"), sc.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", "text/javascript; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(sc.body)))
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodGet {
		_, _ = w.Write(sc.body)
	}
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
