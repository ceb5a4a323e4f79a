package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// healthWait bounds a look at the store by /readyz.
const healthWait = 2 * time.Second

func adminPath(path string) bool {
	return path == "/metrics" || path == "/healthz" || path == "/readyz" || consolePath(path) || operatorPath(path)
}

func consolePath(path string) bool { return path == "/console" || strings.HasPrefix(path, "/console/") }

// adminHandler serves metrics, health and, where the operator has a token, the console
// and what verbs ask of a node (experience.md §2, §4, §6). ready returns nil, or why the
// node should get no traffic.
func adminHandler(metrics, page, operator http.Handler, ready func(context.Context) error) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), healthWait)
		defer cancel()
		if err := ready(ctx); err != nil {
			answer(w, http.StatusServiceUnavailable, "not ready: "+err.Error())
			return
		}
		answer(w, http.StatusOK, "ready")
	})
	if page == nil || operator == nil {
		return inTime(mux)
	}
	mux.Handle("/admin/", operator)
	// The mux would clean paths; the console answers 404 to what is not its own.
	return inTime(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if consolePath(r.URL.Path) {
			page.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	}))
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprintln(w, text)
}

var (
	errStarting = errors.New("starting")
	errStopping = errors.New("stopping: clients are handed over")
)

// ready returns nil when the node should get traffic.
func (n *node) ready(ctx context.Context) error {
	switch phase(n.phase.Load()) {
	case phaseStarting:
		return errStarting
	case phaseStopping:
		return errStopping
	}
	return n.broker.Health(ctx)
}
