package api

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/broker/exact"
)

// badRequest refuses a request in words.
func badRequest(format string, args ...any) error {
	return &broker.Error{Result: 4000, Text: fmt.Sprintf(format, args...)}
}

// readBody reads a request's body, bounded in bytes and time.
func (a *api) readBody(r *http.Request) ([]byte, error) {
	if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return nil, badRequest("Content-Encoding is not supported")
	}
	body, err := whole(r)
	var large *http.MaxBytesError
	switch {
	case err == nil:
		return body, nil
	case errors.As(err, &large):
		return nil, &broker.Error{Result: 4013, Text: fmt.Sprintf("body is larger than %d bytes", large.Limit)}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, badRequest("body did not arrive in %v", a.BodyTimeout)
	}
	return nil, badRequest("body could not be read")
}

// announced is the length of a body that a request is taken at its word for: what is
// longer costs memory only as it comes.
const announced = 64 << 10

// whole reads a body to its end.
func whole(r *http.Request) ([]byte, error) {
	if r.ContentLength < 0 || r.ContentLength > announced {
		return io.ReadAll(r.Body)
	}
	body := make([]byte, r.ContentLength)
	_, err := io.ReadFull(r.Body, body)
	return body, err
}

// fields are the members of a body's object. They are few, and looked through.
type fields []exact.Member

// get returns the value of a field, nil for one that was not sent.
func (f fields) get(name string) []byte {
	for i := range f {
		if f[i].Name == name {
			return f[i].Value
		}
	}
	return nil
}

// object reads a body that is one JSON object of these fields; those of ignored
// may be there and do not count. Everything else is refused.
func (a *api) object(body []byte, known, ignored []string) (fields, error) {
	members, err := exact.Members(body, a.Depth)
	if err != nil {
		return nil, a.bodyError("body", err)
	}
	return pick("", members, known, ignored)
}

// pick returns the known members, in their place; where names the object in a refusal.
func pick(where string, members []exact.Member, known, ignored []string) (fields, error) {
	f := fields(members[:0])
	for _, m := range members {
		switch {
		case slices.Contains(known, m.Name):
			f = append(f, m)
		case slices.Contains(ignored, m.Name):
		default:
			return nil, badRequest("%sunknown field %q; there are %s", where, clip(m.Name), strings.Join(known, ", "))
		}
	}
	return f, nil
}

// bodyError says what is wrong with a body's JSON.
func (a *api) bodyError(what string, err error) error {
	var duplicate *exact.DuplicateError
	switch {
	case errors.As(err, &duplicate):
		return badRequest("%s: field %q is there twice", what, clip(duplicate.Name))
	case errors.Is(err, exact.ErrUTF8):
		return badRequest("%s must be valid UTF-8", what)
	case errors.Is(err, exact.ErrDepth):
		return badRequest("%s is nested deeper than %d", what, a.Depth)
	case errors.Is(err, exact.ErrType):
		return badRequest("%s must be a JSON object", what)
	}
	return badRequest("%s must be valid JSON", what)
}

// text returns a field that is a string; there is false for one that was not sent.
func (f fields) text(name string) (s string, there bool, err error) {
	raw := f.get(name)
	if raw == nil {
		return "", false, nil
	}
	if s, err = exact.Text(raw); errors.Is(err, exact.ErrUTF8) {
		return "", true, badRequest("%s must be valid UTF-8", name)
	} else if err != nil {
		return "", true, badRequest("%s must be a string", name)
	}
	return s, true, nil
}

// texts reads several fields that are strings into their places.
func (f fields) texts(into map[string]*string) error {
	for name, dst := range into {
		s, there, err := f.text(name)
		if err != nil {
			return err
		}
		if there {
			*dst = s
		}
	}
	return nil
}

// clip cuts a peer's text for a refusal, between characters.
func clip(s string) string {
	if len(s) <= 100 {
		return s
	}
	return strings.ToValidUTF8(s[:100], "")
}

// timed bounds how long the body of r may take. It holds also for a body that no
// handler reads, for net/http reads some of it before it uses the connection
// again; once a body has arrived net/http lifts it. Recorders of tests have no
// deadline, hence no error is looked at.
func timed(w http.ResponseWriter, r *http.Request, limit time.Duration) {
	if r.ContentLength == 0 {
		return // nothing to wait for, and the deadline would end the request itself
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(limit))
}
