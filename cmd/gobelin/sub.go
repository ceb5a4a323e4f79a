package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux/client"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/spf13/cobra"
)

// interval is the grammar of catch-up (product.md §4).
var interval = regexp.MustCompile(`^[1-9][0-9]{0,6}[hmsn]$`)

func newSubCommand() *cobra.Command {
	var from connection
	var since string
	var whole bool
	var limit int
	var replay string
	c := &cobra.Command{
		Use:   "sub CHANNEL…",
		Short: "Print what is published, one JSON message a line",
		Long: `Subscribes and prints the data of each message on a line of its own until
interrupted. --since first prints the past and then joins the present, each
message once. It reconnects by itself and goes on where it was.`,
		Example: `  gobelin sub /demo/ticks --since 10m
  gobelin sub '/demo/**' --json
  gobelin sub /event/Order__e --replay -2
  gobelin sub /demo/ticks --since 1h --count 100 | jq .n`,
		Args: cobra.MinimumNArgs(1),
		RunE: work(func(c *cobra.Command, args []string) error {
			wanted, err := subscriptions(args, since)
			if err != nil {
				return usage{err}
			}
			id, err := replayID(replay, since)
			if err != nil {
				return usage{err}
			}
			if limit < 0 {
				return usage{errors.New("--count must be at least 0")}
			}
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			s := &listener{out: c.OutOrStdout(), errs: c.ErrOrStderr(), url: from.url, whole: whole, limit: limit, replay: id, enough: make(chan struct{})}
			if s.client, err = from.open(s.state); err != nil {
				return err
			}
			defer s.close()
			return s.run(ctx, wanted)
		}),
	}
	from.flags(c)
	c.Flags().StringVar(&since, "since", "", "first the past: 30s, 10m, 12h, or 50n for the last fifty")
	c.Flags().StringVar(&replay, "replay", "", "by replay id, as Salesforce's clients: -2 all that is kept, -1 only new, or the last id that was had")
	c.Flags().BoolVar(&whole, "json", false, "whole envelopes: channel, id, data, ext")
	c.Flags().IntVar(&limit, "count", 0, "end after so many messages; 0: never")
	return c
}

// subscriptions returns what to subscribe: with since, the catch-up of each
// channel before the channel, so that the past comes before the present.
func subscriptions(args []string, since string) ([]string, error) {
	if since != "" && !interval.MatchString(since) {
		return nil, fmt.Errorf("--since %q: write it as 30s, 10m or 12h, or 50n for the last fifty", clip(since))
	}
	var wanted []string
	for _, arg := range args {
		pattern, err := channels.ParsePattern(arg)
		if err != nil {
			return nil, fmt.Errorf("%q is not a channel or pattern such as /demo/ticks or '/demo/**'", clip(arg))
		}
		if since != "" && pattern.Wild() {
			return nil, fmt.Errorf("--since needs plain channels, %s is a pattern", arg)
		}
		if since != "" {
			wanted = append(wanted, arg+"/catchup/"+since)
		}
		wanted = append(wanted, arg)
	}
	return wanted, nil
}

// replayID reads --replay; nil: it was not given.
func replayID(text, since string) (*int64, error) {
	if text == "" {
		return nil, nil
	}
	if since != "" {
		return nil, errors.New("--replay and --since: give one of them")
	}
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < client.ReplayAll {
		return nil, fmt.Errorf("--replay %q: write -2, -1, or a replay id", clip(text))
	}
	return &id, nil
}

// listener prints messages.
type listener struct {
	client    *client.Client
	out, errs io.Writer
	url       string
	whole     bool
	limit     int
	replay    *int64        // nil: not by replay id
	enough    chan struct{} // closed at limit, or when nobody reads any more

	// owned by the client's dispatcher
	printed int

	mu sync.Mutex
	// guarded by mu
	broken error // what kept a message from being written
}

// run subscribes and waits for the end. Refusals end it; breaks do not.
func (s *listener) run(ctx context.Context, wanted []string) error {
	var subs []*client.Subscription
	for _, channel := range wanted {
		sub, err := s.subscribe(ctx, channel)
		if err != nil {
			if ctx.Err() != nil {
				return nil // interrupted before it was subscribed
			}
			return fmt.Errorf("%s: %w", channel, err)
		}
		subs = append(subs, sub)
	}
	lost := make(chan *client.Subscription, len(subs))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var waiting sync.WaitGroup
	defer waiting.Wait()
	defer cancel()
	for _, sub := range subs {
		waiting.Go(func() {
			select {
			case <-sub.Done():
				lost <- sub
			case <-ctx.Done():
			}
		})
	}
	select {
	case <-ctx.Done():
		return nil
	case <-s.enough:
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.broken
	case sub := <-lost:
		return fmt.Errorf("%s: %w", sub.Channel(), sub.Err())
	}
}

func (s *listener) subscribe(ctx context.Context, channel string) (*client.Subscription, error) {
	if s.replay != nil {
		return s.client.SubscribeFrom(ctx, channel, *s.replay, s.print)
	}
	return s.client.Subscribe(ctx, channel, s.print)
}

// print writes one message; it runs on the client's dispatcher.
func (s *listener) print(m client.Message) {
	if s.limit > 0 && s.printed >= s.limit {
		return
	}
	line, err := s.line(m)
	if err == nil {
		_, err = s.out.Write(line)
	}
	if err != nil {
		s.stop(fmt.Errorf("sub: message %s: %w", m.ID, err))
		return
	}
	s.printed++
	if s.limit > 0 && s.printed == s.limit {
		s.stop(nil)
	}
}

// line returns a message as one line: a publisher may have put line breaks
// between its tokens.
func (s *listener) line(m client.Message) ([]byte, error) {
	var line bytes.Buffer
	if s.whole {
		encoder := json.NewEncoder(&line)
		encoder.SetEscapeHTML(false)
		err := encoder.Encode(envelope{m.Channel, m.ID, m.Data, m.Ext})
		return line.Bytes(), err
	}
	err := json.Compact(&line, m.Data)
	line.WriteByte('\n')
	return line.Bytes(), err
}

// stop ends run; only the first call counts.
func (s *listener) stop(err error) {
	select {
	case <-s.enough:
		return
	default:
	}
	s.mu.Lock()
	s.broken = err
	s.mu.Unlock()
	close(s.enough)
}

// envelope is a message as --json prints it.
type envelope struct {
	Channel string          `json:"channel"`
	ID      string          `json:"id,omitempty"`
	Data    json.RawMessage `json:"data"`
	Ext     json.RawMessage `json:"ext,omitempty"`
}

// state says on standard error when the server is away.
func (s *listener) state(now client.State, err error) {
	if now == client.Waiting {
		fmt.Fprintf(s.errs, "gobelin: %s is away (%v): trying again\n", s.url, err)
	}
}

func (s *listener) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = s.client.Close(ctx) // the process ends either way
}
