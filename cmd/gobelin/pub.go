package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux/client"
	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/spf13/cobra"
)

// connection are the flags of verbs that talk to a server.
type connection struct {
	url, transport string
	Token          broker.Secret // itself or where it is; exported, as fmt shows other fields raw
}

func (k *connection) flags(c *cobra.Command) {
	url := os.Getenv("GOBELIN_URL")
	if url == "" {
		url = "http://127.0.0.1:8000/faye"
	}
	c.Flags().StringVar(&k.url, "url", url, "the Bayeux endpoint ($GOBELIN_URL)")
	c.Flags().StringVar((*string)(&k.Token), "token", "", "a token, as text, file:… or env:… ($GOBELIN_TOKEN)")
	c.Flags().StringVar(&k.transport, "transport", client.WebSocket, "websocket or long-polling")
}

// open returns a client; it connects when first used.
func (k *connection) open(onState func(client.State, error)) (*client.Client, error) {
	token, err := k.secret()
	if err != nil {
		return nil, err
	}
	c, err := client.New(client.Options{URL: k.url, Token: token, Transport: k.transport, OnState: onState})
	if err != nil {
		return nil, usage{err}
	}
	return c, nil
}

// secret returns the token itself; "" is none.
func (k *connection) secret() (broker.Secret, error) {
	token := k.Token.Reveal()
	if token == "" {
		token = os.Getenv("GOBELIN_TOKEN")
	}
	if token == "" {
		return "", nil
	}
	secret, err := readSecret(token)
	if err != nil {
		return "", usage{fmt.Errorf("--token %w", err)}
	}
	return secret, nil
}

func newPubCommand() *cobra.Command {
	var to connection
	var timeout time.Duration
	var asJSON bool
	c := &cobra.Command{
		Use:   "pub CHANNEL [JSON]",
		Short: "Publish one message, or one per line of standard input",
		Long: `Publishes JSON and waits until the server has it for good; prints the message's
id, one a line. Without JSON each line of standard input is one message.`,
		Example: `  gobelin pub /demo/hello '{"hello":"world"}'
  seq 1 100 | gobelin pub /demo/numbers --json
  gobelin pub /01807c…/chat '{"text":"hi"}' --url https://live.example.com/faye --token env:TOKEN`,
		Args: cobra.RangeArgs(1, 2),
		RunE: work(func(c *cobra.Command, args []string) error {
			if _, err := channels.Parse(args[0]); err != nil {
				return usage{fmt.Errorf("%q is not a channel such as /demo/hello", clip(args[0]))}
			}
			if len(args) == 2 && !json.Valid([]byte(args[1])) {
				return usage{fmt.Errorf("%q is not JSON; a text needs quotes of its own: '\"text\"'", clip(args[1]))}
			}
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			var err error
			p := &publisher{channel: args[0], timeout: timeout, out: c.OutOrStdout(), url: to.url, asJSON: asJSON}
			if p.client, err = to.open(p.state); err != nil {
				return err
			}
			defer p.close()
			if err := p.connect(ctx); err != nil {
				return err
			}
			if len(args) == 2 {
				return p.publish(ctx, []byte(args[1]))
			}
			return p.lines(ctx, c.InOrStdin())
		}),
	}
	to.flags(c)
	c.Flags().DurationVar(&timeout, "timeout", 10*time.Second, "how long to wait for the acknowledgement")
	c.Flags().BoolVar(&asJSON, "json", false, "a JSON object with channel and id for each message")
	return c
}

// publisher publishes to one channel.
type publisher struct {
	client  *client.Client
	channel string
	timeout time.Duration
	out     io.Writer
	url     string
	asJSON  bool

	mu sync.Mutex
	// guarded by mu
	away error // why the last attempt to connect failed
}

func (p *publisher) state(now client.State, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now == client.Waiting && err != nil {
		p.away = err
	}
}

// connect waits for the server, so that one that is not there is not taken for
// one that does not answer.
func (p *publisher) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	err := p.client.Connect(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.away != nil {
		err = p.away
	}
	return fmt.Errorf("%s cannot be reached within %v: %w", p.url, p.timeout, err)
}

// publish publishes one message and prints its id.
func (p *publisher) publish(ctx context.Context, data []byte) error {
	ctx, cancel := context.WithTimeoutCause(ctx, p.timeout, fmt.Errorf("%s did not acknowledge within %v: whether it has the message is unknown", p.url, p.timeout))
	defer cancel()
	ack, err := p.client.Publish(ctx, p.channel, json.RawMessage(data))
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && errors.Is(err, ctx.Err()) {
			return cause
		}
		return err
	}
	if p.asJSON {
		return json.NewEncoder(p.out).Encode(struct {
			Channel string `json:"channel"`
			ID      string `json:"id"`
		}{p.channel, messageID(ack)})
	}
	_, err = fmt.Fprintln(p.out, messageID(ack))
	return err
}

// messageID returns the id under which the message is known to subscribers; of a
// server that does not say it, the one of the request.
func messageID(ack client.Ack) string {
	var ext struct {
		History struct {
			ID string `json:"id"`
		} `json:"history"`
	}
	if json.Unmarshal(ack.Ext, &ext) == nil && ext.History.ID != "" {
		return ext.History.ID
	}
	return ack.ID
}

// maxLine bounds a line of standard input; the server's limit is its own.
const maxLine = 16 << 20

// lines publishes every line that is not empty, and stops at the first error.
func (p *publisher) lines(ctx context.Context, in io.Reader) error {
	scanner := bufio.NewScanner(in)
	scanner.Buffer(make([]byte, 0, 64<<10), maxLine)
	for n := 1; scanner.Scan(); n++ {
		line := strings.TrimSpace(scanner.Text())
		if line == "" {
			continue
		}
		if !json.Valid([]byte(line)) {
			return fmt.Errorf("line %d is not JSON", n)
		}
		if err := p.publish(ctx, []byte(line)); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return scanner.Err()
}

func (p *publisher) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = p.client.Close(ctx) // the process ends either way
}
