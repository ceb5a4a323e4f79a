package signed

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/gobelin-broker/gobelin/broker/exact"
)

// Bounds of a signed body: it is read, parsed and hashed for whoever sends one.
const (
	// MaxBody bounds its bytes.
	MaxBody = 64 << 10
	// maxDepth bounds its nesting (security.md §3).
	maxDepth = 128
)

// name is the member that signs the others.
const name = "signature"

// macText is the length of a signature: base64 of 32 bytes.
const macText = 44

// ErrSignature: the signature is missing, malformed, or not that of the rest; the text
// wrapped around it says which of them.
var ErrSignature = errors.New("signed: failed signature")

// Body is a signed object, taken apart.
type Body struct {
	// Members are all but the signature, in the order they were sent. They are to be
	// trusted only after Verify.
	Members []exact.Member

	rest  [2][]byte // the text before the cut, and behind it
	mac   []byte    // nil: there is none
	fault error     // why there is none
}

// Parse takes an object apart and cuts its signature out. What is wrong with the
// signature itself is said by Verify. Errors: those of exact.Members, and ErrSignature
// for one that is there twice; a longer text than MaxBody is exact.ErrSyntax.
func Parse(text []byte) (Body, error) {
	if len(text) > MaxBody {
		return Body{}, fmt.Errorf("signed: parse: %w: more than %d bytes", exact.ErrSyntax, MaxBody)
	}
	members, err := exact.Members(text, maxDepth)
	var twice *exact.DuplicateError
	if errors.As(err, &twice) && twice.Name == name {
		return Body{}, fmt.Errorf("%w: signature is there twice", ErrSignature)
	}
	if err != nil {
		return Body{}, fmt.Errorf("signed: parse: %w", err)
	}
	b := Body{Members: make([]exact.Member, 0, len(members)), rest: [2][]byte{text, nil}, fault: errors.New("signature is missing")}
	for i, m := range members {
		if m.Name != name {
			b.Members = append(b.Members, m)
			continue
		}
		b.mac, b.fault = read(m)
		if len(members) == 1 {
			b.mac, b.fault = nil, errors.New("there is nothing but a signature")
			continue
		}
		from, to := cut(text, members, i)
		b.rest = [2][]byte{text[:from], text[to:]}
	}
	return b, nil
}

// cut returns the bytes that members[i] takes away with it: from the comma before it
// to the end of its value; where it is first, the comma behind it and the blanks that
// follow instead. There are other members.
func cut(text []byte, members []exact.Member, i int) (from, to int) {
	m := members[i]
	if i == 0 {
		return m.Start, members[1].Start
	}
	before := members[i-1].End
	return before + bytes.IndexByte(text[before:m.Start], ','), m.End
}

// read returns the MAC that a signature member holds, or what is wrong with it.
func read(m exact.Member) ([]byte, error) {
	if m.Escaped {
		return nil, errors.New("the name signature must be written without escapes")
	}
	text, err := exact.Text(m.Value)
	if err != nil {
		return nil, errors.New("signature must be a string")
	}
	mac, ok := ReadMAC(text)
	if !ok {
		return nil, errors.New("signature must be standard base64 of 32 bytes, 44 characters")
	}
	return mac, nil
}

// ReadMAC reads an HMAC-SHA256 as it is written in signatures: standard base64 with
// padding, of which one spelling only is taken. encoding/base64 skips line breaks even
// in strict mode.
func ReadMAC(text string) (mac []byte, ok bool) {
	if len(text) != macText || strings.ContainsAny(text, "\r\n") {
		return nil, false
	}
	mac, err := base64.StdEncoding.Strict().DecodeString(text)
	return mac, err == nil && len(mac) == sha256.Size
}

// Verify reports whether the body was signed with secret, with ErrSignature (wrapped)
// where it was not. It does the same work for every body of one length, also for one
// without a signature, and compares in constant time.
func (b *Body) Verify(secret []byte) error {
	want := sum(secret, b.rest[0], b.rest[1])
	good := hmac.Equal(want, b.mac)
	switch {
	case b.fault != nil:
		return fmt.Errorf("%w: %w", ErrSignature, b.fault)
	case !good:
		return fmt.Errorf("%w: it is not that of the bytes around it with this key's secret", ErrSignature)
	}
	return nil
}

// Sign returns text, one JSON object without blanks around it, with its signature as
// the last member; everything else stays as it is. It errs where Parse and Verify
// would refuse the outcome: no object, no member, a member twice, a signature already.
func Sign(text, secret []byte) ([]byte, error) {
	b, err := Parse(text)
	if err != nil {
		return nil, err
	}
	for _, m := range b.Members {
		if exact.Folds(m.Name, name) {
			return nil, fmt.Errorf("signed: sign: there is a member %q, which could be taken for the signature", m.Name)
		}
	}
	if b.mac != nil || len(b.rest[1]) > 0 {
		return nil, errors.New("signed: sign: there is a signature already")
	}
	if len(b.Members) == 0 {
		return nil, errors.New("signed: sign: the object has no member that could be signed")
	}
	end := b.Members[len(b.Members)-1].End
	mac := base64.StdEncoding.EncodeToString(sum(secret, text))
	out := make([]byte, 0, len(text)+macText+len(`,"signature":""`))
	out = append(out, text[:end]...)
	out = append(out, `,"`+name+`":"`+mac+`"`...)
	if out = append(out, text[end:]...); len(out) > MaxBody {
		return nil, fmt.Errorf("signed: sign: more than %d bytes with the signature", MaxBody)
	}
	return out, nil
}

// sum is the HMAC-SHA256 of the parts, one after the other.
func sum(secret []byte, parts ...[]byte) []byte {
	h := hmac.New(crypto.SHA256.New, secret)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}
