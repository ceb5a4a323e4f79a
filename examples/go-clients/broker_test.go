package goclients

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// output keeps what a process says.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start runs a broker in which everything is open and returns its address, such as
// http://127.0.0.1:8000.
func start(t *testing.T) string {
	t.Helper()
	binary := os.Getenv("GOBELIN")
	if binary == "" {
		t.Fatal("GOBELIN must name the broker binary: GOBELIN=/path/to/gobelin go test ./...")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	said := new(output)
	p := exec.Command(binary, "dev", "--memory", "--no-demo", "--mounts", "/cometd", "--listen", addr)
	p.Stdout, p.Stderr = said, said
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Process.Signal(syscall.SIGTERM)
		_ = p.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	})
	url := "http://" + addr
	eventually(t, "the broker answers", func() bool {
		r, err := http.Post(url+"/faye", "application/json", bytes.NewReader([]byte("[]")))
		if err != nil {
			return false
		}
		return r.Body.Close() == nil && r.StatusCode == http.StatusOK
	})
	return url
}

// say publishes to a channel.
func say(t *testing.T, url, channel string, data any) {
	t.Helper()
	body, err := json.Marshal([]any{map[string]any{"channel": channel, "data": data}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.Post(url+"/faye", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var replies []struct {
		Successful bool   `json:"successful"`
		Error      string `json:"error"`
	}
	if err := json.NewDecoder(r.Body).Decode(&replies); err != nil || len(replies) != 1 || !replies[0].Successful {
		t.Fatalf("publish: %v %v", err, replies)
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("not in time: " + what)
		}
	}
}

func equal[T any](t *testing.T, what string, want, got T) {
	t.Helper()
	if fmt.Sprint(want) != fmt.Sprint(got) {
		t.Fatalf("%s: want %v, got %v", what, want, got)
	}
}
