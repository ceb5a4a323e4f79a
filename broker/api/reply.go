package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"go.uber.org/zap"
)

// reply is what a handler answers: a status and a value for JSON.
type reply struct {
	status int
	value  any
}

// done answers what has no more to say.
var done = reply{http.StatusOK, map[string]int{"result": 0}}

// form writes a refusal as a surface's clients know it.
type form func(e *broker.Error) any

// v1Form is the form of /v1 (product.md §9).
func v1Form(e *broker.Error) any {
	form := struct {
		Result  int     `json:"result"`
		Error   string  `json:"error"`
		Version *uint64 `json:"version,omitempty"` // of the document
	}{Result: e.Result, Error: e.Text}
	if e.Result == 4012 {
		form.Version = &e.Version
	}
	return form
}

// methodError refuses a method; allow are those there are.
type methodError struct{ allow string }

func (e *methodError) Error() string { return "method not allowed; use " + e.allow }

// limitError refuses a caller who is too fast, until after.
type limitError struct{ after time.Duration }

func (e *limitError) Error() string { return "too many requests" }

// writer answers one request, once.
type writer struct {
	http.ResponseWriter
	form   form
	log    *zap.Logger
	route  string
	plain  bool  // refusals have status 200
	bill   *bill // who pays; nil: nobody
	start  time.Time
	status int           // 0 until answered
	began  time.Duration // from start to the head of the answer
}

// WriteHeader writes the head, and notes how long it took until then.
func (w *writer) WriteHeader(status int) {
	w.began = time.Since(w.start)
	w.ResponseWriter.WriteHeader(status)
}

// clocked is an answer that says how long it took.
type clocked interface{ took(d time.Duration) }

// encoded is a value that is JSON already.
type encoded []byte

// versioned is a value with the version of the document it shows.
type versioned struct {
	version uint64
	value   any
}

// send answers with a reply. It keeps little on the stack, as an answer of events rests
// in it (broker.Service.ConnectStream).
func (w *writer) send(answer reply) {
	if v, ok := answer.value.(versioned); ok {
		w.Header().Set("ETag", `"`+strconv.FormatUint(v.version, 10)+`"`)
		answer.value = v.value
	}
	if v, ok := answer.value.(clocked); ok {
		v.took(time.Since(w.start))
	}
	switch v := answer.value.(type) {
	case lines:
		w.stream(v)
		return
	case events:
		w.serveEvents(v)
		return
	case kept:
		w.Header().Set("ETag", v.tag)
		w.Header().Set("Cache-Control", "public, max-age=3600")
		if answer.status == http.StatusNotModified {
			w.status = answer.status
			w.WriteHeader(answer.status)
			return
		}
		answer.value = v.body
	case document:
		w.show(answer.status, v)
		return
	}
	w.sendValue(answer)
}

// sendValue answers with a value as JSON.
func (w *writer) sendValue(answer reply) {
	body, ready := answer.value.(encoded)
	if !ready {
		var err error
		if body, err = encode(answer.value); err != nil {
			w.log.Error("answer could not be encoded", zap.String("route", w.route), zap.Error(err))
			w.refuse(&broker.Error{Result: 5000, Text: "internal server error"})
			return
		}
	}
	if w.status != 0 {
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.begin(answer.status, jsonType)
	// The peer may be gone; there is nobody else to tell.
	_ = w.put(body)
	w.bill.pay(len(body))
}

// newline ends what encode returns.
var newline = []byte("\n")

// encode returns a value as a line of JSON.
func encode(value any) ([]byte, error) {
	var buffer bytes.Buffer
	e := json.NewEncoder(&buffer)
	e.SetEscapeHTML(false)
	err := e.Encode(value)
	return buffer.Bytes(), err
}

// show answers with a document.
func (w *writer) show(status int, d document) {
	if w.status != 0 {
		return
	}
	w.Header().Set("Content-Security-Policy", d.policy)
	if d.maxAge > 0 {
		w.Header().Set("Cache-Control", "private, max-age="+strconv.Itoa(int(d.maxAge.Seconds())))
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(d.body)))
	w.begin(status, d.contentType)
	_ = w.put(d.body) // as in send
}

const jsonType = "application/json; charset=utf-8"

// What the heads of all answers have in common is shared by them: each has no room
// behind it, so that who adds to it in one answer gets a copy.
var (
	jsonTyped  = []string{jsonType}
	noStore    = []string{"no-store"}
	noSniff    = []string{"nosniff"}
	noReferrer = []string{"no-referrer"}
)

// begin writes the head of an answer.
func (w *writer) begin(status int, contentType string) {
	w.status = status
	h := w.Header()
	if contentType == jsonType {
		h["Content-Type"] = jsonTyped
	} else {
		h.Set("Content-Type", contentType)
	}
	if h.Get("Cache-Control") == "" {
		h["Cache-Control"] = noStore
	}
	h["X-Content-Type-Options"], h["Referrer-Policy"] = noSniff, noReferrer
	w.WriteHeader(status)
}

// A write may take writeStall and the time its bytes take at writeRate bytes a
// second (decided.md 14): who reads slower, or not at all, is cut off and holds no
// page of an answer for ever.
const (
	writeStall = 30 * time.Second
	writeRate  = 32 << 10
)

// put writes a part of an answer. Recorders of tests have no deadline.
func (w *writer) put(b []byte) error {
	to := http.NewResponseController(w.ResponseWriter)
	_ = to.SetWriteDeadline(time.Now().Add(writeStall + time.Duration(len(b))*time.Second/writeRate))
	if _, err := w.Write(b); err != nil {
		return err
	}
	if err := to.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	_ = to.SetWriteDeadline(time.Time{})
	return nil
}

// refuse answers with an error; what no peer may see is logged and shown as 500.
func (w *writer) refuse(err error) {
	var method *methodError
	var limit *limitError
	var refusal *broker.Error
	var stream *broker.StreamError
	switch {
	case errors.As(err, &stream):
		w.send(refusedStream(stream))
		return
	case errors.As(err, &method):
		w.Header().Set("Allow", method.allow)
		refusal = &broker.Error{Result: 4005, Text: method.Error()}
	case errors.As(err, &limit):
		w.retryAfter(limit.after)
		refusal = &broker.Error{Result: 4029, Text: limit.Error()}
	default:
		refusal = w.shown(err)
	}
	switch refusal.Result {
	case 4001:
		w.Header().Set("WWW-Authenticate", `Bearer realm="gobelin"`)
	case 5003:
		w.retryAfter(time.Second)
	}
	status := refusal.Status()
	if w.plain && status != http.StatusNotFound && status != http.StatusMethodNotAllowed {
		status = http.StatusOK
	}
	w.send(reply{status: status, value: w.form(refusal)})
}

// shown returns the refusal a peer sees for err and logs what it does not see.
func (w *writer) shown(err error) *broker.Error {
	refusal := broker.AsError(err)
	if refusal.Result == 5000 {
		w.log.Error("request failed", zap.String("route", w.route), zap.Error(err))
	}
	refusal = &broker.Error{Result: refusal.Result, Text: strings.ToValidUTF8(refusal.Text, "\ufffd"), Version: refusal.Version}
	return refusal
}

// retryAfter says when to come again, in whole seconds, at least one.
func (w *writer) retryAfter(d time.Duration) {
	seconds := max(1, int64((d+time.Second-1)/time.Second))
	w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
}
