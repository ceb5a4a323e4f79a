package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"

	"go.uber.org/zap"
)

// lines is an answer of many records, such as JSON texts one on each line, that is
// written as it is read: the peer's speed holds the reading back, and only one part
// is in memory at a time.
type lines struct {
	// each calls yield with one part after the other, whole lines; the first call
	// comes with the head's fields set. An error before it is a refusal; a later
	// one cuts the answer off, so that the peer sees that it is not whole.
	each        func(head http.Header, yield func(part []byte) error) error
	bare        bool   // only the head is wanted
	contentType string // empty: application/x-ndjson
}

// errBare ends an answer of which only the head is wanted.
var errBare = errors.New("api: only the head")

// stream answers with lines.
func (w *writer) stream(l lines) {
	err := l.each(w.Header(), func(part []byte) error {
		if w.status == 0 {
			w.begin(http.StatusOK, cmp.Or(l.contentType, "application/x-ndjson; charset=utf-8"))
		}
		if l.bare {
			return errBare
		}
		if !w.bill.wait() {
			return context.Canceled
		}
		w.bill.pay(len(part))
		return w.put(part)
	})
	switch {
	case err == nil, errors.Is(err, errBare):
	case w.status == 0:
		w.refuse(err)
	default:
		w.log.Info("answer cut off", zap.String("route", w.route), zap.Error(err))
		panic(http.ErrAbortHandler)
	}
}
