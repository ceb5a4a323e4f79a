package bayeux

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// servePost answers JSON and form posts (bayeux-faye.md §1, §14).
func (v *Server) servePost(w http.ResponseWriter, r *http.Request) {
	if !v.originAllowed(r) {
		v.foreign(w)
		return
	}
	transport := "long-polling"
	form, ok := formPost(r)
	if !ok {
		v.stats.refuse(refuseType)
		plain(w, http.StatusUnsupportedMediaType)
		return
	}
	if form {
		transport = "cross-origin-long-polling"
	}
	body, status := v.readBody(w, r)
	if status != 0 {
		plain(w, status)
		return
	}
	v.stats.receivedBytes.Add(int64(len(body)))
	if form {
		fields, err := url.ParseQuery(string(body))
		if err != nil || !fields.Has("message") {
			v.malformed(w)
			return
		}
		body = []byte(fields.Get("message"))
	}
	v.cors(w, r)
	v.answer(w, r, body, transport, "")
}

// formPost tells how a body is to be read; ok is false for a type that is not
// taken (security.md §4, 9).
func formPost(r *http.Request) (form, ok bool) {
	if r.Header.Get("Content-Encoding") != "" {
		return false, false
	}
	text := r.Header.Get("Content-Type")
	switch text {
	case "application/json", "application/json; charset=utf-8": // as clients write it
		return false, true
	case "":
		return true, true
	}
	kind, _, err := mime.ParseMediaType(text)
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return false, false
	}
	switch kind {
	case "application/json":
		return false, true
	case "text/plain", "application/x-www-form-urlencoded":
		return true, true
	}
	return false, false
}

// readBody reads a bounded body in bounded time, which ServeHTTP has set for a short one;
// status is 0, or what to answer.
func (v *Server) readBody(w http.ResponseWriter, r *http.Request) (body []byte, status int) {
	var err error
	limit := int64(v.limits().Body)
	if r.ContentLength > limit {
		v.stats.refuse(refuseLarge)
		w.Header().Set("Connection", "close")
		return nil, http.StatusRequestEntityTooLarge
	}
	control := http.NewResponseController(w)
	if r.ContentLength > slowest {
		// Not supported means a test or another server, which has its own bounds.
		_ = control.SetReadDeadline(time.Now().Add(bodyRead + time.Duration(r.ContentLength)*time.Second/slowest))
	}
	reading := slow{conn: control}
	v.patience.begin(reading)
	if 0 <= r.ContentLength && r.ContentLength <= frameSlack {
		body = make([]byte, r.ContentLength)
		_, err = io.ReadFull(r.Body, body)
	} else {
		// What is announced costs nothing until it comes.
		body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	}
	if cut := v.patience.end(reading); !cut && err == nil {
		// A held poll waits longer. After an error it stays: net/http would wait for
		// the rest of the body before it answers.
		_ = control.SetReadDeadline(time.Time{})
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		v.stats.refuse(refuseLarge)
		return nil, http.StatusRequestEntityTooLarge
	case err != nil:
		v.stats.refuse(refuseMalformed)
		w.Header().Set("Connection", "close")
		return nil, http.StatusBadRequest
	}
	return body, 0
}

func (v *Server) malformed(w http.ResponseWriter) {
	v.stats.refuse(refuseMalformed)
	plain(w, http.StatusBadRequest)
}

// answer decodes a body, carries it out and writes the answer, as JSON or, with a
// callback, as a script.
func (v *Server) answer(w http.ResponseWriter, r *http.Request, body []byte, transport, callback string) {
	messages, err := decode(body, v.limits())
	switch {
	case errors.Is(err, errBatch):
		v.stats.refuse(refuseBatch)
		plain(w, http.StatusRequestEntityTooLarge)
		return
	case errors.Is(err, errUTF8):
		v.stats.refuse(refuseUTF8)
		plain(w, http.StatusBadRequest)
		return
	case err != nil:
		v.malformed(w)
		return
	}
	ctx := &requestContext{Context: r.Context(), server: v.ctx}
	defer ctx.end()
	x := &request{server: v, peer: v.peer(r, transport), alone: len(messages) == 1}
	answered := false
	defer func() { // also when the application panics
		if !answered {
			x.abandon()
		}
	}()
	if v.carryOut(ctx, x, messages) {
		panic(http.ErrAbortHandler) // nobody is there
	}
	if callback == "" && v.park(w, r, x) {
		answered = true // by somebody else
		return
	}
	out, gone := v.collect(ctx, r.Context(), x)
	if gone {
		panic(http.ErrAbortHandler)
	}
	h := w.Header()
	answerHead(h, callback)
	if callback != "" {
		out = script5(callback, out)
	}
	h.Set("Content-Length", strconv.Itoa(len(out)))
	status := http.StatusOK
	if x.after > 0 && x.alone && callback == "" {
		// A client takes this for a broken connection and sends the same connect again,
		// perhaps to another server: a new one would say that it has had the last answer.
		status = http.StatusServiceUnavailable
		h.Set("Retry-After", strconv.FormatInt(x.after, 10))
	}
	w.WriteHeader(status)
	if v.hand(w, out) != nil {
		panic(http.ErrAbortHandler)
	}
	answered = true
	for _, p := range x.polls {
		p.session.finish(p)
	}
}

// What the heads of answers have in common is shared by them: there is no room behind
// each, so that who adds to it in one answer gets a copy.
var (
	noSniff  = []string{"nosniff"}
	noStore  = []string{"no-cache, no-store"}
	jsonType = []string{"application/json; charset=utf-8"}
)

// answerHead sets the headers of an answer.
func answerHead(h http.Header, callback string) {
	h["Cache-Control"] = noStore
	if callback == "" {
		h["Content-Type"] = jsonType
		return
	}
	h.Set("Content-Type", "text/javascript; charset=utf-8")
	h.Set("Content-Disposition", "attachment; filename=f.txt")
}

// writeTime is how long n bytes may take (decided.md 14).
func (v *Server) writeTime(n int) time.Duration { return v.limits().transfer(n) }
