package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/broker/exact"
	"github.com/gobelin-broker/gobelin/broker/signed"
)

// stableRoutes is the endpoint of signed commands, of which there is one, viewer.log
// (product.md §5.5).
var stableRoutes = []route{
	{path: "/stable/", form: stableForm, open: true, plain: true, suspended: true, methods: map[string]handler{http.MethodPost: postStable}},
}

// maxQueries is how many queries of one account are answered at once: each may hold
// broker.MaxViewerRows rows until its client has read them.
const maxQueries = 4

// The codes of failures (product.md §5.5, S5).
const (
	codeCommand   = "0000" // no such command
	codeKey       = "0001"
	codeTimestamp = "0002"
	codeSignature = "0003"
	codeOther     = "0004" // not JSON, too fast, out of order …
	codeMissing   = "0006"
	codeGraph     = "2001"
	codeStart     = "2002"
	codeApp       = "2003"
	codeField     = "2004" // of another type or size than it can be
	codeRows      = "2005" // too many
)

// failure is a command that is refused; it is an answer and an error.
type failure struct {
	Status     string `json:"status"`
	Code       string `json:"code"`
	Message    string `json:"message"`
	HandleTime string `json:"handle_time"`
}

// Error returns the message.
func (f *failure) Error() string { return f.Message }

func (f *failure) took(d time.Duration) { f.HandleTime = handleTime(d) }

// fail makes a failure.
func fail(code, format string, args ...any) *failure {
	return &failure{Status: "failure", Code: code, Message: fmt.Sprintf(format, args...)}
}

// handleTime writes how long an answer took.
func handleTime(d time.Duration) string { return fmt.Sprintf("%.4f seconds", d.Seconds()) }

// stableForm is the form of what is refused before a command is looked at, or by the
// broker.
func stableForm(e *broker.Error) any {
	code := codeOther
	if e.Result == 4013 {
		code = codeRows
	}
	return fail(code, "%s", e.Text)
}

// postStable: POST /stable/, a command signed by an account.
func postStable(a *api, r *http.Request, _ *broker.Identity) (reply, error) {
	answer, err := a.command(r)
	var f *failure
	if errors.As(err, &f) {
		return reply{http.StatusOK, f}, nil
	}
	return answer, err
}

// command checks, in the order of S4, what was sent and carries the command out.
func (a *api) command(r *http.Request) (reply, error) {
	if r.URL.Path != "/stable/" {
		return reply{}, &broker.Error{Result: 4004, Text: "no such endpoint; commands are posted to /stable/"}
	}
	text, err := a.commandText(r)
	if err != nil {
		return reply{}, err
	}
	body, err := a.service.VerifyBody(text)
	var fault *broker.BodyFault
	if errors.As(err, &fault) {
		return reply{}, checkFailure(fault)
	}
	if err != nil {
		return reply{}, err
	}
	// From here on the account is charged, wherever it asks from.
	if err := a.limiter.request(hashKey("k", body.Account.APIKey)); err != nil {
		return reply{}, err
	}
	if command, err := exact.Text(body.Member("command")); err != nil || command != "viewer.log" {
		return reply{}, fail(codeCommand, `unrecognized command; there is "viewer.log"`)
	}
	return a.viewerLog(r, body)
}

// checkFailure gives each check its code.
func checkFailure(fault *broker.BodyFault) *failure {
	switch fault.Check {
	case broker.CheckKey:
		return fail(codeKey, "authorization failed: %s", fault.Text)
	case broker.CheckSignature:
		return fail(codeSignature, "%s", fault.Text)
	case broker.CheckTimestamp:
		return fail(codeTimestamp, "timestamp outside range: %s", fault.Text)
	}
	return fail(codeOther, "unexpected error: %s", fault.Text)
}

// commandText returns the JSON of a command as it was sent: the field json of a form of
// either kind, or the body itself.
func (a *api) commandText(r *http.Request) ([]byte, error) {
	r.Body = http.MaxBytesReader(nil, r.Body, signed.MaxBody)
	body, err := a.readBody(r)
	if err != nil {
		return nil, fail(codeOther, "unexpected error: %v", err)
	}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		kind = "" // said below
	}
	switch kind {
	case "application/json":
		return body, nil
	case "application/x-www-form-urlencoded":
		return urlencodedText(body)
	case "multipart/form-data":
		return multipartText(body, params["boundary"])
	}
	return nil, fail(codeOther, "unexpected error: send the JSON as the field json of a form (multipart or urlencoded), or as the body with Content-Type: application/json")
}

// What is wrong with a form.
const (
	noField  = "unexpected error: the form has no field json; a body that is the JSON itself needs Content-Type: application/json"
	twoField = "unexpected error: the field json is there twice"
	badForm  = "unexpected error: the form could not be read"
)

func urlencodedText(body []byte) ([]byte, error) {
	form, err := url.ParseQuery(string(body))
	switch texts := form["json"]; {
	case err != nil:
		return nil, fail(codeOther, badForm)
	case len(texts) == 0:
		return nil, fail(codeOther, noField)
	case len(texts) > 1:
		return nil, fail(codeOther, twoField)
	default:
		return []byte(texts[0]), nil
	}
}

// multipartText takes the part as it is, whatever its headers say of its encoding: it
// was signed so.
func multipartText(body []byte, boundary string) ([]byte, error) {
	if boundary == "" {
		return nil, fail(codeOther, badForm)
	}
	form := multipart.NewReader(bytes.NewReader(body), boundary)
	var text []byte
	for {
		part, err := form.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fail(codeOther, badForm)
		}
		if part.FormName() != "json" {
			continue
		}
		if text != nil {
			return nil, fail(codeOther, twoField)
		}
		if text, err = io.ReadAll(part); err != nil {
			return nil, fail(codeOther, badForm)
		}
	}
	if text == nil {
		return nil, fail(codeOther, noField)
	}
	return text, nil
}

// missing names the fields that are required and are not there, "" when all are.
func missing(body *broker.SignedBody, required ...string) string {
	var names []string
	for _, name := range required {
		if v := body.Member(name); v == nil || exact.IsNull(v) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}
