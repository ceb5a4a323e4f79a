package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/acme"
)

// testCA speaks enough of RFC 8555 for a client that makes no mistakes: signatures of
// requests are not verified, the challenges are. It reaches every domain at one address.
type testCA struct {
	*httptest.Server
	t    *testing.T
	kind string // of the challenge: tls-alpn-01 or http-01
	at   string // host:port where it asks
	key  *ecdsa.PrivateKey
	root *x509.Certificate

	mu     sync.Mutex
	domain string // of the order under way
	proven bool
	issued []byte // PEM
	orders int
}

func newTestCA(t *testing.T, kind string) *testCA {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	c := &testCA{t: t, kind: kind, key: key}
	c.root = &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	c.Server = httptest.NewTLSServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *testCA) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w.Header().Set("Replay-Nonce", fmt.Sprint("nonce", time.Now().UnixNano()))
	say := func(status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	var sent struct{ Payload string }
	body, _ := io.ReadAll(r.Body)
	_ = json.Unmarshal(body, &sent)
	payload, _ := base64.RawURLEncoding.DecodeString(sent.Payload)
	switch r.URL.Path {
	case "/directory":
		say(200, map[string]string{"newNonce": c.URL + "/nonce", "newAccount": c.URL + "/account", "newOrder": c.URL + "/order", "revokeCert": c.URL + "/revoke"})
	case "/nonce":
	case "/account":
		w.Header().Set("Location", c.URL+"/account/1")
		say(201, map[string]string{"status": "valid"})
	case "/order":
		var o struct{ Identifiers []struct{ Value string } }
		_ = json.Unmarshal(payload, &o)
		c.domain, c.proven, c.issued = o.Identifiers[0].Value, false, nil
		c.orders++
		w.Header().Set("Location", c.URL+"/order/1")
		say(201, c.order())
	case "/order/1":
		w.Header().Set("Location", c.URL+"/order/1")
		say(200, c.order())
	case "/authorization":
		say(200, c.authorization())
	case "/challenge":
		c.proven = c.ask()
		say(200, map[string]string{"type": c.kind, "url": c.URL + "/challenge", "token": "token", "status": c.status()})
	case "/finalize":
		c.issue(payload)
		w.Header().Set("Location", c.URL+"/order/1")
		say(200, c.order())
	case "/certificate":
		_, _ = w.Write(c.issued)
	default:
		say(404, map[string]string{"detail": r.URL.Path})
	}
}

func (c *testCA) status() string {
	if c.proven {
		return "valid"
	}
	return "invalid"
}

func (c *testCA) order() map[string]any {
	status := "pending"
	if c.proven {
		status = "ready"
	}
	if c.issued != nil {
		status = "valid"
	}
	return map[string]any{
		"status": status, "identifiers": []map[string]string{{"type": "dns", "value": c.domain}},
		"authorizations": []string{c.URL + "/authorization"}, "finalize": c.URL + "/finalize", "certificate": c.URL + "/certificate",
	}
}

func (c *testCA) authorization() map[string]any {
	status := "pending"
	if c.proven {
		status = "valid"
	}
	return map[string]any{
		"status": status, "identifier": map[string]string{"type": "dns", "value": c.domain},
		"challenges": []map[string]string{{"type": c.kind, "url": c.URL + "/challenge", "token": "token", "status": status}},
	}
}

// ask does what a CA does to see who has the domain.
func (c *testCA) ask() bool {
	if c.kind == "http-01" {
		r, err := http.NewRequest("GET", "http://"+c.at+"/.well-known/acme-challenge/token", nil)
		if err != nil {
			return false
		}
		r.Host = c.domain
		answer, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		text, _ := io.ReadAll(answer.Body)
		return answer.StatusCode == 200 && strings.HasPrefix(string(text), "token.")
	}
	conn, err := tls.Dial("tcp", c.at, &tls.Config{ServerName: c.domain, NextProtos: []string{acme.ALPNProto}, InsecureSkipVerify: true})
	if err != nil {
		return false
	}
	defer conn.Close()
	state := conn.ConnectionState()
	return state.NegotiatedProtocol == acme.ALPNProto && state.PeerCertificates[0].VerifyHostname(c.domain) == nil
}

func (c *testCA) issue(payload []byte) {
	var f struct{ CSR string }
	_ = json.Unmarshal(payload, &f)
	der, _ := base64.RawURLEncoding.DecodeString(f.CSR)
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil || !c.proven {
		return
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: csr.DNSNames, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(90 * 24 * time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err = x509.CreateCertificate(rand.Reader, leaf, c.root, csr.PublicKey, c.key)
	if err == nil {
		c.issued = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
}

// acmeNode starts a node that has its certificate from a CA.
func acmeNode(t *testing.T, ca *testCA, dir string) (*node, *observer.ObservedLogs) {
	t.Helper()
	c := testConfig(t)
	c.AdminToken = ""
	c.ACME = acmeConfig{Domains: []string{"live.example.com"}, Cache: filepath.Join(dir, "acme"), Directory: ca.URL + "/directory"}
	if ca.kind == "http-01" {
		c.ACME.HTTP = "127.0.0.1:0"
	}
	core, logs := observer.New(zapcore.InfoLevel)
	n, err := openNode(t.Context(), c, zap.New(core), true)
	require.NoError(t, err)
	n.certificate.acme.manager.Client.HTTPClient = ca.Client()
	ca.mu.Lock()
	ca.at = strings.TrimPrefix(n.url("public"), "https://")
	if ca.kind == "http-01" {
		ca.at = strings.TrimPrefix(n.url("acme"), "http://")
	}
	ca.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	serving, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- n.run(ctx, func() { close(serving) }, nil) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	<-serving
	return n, logs
}

// A certificate is had by either challenge, kept with its key for nobody else to read,
// and found again after a restart without asking the CA.
func TestACME(t *testing.T) {
	for _, kind := range []string{"tls-alpn-01", "http-01"} {
		t.Run(kind, func(t *testing.T) {
			ca, dir := newTestCA(t, kind), t.TempDir()
			for range 2 {
				n, logs := acmeNode(t, ca, dir)
				require.Eventually(t, func() bool { return logs.FilterMessageSnippet("certificate ready").Len() > 0 }, patience, 10*time.Millisecond, "%v", logs.All())
				conn, err := tls.Dial("tcp", strings.TrimPrefix(n.url("public"), "https://"), &tls.Config{ServerName: "live.example.com", InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
				require.NoError(t, err)
				require.Equal(t, []string{"live.example.com"}, conn.ConnectionState().PeerCertificates[0].DNSNames)
				require.Equal(t, "http/1.1", conn.ConnectionState().NegotiatedProtocol)
				require.NoError(t, conn.Close())
				_, err = tls.Dial("tcp", strings.TrimPrefix(n.url("public"), "https://"), &tls.Config{ServerName: "other.example.com", InsecureSkipVerify: true})
				require.Error(t, err, "no certificate is asked for names of others")
				if kind == "http-01" {
					answer, err := http.DefaultTransport.RoundTrip(httptest.NewRequest("GET", n.url("acme")+"/faye", nil))
					require.NoError(t, err)
					require.NoError(t, answer.Body.Close())
					require.Equal(t, 302, answer.StatusCode)
				}
			}
			ca.mu.Lock()
			defer ca.mu.Unlock()
			require.Equal(t, 1, ca.orders)
			info, err := os.Stat(filepath.Join(dir, "acme"))
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
		})
	}
}

// A CA that cannot reach the node: the operator is told what to open.
func TestACMEUnreachable(t *testing.T) {
	ca, dir := newTestCA(t, "tls-alpn-01"), t.TempDir()
	ca.kind = "tls-alpn-02" // a challenge that nobody can meet
	_, logs := acmeNode(t, ca, dir)
	require.Eventually(t, func() bool { return logs.FilterMessageSnippet("must reach this domain on port 443").Len() > 0 }, patience, 10*time.Millisecond, "%v", logs.All())

	c := testConfig(t)
	c.ACME = acmeConfig{Domains: []string{"live.example.com"}, Cache: dir, Directory: ca.URL}
	require.NoError(t, os.Chmod(dir, 0o755))
	_, err := openNode(t.Context(), c, zap.NewNop(), true)
	require.ErrorContains(t, err, "chmod 700")
}
