package main

import (
	"crypto/tls"
	"fmt"
	"sync/atomic"
)

// certificate is that of the public listener. It can be exchanged while the listener
// works; connections that stand keep theirs.
type certificate struct {
	current atomic.Pointer[tls.Certificate] // nil: plain HTTP
}

// load reads the files that a configuration names; on an error what was there stays.
// Whether there is one at all is decided at the start.
func (c *certificate) load(conf *config) error {
	if conf.TLSCert == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(conf.TLSCert, conf.TLSKey)
	if err != nil {
		return fmt.Errorf("tls: %s, %s: %w", conf.TLSCert, conf.TLSKey, err)
	}
	c.current.Store(&pair)
	return nil
}

// config returns the listener's configuration, nil without a certificate.
func (c *certificate) config() *tls.Config {
	if c.current.Load() == nil {
		return nil
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil },
	}
}
