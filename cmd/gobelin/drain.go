package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

func newDrainCommand() *cobra.Command {
	var to control
	var timeout time.Duration
	var asJSON bool
	c := &cobra.Command{
		Use:   "drain",
		Short: "Ask a node to hand its clients over and stop",
		Long: `Asks a running node to stop as by SIGTERM: it turns not ready, takes no new clients,
and hands those it has over, spread over its drain.time, so that they do not all come
to the other nodes at once. Waits until the node has ended and shows how far it is.
It is what a rolling restart or a preStop hook calls.`,
		Example: `  gobelin drain --config /etc/gobelin/gobelin.yaml
  GOBELIN_ADMIN_TOKEN=… gobelin drain --admin http://10.0.0.5:8001 --timeout 2m`,
		Args: cobra.NoArgs,
		RunE: work(func(c *cobra.Command, _ []string) error {
			o, err := to.open(c.InOrStdin())
			if err != nil {
				return err
			}
			ctx, stop := signals(c.Context())
			defer stop()
			ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("drain: the node has not ended within %v: it goes on by itself", timeout))
			defer cancel()
			begun := time.Now()
			last, err := drain(ctx, o, c.ErrOrStderr())
			if err != nil {
				return err
			}
			took := time.Since(begun).Round(time.Millisecond)
			if asJSON {
				return printJSON(c.OutOrStdout(), struct {
					HandedOver int64   `json:"handed_over"`
					Left       int64   `json:"left"`
					Seconds    float64 `json:"seconds"`
				}{last.Of - last.Clients, last.Clients, took.Seconds()})
			}
			fmt.Fprintf(c.OutOrStdout(), "drained: %s handed over, %d cut off, the node ended after %v\n", count(int(last.Of-last.Clients), "client"), last.Clients, took)
			return nil
		}),
	}
	to.flags(c)
	c.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "how long to wait for the node's end; longer than its drain.time")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object at the end")
	return c
}

// drain asks, follows, and waits until nothing listens any more.
func drain(ctx context.Context, o *operator, progress io.Writer) (last drainProgress, err error) {
	answer, err := o.ask(ctx, http.MethodPost, drainPath)
	if err != nil {
		return last, err
	}
	defer answer.Body.Close()
	live := isTerminal(progress)
	for lines := json.NewDecoder(answer.Body); last.Phase != "drained"; {
		if err := lines.Decode(&last); err != nil {
			if ctx.Err() != nil {
				return last, context.Cause(ctx)
			}
			return last, errors.New("drain: the node's answer broke off: did it crash, or somebody stop it harder?")
		}
		if live {
			fmt.Fprintf(progress, "\r\x1b[K%s  %d of %d clients left", last.Phase, last.Clients, last.Of)
		}
	}
	if live {
		clearLine(progress)
	}
	beat := time.NewTicker(50 * time.Millisecond)
	defer beat.Stop()
	for !o.gone(ctx) {
		select {
		case <-beat.C:
		case <-ctx.Done():
			return last, context.Cause(ctx)
		}
	}
	return last, nil
}
