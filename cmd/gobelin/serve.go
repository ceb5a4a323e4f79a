package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
)

func newServeCommand() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the broker in production",
		Long: `Runs the broker with a configuration file. Nothing is open unless that says so.
Prints one line, "ready" with its addresses, once it serves. SIGTERM and SIGINT
stop it gracefully within drain.time; a second one ends it at once. SIGHUP reads the
configuration again: secrets, keys, limits, origins and certificates change while it
runs (gobelin config says for each option), what else has changed is named and waits for
a restart. The roots of a key that is gone from keys.roots are refused from then on, on
every node. The files of tls.cert and tls.key are looked at every 10 s without a signal.
Every option is a flag, too: gobelin config lists them.`,
		Example: `  gobelin init && gobelin serve --config gobelin.yaml
  gobelin serve --config /etc/gobelin/gobelin.yaml --listen :8000
  GOBELIN_STORE=/var/lib/gobelin gobelin serve --config gobelin.yaml --log.level debug`,
		Args: cobra.NoArgs,
		RunE: work(func(c *cobra.Command, _ []string) error {
			from := source{path: path, flags: c.Flags()}
			conf, log, err := prepare(c, from)
			if err != nil {
				return err
			}
			ctx, stop := signals(c.Context())
			defer stop()
			n, err := openNode(ctx, conf, log, false)
			if err != nil {
				return err
			}
			return n.run(ctx, func() {
				admin := n.url("admin")
				if admin != "" {
					admin = " admin " + admin
				}
				fmt.Fprintf(c.OutOrStdout(), "ready %s%s%s store %s\n", n.url("public"), conf.Mount, admin, conf.Store.kind())
			}, func(ctx context.Context) { n.obey(ctx, from) })
		}),
	}
	c.Flags().StringVar(&path, "config", "", "configuration file (without it: defaults, environment, flags)")
	addOptionFlags(c.Flags(), false, "listen", "store", "admin.listen", "log.level")
	return c
}

// prepare reads a configuration and makes the logger; what is only doubtful is
// logged.
func prepare(c *cobra.Command, s source) (*config, *zap.Logger, error) {
	conf, warnings, fs := load(s)
	if len(fs) > 0 {
		return nil, nil, fmt.Errorf("configuration: %s\n%w", count(len(fs), "fault"), fs)
	}
	log, err := newLogger(conf.LogLevel, conf.LogFormat, c.ErrOrStderr())
	if err != nil {
		return nil, nil, err
	}
	for _, w := range warnings {
		log.Warn("configuration", zap.Stringer("at", w.at), zap.String("key", w.key), zap.String("warning", w.text))
	}
	return conf, log, nil
}

// signals returns a context that the first SIGTERM or SIGINT ends; the second ends
// the process.
func signals(parent context.Context) (ctx context.Context, stop func()) {
	ctx, stop = signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // from here on signals do what they do by default
	return ctx, stop
}
