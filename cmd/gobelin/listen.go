package main

import (
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// Bounds of security.md §3: slow headers, idle connections and large headers
// must not hold memory.
const (
	headerTime = 5 * time.Second
	bodyTime   = 15 * time.Second
	idleTime   = 75 * time.Second
	headerSize = 16 << 10
	// nextPorts is how many ports dev tries when its own is taken.
	nextPorts = 100
)

// newHTTPServer returns a server with the bounds. It has no write deadline: a
// held poll may take as long as it takes, its handler sets its own. panicked hears of
// requests that end in a panic which no handler has recovered.
func newHTTPServer(h http.Handler, log *zap.Logger, panicked func()) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: headerSize,
		ErrorLog: stdlog.New(newComplaints(log.Named("http"), panicked), "", 0), DisableGeneralOptionsHandler: true, Protocols: http1(),
	}
}

// inTime bounds how long a body may take to arrive, also one that h does not read:
// net/http waits for the rest of it before it answers. Handlers that bound it themselves
// (Bayeux, the API) need none of this. Once a body has arrived net/http lifts it.
func inTime(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 { // without a body the deadline would end the request itself
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime)) // recorders of tests have none
		}
		h.ServeHTTP(w, r)
	})
}

// http1 leaves HTTP/2 out.
func http1() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	return p
}

// listen opens a listener. With next, a port that is taken makes it try the ones
// after.
func listen(address string, next bool) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err == nil || !next || !errors.Is(err, syscall.EADDRINUSE) {
		return l, listenFault(address, err)
	}
	host, text, _ := net.SplitHostPort(address)
	port, e := strconv.Atoi(text)
	if e != nil {
		return nil, listenFault(address, err)
	}
	for p := port + 1; p <= min(port+nextPorts, 65535); p++ {
		l, e := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(p)))
		if e == nil {
			return l, nil
		}
		if !errors.Is(e, syscall.EADDRINUSE) {
			return nil, listenFault(address, e)
		}
	}
	return nil, listenFault(address, err)
}

func listenFault(address string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listen: %s is in use by another program: stop that, or choose another port", address)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("listen: %s: not allowed: ports below 1024 need a privilege (CAP_NET_BIND_SERVICE)", address)
	}
	return fmt.Errorf("listen: %w", err)
}

// isLoopback reports whether an address reaches this machine only.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
