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

// form writes a refusal as a surface's clients know it.
type form func(e *broker.Error) any

// v1Form is the form of /v1 (product.md §9).
func v1Form(e *broker.Error) any {
	return struct {
		Result int    `json:"result"`
		Error  string `json:"error"`
	}{e.Result, e.Text}
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
	status int // 0 until answered
}

// send answers with a reply.
func (w *writer) send(answer reply) {
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	e.SetEscapeHTML(false)
	if err := e.Encode(answer.value); err != nil {
		w.log.Error("answer could not be encoded", zap.String("route", w.route), zap.Error(err))
		w.refuse(&broker.Error{Result: 5000, Text: "internal server error"})
		return
	}
	if w.status != 0 {
		return
	}
	w.status = answer.status
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(answer.status)
	// The peer may be gone; there is nobody else to tell.
	_, _ = w.Write(body.Bytes())
}

// refuse answers with an error; what no peer may see is logged and shown as 500.
func (w *writer) refuse(err error) {
	var method *methodError
	var limit *limitError
	var refusal *broker.Error
	switch {
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
	w.send(reply{status: refusal.Status(), value: w.form(refusal)})
}

// shown returns the refusal a peer sees for err and logs what it does not see.
func (w *writer) shown(err error) *broker.Error {
	refusal := broker.AsError(err)
	if refusal.Result == 5000 {
		w.log.Error("request failed", zap.String("route", w.route), zap.Error(err))
	}
	refusal = &broker.Error{Result: refusal.Result, Text: strings.ToValidUTF8(refusal.Text, "\ufffd")}
	return refusal
}

// retryAfter says when to come again, in whole seconds, at least one.
func (w *writer) retryAfter(d time.Duration) {
	seconds := max(1, int64((d+time.Second-1)/time.Second))
	w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
}
