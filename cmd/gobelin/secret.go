package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/channels"
)

// maxSecretFile bounds what is read for a file: secret; a wrong path may name
// something endless.
const maxSecretFile = 64 << 10

// readSecret resolves a secret as it is written: "file:<path>", "env:<NAME>" or
// the text itself. What that gives is taken byte for byte, except that "hex:…"
// and "base64:…" are decoded. A file's last line break is not part of it.
func readSecret(written string) (broker.Secret, error) {
	text := written
	if path, ok := strings.CutPrefix(written, "file:"); ok {
		data, err := readSmallFile(path)
		if err != nil {
			return "", err
		}
		text = strings.TrimRight(string(data), "\r\n")
	} else if name, ok := strings.CutPrefix(written, "env:"); ok {
		value, found := os.LookupEnv(name)
		if !found {
			return "", fmt.Errorf("environment variable %s is not set", name)
		}
		text = value
	}
	decoded := []byte(text)
	var err error
	if digits, ok := strings.CutPrefix(text, "hex:"); ok {
		decoded, err = hex.DecodeString(digits)
	} else if letters, ok := strings.CutPrefix(text, "base64:"); ok {
		decoded, err = base64.StdEncoding.DecodeString(letters)
	}
	if err != nil {
		return "", errors.New("is not what its hex: or base64: prefix says")
	}
	if len(decoded) == 0 {
		return "", errors.New("is empty")
	}
	return broker.Secret(decoded), nil
}

func readSmallFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxSecretFile {
		return nil, fmt.Errorf("%s is larger than %v", path, size(maxSecretFile))
	}
	return data, nil
}

// sampleSecrets are parts of secrets that stand in examples and get copied.
var sampleSecrets = []string{
	"changeme", "change-me", "change_me", "example", "sample", "password", "your-secret", "yoursecret",
	"topsecret", "top-secret", "test-secret", "my-secret", "mysecret", "0123456789", "jwt-secret", "abcdefgh",
}

// secretFault says what is wrong with a secret, "" if nothing (security.md §1.3).
func secretFault(s broker.Secret) string {
	text := s.Reveal()
	switch lower := strings.ToLower(text); {
	case len(text) < channels.MinSecret:
		return fmt.Sprintf("is %d bytes, must be at least %d", len(text), channels.MinSecret)
	case bytes.Count([]byte(text), []byte{text[0]}) == len(text), ascending(text):
		return "is a sample, not a secret"
	default:
		for _, part := range sampleSecrets {
			if strings.Contains(lower, part) {
				return "is a sample, not a secret"
			}
		}
	}
	return ""
}

// ascending reports whether each byte is one more than the last, as in the test
// vectors.
func ascending(text string) bool {
	for i := 1; i < len(text); i++ {
		if text[i] != text[i-1]+1 {
			return false
		}
	}
	return true
}

// newSecret returns 32 random bytes as 43 characters that need no quoting in
// YAML, shells or URLs.
func newSecret() broker.Secret {
	var b [32]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return broker.Secret(base64.RawURLEncoding.EncodeToString(b[:]))
}
