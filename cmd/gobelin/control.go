package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/spf13/cobra"
)

// control are the flags of verbs that ask a running node something as its operator.
type control struct {
	path, url, token string
	insecure         bool
}

func (k *control) flags(c *cobra.Command) {
	c.Flags().StringVar(&k.path, "config", "", "the node's configuration file: says where its admin listener is, and its token")
	c.Flags().StringVar(&k.url, "admin", "", "the admin listener, such as http://127.0.0.1:8001 (default: $GOBELIN_ADMIN_LISTEN, or the configuration's)")
	c.Flags().StringVar(&k.token, "token", "", "where the operator's token is: env:NAME, file:PATH, or - for standard input (default: $GOBELIN_ADMIN_TOKEN, or the configuration's)")
	c.Flags().BoolVar(&k.insecure, "insecure", false, "take any certificate of https://")
}

// operator asks a node.
type operator struct {
	base   string
	Token  broker.Secret // exported, as fmt shows other fields raw
	client *http.Client
}

// open finds out where the node is and what its token is; in is read for --token -.
func (k *control) open(in io.Reader) (*operator, error) {
	// As dev reads it: whether a token is good enough is the node's affair.
	c, _, fs := load(source{path: k.path, dev: true})
	if len(fs) > 0 {
		return nil, fmt.Errorf("configuration: %s\n%w", count(len(fs), "fault"), fs)
	}
	o := &operator{base: strings.TrimSuffix(k.url, "/"), Token: c.AdminToken}
	if o.base == "" {
		address := c.AdminListen
		if address == "" {
			address = optionByKey("admin.listen").def
		}
		o.base = "http://" + reachable(address)
	}
	if u, err := url.Parse(o.base); err != nil || u.Host == "" || u.Path != "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, usage{fmt.Errorf("--admin %q is not a URL such as http://127.0.0.1:8001", clip(o.base))}
	}
	if k.token != "" {
		token, err := readSource(k.token, in)
		if err != nil {
			return nil, usage{fmt.Errorf("--token %w", err)}
		}
		o.Token = token
	}
	if o.Token == "" {
		return nil, usage{errors.New("the operator's token is needed, admin.token of the node: --config, --token, or $GOBELIN_ADMIN_TOKEN (gobelin dev prints its own behind #token=)")}
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{InsecureSkipVerify: k.insecure}, //nolint:gosec // as asked
		DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, ResponseHeaderTimeout: 2 * time.Minute,
	}
	o.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return o, nil
}

// reachable makes an address to listen at one to connect to.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return address
}

// ask sends a request and returns the answer if it is a good one; the caller closes its
// body.
func (o *operator) ask(ctx context.Context, method, path string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, o.base+path, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+o.Token.Reveal())
	answer, err := o.client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("the node's admin listener cannot be reached: %w", err)
	}
	if answer.StatusCode == http.StatusOK {
		return answer, nil
	}
	defer answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusUnauthorized:
		return nil, fmt.Errorf("%s: the token is not admin.token of this node", o.base)
	case http.StatusTooManyRequests:
		return nil, fmt.Errorf("%s: too many wrong tokens came from this address: try again in %s s", o.base, printable(answer.Header.Get("Retry-After")))
	case http.StatusNotFound:
		return nil, fmt.Errorf("%s has no %s: is it the admin listener of a node that has admin.token set?", o.base, path)
	}
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
	return nil, fmt.Errorf("%s answered %s: %s", o.base, answer.Status, printable(strings.TrimSpace(string(text))))
}

// gone reports whether nothing listens there any more.
func (o *operator) gone(ctx context.Context) bool {
	u, err := url.Parse(o.base)
	if err != nil {
		return true
	}
	address := u.Host
	if u.Port() == "" {
		address = net.JoinHostPort(u.Hostname(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	}
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
	if err != nil {
		return true
	}
	_ = conn.Close()
	return false
}
