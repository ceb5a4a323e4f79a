package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"time"
)

// maxAnswer bounds what is read of an answer.
const maxAnswer = 1 << 20

// refusal is an answer that no retry will change.
type refusal struct {
	Status int
	Text   string
}

func (r *refusal) Error() string { return fmt.Sprintf("publish: %d: %s", r.Status, r.Text) }

// publisher posts with the server key of an application.
type publisher struct {
	base, app, key string
	http           *http.Client
}

// message is one publication of a batch.
type message struct {
	Object  string `json:"object_id,omitempty"`
	Channel string `json:"channel"`
	Data    any    `json:"data"`
}

// score is the data of the example.
type score struct {
	Home int `json:"home"`
	Away int `json:"away"`
}

// call posts body until it is answered for good and decodes the answer into out.
// With an idempotency key the messages are stored once, however often they are sent.
func (p *publisher) call(ctx context.Context, path string, body any, idempotency string, out any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("publish: encode: %w", err)
	}
	for pause := 200 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		after, err := p.once(ctx, path, data, idempotency, out)
		var final *refusal
		if err == nil || errors.As(err, &final) || ctx.Err() != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "%v; again in %v\n", err, max(pause, after))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(max(pause, after)):
		}
	}
}

// once posts once; after is how long the broker wants to be left alone.
func (p *publisher) once(ctx context.Context, path string, body []byte, idempotency string, out any) (after time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.base+path, bytes.NewReader(body))
	if err != nil {
		return 0, &refusal{Text: err.Error()}
	}
	req.SetBasicAuth(p.app, p.key)
	req.Header.Set("Content-Type", "application/json")
	if idempotency != "" {
		req.Header.Set("Idempotency-Key", idempotency)
	}
	res, err := p.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return 0, err
	}
	switch res.StatusCode {
	case http.StatusOK, http.StatusCreated:
		return 0, json.Unmarshal(text, out)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		seconds, _ := strconv.Atoi(res.Header.Get("Retry-After"))
		return time.Duration(seconds) * time.Second, errors.New("publish: " + res.Status)
	}
	return 0, &refusal{Status: res.StatusCode, Text: string(text)}
}

// run makes an object and publishes to it: once, the same again, and a batch.
func run(ctx context.Context, p *publisher) error {
	var made struct {
		Object struct {
			Channel string `json:"realtime_channel"`
		} `json:"object"`
	}
	if err := p.call(ctx, "/v1/objects", map[string]string{"object_id": "show-7", "type": "live", "name": "Show 7"}, "", &made); err != nil {
		return err
	}
	fmt.Println("viewers subscribe to", made.Object.Channel+"/score")

	goal := message{Channel: "score", Data: score{Home: 1}}
	key := rand.Text()
	for _, when := range []string{"first time ", "second time"} {
		var one struct {
			ID   string `json:"id"`
			Time int64  `json:"time"`
		}
		if err := p.call(ctx, "/v1/objects/show-7/publish", goal, key, &one); err != nil {
			return err
		}
		fmt.Println(when, one.ID, time.UnixMilli(one.Time).UTC().Format(time.RFC3339Nano))
	}

	batch := map[string][]message{"messages": {
		{Object: "show-7", Channel: "score", Data: score{Home: 2}},
		{Object: "show-7", Channel: "ticker", Data: "Second goal"},
	}}
	var many struct {
		Results []struct {
			ID    string `json:"id"`
			Error string `json:"error"`
		} `json:"results"`
	}
	if err := p.call(ctx, "/v1/publish", batch, rand.Text(), &many); err != nil {
		return err
	}
	for _, r := range many.Results {
		fmt.Println("batch      ", r.ID, r.Error)
	}
	return nil
}

func main() {
	p := &publisher{base: "http://127.0.0.1:8000", app: os.Getenv("APP"), key: os.Getenv("KEY"), http: &http.Client{Timeout: 10 * time.Second}}
	if b := os.Getenv("BROKER"); b != "" {
		p.base = b
	}
	if p.app == "" || p.key == "" {
		fmt.Fprintln(os.Stderr, "APP and KEY must be an application name and its app_key")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, p); err != nil {
		fmt.Fprintln(os.Stderr, err)
		stop()
		os.Exit(1)
	}
}
