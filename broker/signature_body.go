package broker

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/broker/exact"
	"github.com/gobelin-broker/gobelin/broker/signed"
)

// BodyCheck is one of the checks that a signed body has to pass, in this order
// (product.md §5.5, S4).
type BodyCheck uint8

// The checks: that it is an object, whose key it names, its signature, its time.
const (
	CheckJSON BodyCheck = 1 + iota
	CheckKey
	CheckSignature
	CheckTimestamp
)

// BodyFault refuses a signed body: which check it failed, and in words why. It may be
// told to whoever sent it.
type BodyFault struct {
	Check BodyCheck
	Text  string
}

// Error returns the text.
func (f *BodyFault) Error() string { return "broker: signed body: " + f.Text }

// SignedBody is an object that an account has signed.
type SignedBody struct {
	Account *Account
	// Members are those of the object but for its signature, in order: values are as
	// they were sent.
	Members []exact.Member
}

// Member returns the value of a member, nil where there is none.
func (b *SignedBody) Member(name string) []byte { return memberOf(b.Members, name) }

func memberOf(members []exact.Member, name string) []byte {
	for _, m := range members {
		if m.Name == name {
			return m.Value
		}
	}
	return nil
}

// body verifies a signed body (security.md §2.1). An unknown key costs the same work as
// a wrong signature.
func (t *tokens) body(text []byte) (*SignedBody, error) {
	parsed, err := signed.Parse(text)
	if err != nil {
		return nil, bodySyntax(err)
	}
	key, err := exact.Text(memberOf(parsed.Members, "api_key"))
	k := t.account(key)
	secret := t.dummy.secret
	if err == nil && k != nil {
		secret = k.secret
	}
	good := parsed.Verify(secret)
	switch {
	case err != nil:
		return nil, &BodyFault{CheckKey, "api_key must be there, a string"}
	case k == nil:
		return nil, &BodyFault{CheckKey, "api_key is not known"}
	}
	if fault := checkCDN(parsed.Members, k.account.CDN); fault != nil {
		return nil, fault
	}
	if good != nil {
		return nil, signatureFault(good)
	}
	if fault := t.checkTimestamp(parsed.Members); fault != nil {
		return nil, fault
	}
	return &SignedBody{Account: k.account, Members: parsed.Members}, nil
}

// bodySyntax says what keeps a text from being a signed object.
func bodySyntax(err error) *BodyFault {
	var twice *exact.DuplicateError
	switch {
	case errors.Is(err, signed.ErrSignature):
		return signatureFault(err)
	case errors.As(err, &twice):
		return &BodyFault{CheckJSON, "a member is there twice: " + strconv.QuoteToASCII(twice.Name[:min(len(twice.Name), 100)])}
	case errors.Is(err, exact.ErrType):
		return &BodyFault{CheckJSON, "must be one JSON object"}
	case errors.Is(err, exact.ErrDepth):
		return &BodyFault{CheckJSON, "the JSON is nested too deep"}
	case errors.Is(err, exact.ErrUTF8):
		return &BodyFault{CheckJSON, "must be valid UTF-8"}
	}
	return &BodyFault{CheckJSON, "must be valid JSON of at most " + strconv.Itoa(signed.MaxBody) + " bytes"}
}

// signatureFault says what is wrong with a signature.
func signatureFault(err error) *BodyFault {
	return &BodyFault{CheckSignature, strings.TrimPrefix(err.Error(), "signed: ")}
}

// checkCDN compares the account's number with what was sent: cdn, or cdn_id as other
// pages of the source call it (product.md §2, 16). An account without one has number 0,
// which need not be sent.
func checkCDN(members []exact.Member, want int) error {
	sent := false
	for _, name := range []string{"cdn", "cdn_id"} {
		value := memberOf(members, name)
		if value == nil {
			continue
		}
		sent = true
		if n, err := WholeNumber(value); err != nil || n != int64(want) {
			return &BodyFault{CheckKey, name + " is not the account's"}
		}
	}
	if !sent && want != 0 {
		return &BodyFault{CheckKey, "cdn must be there, the account's number"}
	}
	return nil
}

func (t *tokens) checkTimestamp(members []exact.Member) error {
	seconds, err := WholeNumber(memberOf(members, "timestamp"))
	if err != nil {
		return &BodyFault{CheckTimestamp, "timestamp must be there, whole seconds since 1970 (UTC)"}
	}
	if d := t.now().Sub(time.Unix(seconds, 0)); d < -signatureWindow || d > signatureWindow {
		return &BodyFault{CheckTimestamp, "timestamp must be within 300 seconds of the broker's clock, which says " + strconv.FormatInt(t.now().Unix(), 10)}
	}
	return nil
}

// WholeNumber reads a member of a signed body that is a whole number, or a string of
// one: Perl and PHP write numbers so that came from a form or a command line. There is one
// spelling of each: 07 and -0 are none. Errors: exact.ErrType (wrapped).
func WholeNumber(value []byte) (int64, error) {
	if text, err := exact.Text(value); err == nil {
		value = []byte(text)
	}
	if len(value) == 0 {
		return 0, exact.ErrType
	}
	n, err := exact.Int(value)
	if err == nil && strconv.FormatInt(n, 10) != string(value) {
		return 0, exact.ErrType
	}
	return n, err
}
