package main

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// certificateEvery is how often the files of the certificate are looked at: whoever
// renews them need tell nobody.
const certificateEvery = 10 * time.Second

// certificate is that of the public listener. It can be exchanged while the listener
// works; connections that stand keep theirs.
type certificate struct {
	current atomic.Pointer[tls.Certificate] // nil: plain HTTP, or from a CA
	acme    *acmeCertificate                // nil: none
	stamp   stamp                           // of the files at the last look; owned by obey
}

// load reads the files that a configuration names; on an error what was there stays.
// Whether there is one at all is decided at the start.
func (c *certificate) load(conf *config) error {
	if conf.TLSCert == "" {
		return nil
	}
	at := stampOf(conf)
	pair, err := tls.LoadX509KeyPair(conf.TLSCert, conf.TLSKey)
	if err != nil {
		return fmt.Errorf("tls: %s, %s: %w", conf.TLSCert, conf.TLSKey, err)
	}
	c.current.Store(&pair)
	c.stamp = at
	return nil
}

// config returns the listener's configuration, nil without a certificate. HTTP/2 is not
// offered: it has no WebSocket that browsers and proxies agree on, and a long poll gains
// nothing by it.
func (c *certificate) config() *tls.Config {
	switch {
	case c.acme != nil:
		return c.acme.config()
	case c.current.Load() == nil:
		return nil
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil },
	}
}

// stamp tells whether the files of a certificate are others than before.
type stamp [2]struct {
	size    int64
	changed time.Time
}

func stampOf(conf *config) (s stamp) {
	for i, name := range []string{conf.TLSCert, conf.TLSKey} {
		if info, err := os.Stat(name); err == nil {
			s[i].size, s[i].changed = info.Size(), info.ModTime()
		}
	}
	return s
}

// look exchanges the certificate when its files are others than at the last look. A pair
// of which only one half has been written yet is tried again when the other has.
func (c *certificate) look(conf *config, log *zap.Logger) {
	now := stampOf(conf)
	if now == c.stamp || c.current.Load() == nil {
		return
	}
	c.stamp = now
	if err := c.load(conf); err != nil {
		log.Error("certificate has changed and cannot be taken: the one before stays", zap.Error(err))
		return
	}
	log.Info("certificate exchanged: its files have changed", zap.Time("not_after", c.current.Load().Leaf.NotAfter))
}
