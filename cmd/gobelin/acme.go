package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// acmeFolder is where certificates of a CA are kept, in the store's folder.
const acmeFolder = "acme"

// acmeWait bounds how long a CA may take for a certificate at the start; handshakes ask
// on.
const acmeWait = 2 * time.Minute

// acmeCertificate is had from a CA (RFC 8555), and renewed by itself 30 days before it ends.
type acmeCertificate struct {
	manager *autocert.Manager
	domains []string
	log     *zap.Logger
}

// newACME returns nil where a configuration names no domains.
func newACME(c *config, log *zap.Logger) (*acmeCertificate, error) {
	a := &c.ACME
	if len(a.Domains) == 0 {
		return nil, nil
	}
	folder := a.folder(c)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("tls.acme.cache: %w", err)
	}
	if info, err := os.Stat(folder); err != nil || info.Mode().Perm()&0o077 != 0 {
		return nil, errors.Join(err, fmt.Errorf("tls.acme.cache: %s can be read by others: it will hold private keys: chmod 700 it", folder))
	}
	return &acmeCertificate{
		manager: &autocert.Manager{
			Prompt: autocert.AcceptTOS, Cache: autocert.DirCache(folder), HostPolicy: autocert.HostWhitelist(a.Domains...), Email: a.Email,
			Client: &acme.Client{DirectoryURL: a.Directory, UserAgent: "gobelin"},
		},
		domains: a.Domains, log: log.Named("acme"),
	}, nil
}

// folder is where certificates are kept; "" where a configuration names none.
func (a *acmeConfig) folder(c *config) string {
	if a.Cache == "" && c.Store.kind() == kindDisk {
		return filepath.Join(string(c.Store), acmeFolder)
	}
	return a.Cache
}

// config returns the listener's configuration. The CA asks by TLS itself (tls-alpn-01),
// for which it must reach the listener on port 443 of each domain.
func (a *acmeCertificate) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1", acme.ALPNProto}, GetCertificate: a.get}
}

// get finds the certificate for a handshake. What the CA refuses is told to the operator:
// the client sees a failed handshake alone.
func (a *acmeCertificate) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	c, err := a.manager.GetCertificate(hello)
	if err != nil && slices.Contains(a.domains, hello.ServerName) {
		a.log.Error("no certificate: the CA must reach this domain on port 443, or on port 80 with tls.acme.http; it is asked again in a minute",
			zap.String("domain", hello.ServerName), zap.Error(err))
	}
	return c, err
}

// obtain has certificates made before the first client comes, so that what is wrong is
// known at the start.
func (a *acmeCertificate) obtain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, acmeWait)
	defer cancel()
	for _, domain := range a.domains {
		done := make(chan struct{})
		go func() {
			defer close(done)
			// As browsers ask, so that it is the certificate that they get: ECDSA, not RSA.
			c, err := a.get(&tls.ClientHelloInfo{
				ServerName: domain, SupportedCurves: []tls.CurveID{tls.CurveP256},
				SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
				CipherSuites:     []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
			})
			if err == nil {
				a.log.Info("certificate ready", zap.String("domain", domain), zap.Time("not_after", c.Leaf.NotAfter))
			}
		}()
		select {
		case <-done:
		case <-ctx.Done(): // the manager has its own time limits
			return
		}
	}
}

// challenges answers the CA on port 80 (http-01), and sends everybody else to https.
func (a *acmeCertificate) challenges() http.Handler { return a.manager.HTTPHandler(nil) }
