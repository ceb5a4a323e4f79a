package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux/client"
)

const (
	// probeWait bounds one question to an endpoint.
	probeWait = 10 * time.Second
	// streamWait is how long the beginning of a stream may take to come through.
	streamWait = 3 * time.Second
	// certificateSoon is how long before its end a certificate is doubtful.
	certificateSoon = 14 * 24 * time.Hour
	// mostAnswer bounds what is read of an answer.
	mostAnswer = 1 << 20
)

// ports looks whether a node could listen, or does.
func (d *doctor) ports(ctx context.Context) {
	for _, l := range [][2]string{{"listen", d.conf.Listen}, {"admin.listen", d.conf.AdminListen}, {"tls.acme.http", d.conf.ACME.HTTP}} {
		key, address := l[0], l[1]
		if address == "" {
			continue
		}
		open, err := net.Listen("tcp", address)
		switch {
		case err == nil:
			_ = open.Close()
			d.find(key, fine, address+" is free", "")
		case errors.Is(err, syscall.EADDRINUSE) && d.serves(ctx):
			d.find(key, fine, address+" is taken by the node that runs", "")
		default:
			d.find(key, wrongly, listenFault(address, err).Error(), "stop what has it, or choose another")
		}
	}
}

// serves reports whether a node answers at the admin listener.
func (d *doctor) serves(ctx context.Context) bool {
	if d.conf.AdminListen == "" {
		return false
	}
	status, text, err := d.get(ctx, "http://"+reachable(d.conf.AdminListen)+"/healthz", nil)
	return err == nil && status == http.StatusOK && strings.TrimSpace(text) == "ok"
}

func (d *doctor) get(ctx context.Context, url string, body []byte) (status int, text string, err error) {
	ctx, cancel := context.WithTimeout(ctx, probeWait)
	defer cancel()
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	all, err := io.ReadAll(io.LimitReader(answer.Body, mostAnswer))
	return answer.StatusCode, string(all), err
}

func (d *doctor) certificates() {
	c := d.conf
	switch {
	case len(c.ACME.Domains) > 0:
		d.find("certificate", fine, fmt.Sprintf("by ACME for %s; kept in %s", strings.Join(c.ACME.Domains, ", "), c.ACME.folder(c)), "")
		return
	case c.TLSCert == "":
		return
	}
	pair, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
	if err != nil {
		d.find("certificate", wrongly, err.Error(), "give a PEM chain in tls.cert and its key in tls.key")
		return
	}
	left := time.Until(pair.Leaf.NotAfter)
	found := fmt.Sprintf("for %s until %s", strings.Join(pair.Leaf.DNSNames, ", "), pair.Leaf.NotAfter.UTC().Format(time.DateOnly))
	switch {
	case left <= 0:
		d.find("certificate", wrongly, found, "it has ended: replace the files, a running node takes the new ones within 10 s")
	case left < certificateSoon:
		d.find("certificate", doubtful, found, "renew it: a running node takes new files within 10 s")
	default:
		d.find("certificate", fine, found, "")
	}
	if info, err := os.Stat(c.TLSKey); err == nil && info.Mode().Perm()&0o004 != 0 {
		d.find("certificate", doubtful, c.TLSKey+" can be read by everybody on this machine", "chmod 600 it, owned by the user who runs gobelin")
	}
}

// proxies asks the endpoint as clients do, through whatever is in front of it.
func (d *doctor) proxies(ctx context.Context) {
	if u, err := url.Parse(d.url); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		d.find("endpoint", wrongly, fmt.Sprintf("%q is not a URL such as https://live.example.com/faye", clip(d.url)), "write --url as clients have it")
		return
	}
	_, found, err := d.handshake(ctx)
	if err != nil {
		d.find("endpoint", wrongly, words(err), "see that the node runs, and that the proxy sends this path to it")
		return
	}
	d.find("endpoint", fine, found, "")
	d.socket(ctx)
	d.streaming(ctx)
	d.held(ctx)
}

// handshake makes a session by long-polling and returns its id.
func (d *doctor) handshake(ctx context.Context) (id, found string, err error) {
	begun := time.Now()
	status, text, err := d.get(ctx, d.url, []byte(`[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling","eventsource","websocket"]}]`))
	if err != nil {
		return "", "", err
	}
	var replies []struct {
		Successful bool
		ClientID   string `json:"clientId"`
		Error      string
	}
	if json.Unmarshal([]byte(text), &replies) != nil || len(replies) != 1 {
		return "", "", fmt.Errorf("%s answered %d and no Bayeux", d.url, status)
	}
	if !replies[0].Successful {
		return "", "", fmt.Errorf("%s refused a handshake: %s", d.url, printable(clip(replies[0].Error)))
	}
	return replies[0].ClientID, "a handshake takes " + showMicros(time.Since(begun).Microseconds()), nil
}

// socket looks whether WebSockets come through.
func (d *doctor) socket(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, probeWait)
	defer cancel()
	var once sync.Once
	var first error // it would try again
	c, err := client.New(client.Options{URL: d.url, Transport: client.WebSocket, OnState: func(_ client.State, err error) {
		if err != nil {
			once.Do(func() { first = err; cancel() })
		}
	}})
	if err == nil {
		err = c.Connect(ctx)
		_ = c.Close(ctx)
		once.Do(func() {})
		err = errors.Join(first, err)
	}
	if err != nil {
		d.find("websocket", wrongly, words(err), "let the proxy pass upgrades: proxy_http_version 1.1 and the headers Upgrade and Connection in nginx; clients poll meanwhile")
		return
	}
	d.find("websocket", fine, "comes through", "")
}

// streaming looks whether the beginning of a stream comes before its end: where it does
// not, a proxy collects answers.
func (d *doctor) streaming(ctx context.Context) {
	id, _, err := d.handshake(ctx)
	if err != nil {
		d.find("buffering", unexamined, words(err), "")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, streamWait)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(d.url, "/")+"/"+id, nil)
	if err != nil {
		d.find("buffering", wrongly, err.Error(), "")
		return
	}
	r.Header.Set("Accept", "text/event-stream")
	answer, err := http.DefaultClient.Do(r)
	if err == nil {
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			d.find("buffering", unexamined, fmt.Sprintf("EventSource is answered %d here: is it among bayeux.transports?", answer.StatusCode), "")
			return
		}
		_, err = io.ReadFull(answer.Body, make([]byte, len("retry:")))
	}
	if err != nil {
		d.find("buffering", wrongly, "the beginning of a stream does not arrive: something on the way collects answers until they end", "turn that off: proxy_buffering off in nginx, no compression or caching of this path")
		return
	}
	d.find("buffering", fine, "streams arrive as they are sent", "")
}

// held waits until a poll is answered, which nobody on the way may do earlier.
func (d *doctor) held(ctx context.Context) {
	if !d.hold {
		d.find("held polls", unexamined, "--hold was not given", "")
		return
	}
	id, _, err := d.handshake(ctx)
	if err != nil {
		d.find("held polls", unexamined, words(err), "")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, d.conf.Bayeux.Timeout+probeWait)
	defer cancel()
	m := newStopwatch(d.errs, "holding a poll")
	defer m.stop()
	status, text := 0, ""
	for range 2 { // the first connect is answered at once
		r, e := http.NewRequestWithContext(ctx, http.MethodPost, d.url, strings.NewReader(`[{"channel":"/meta/connect","clientId":"`+id+`","connectionType":"long-polling"}]`))
		if e != nil {
			return
		}
		r.Header.Set("Content-Type", "application/json")
		answer, e := http.DefaultClient.Do(r)
		if err = e; err != nil {
			break
		}
		all, e := io.ReadAll(io.LimitReader(answer.Body, mostAnswer))
		_ = answer.Body.Close()
		status, text, err = answer.StatusCode, string(all), e
	}
	took := time.Since(m.begun).Round(100 * time.Millisecond)
	if err != nil || status != http.StatusOK || !strings.Contains(text, `"successful":true`) {
		d.find("held polls", wrongly, fmt.Sprintf("cut after %v (status %d)", took, status), "let the proxy wait longer than bayeux.timeout (proxy_read_timeout in nginx, timeout server in HAProxy), or shorten that")
		return
	}
	d.find("held polls", fine, fmt.Sprintf("answered after %v", took), "")
}
