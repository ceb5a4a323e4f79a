package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// devFlags are those of dev beside the options.
type devFlags struct {
	path, data     string
	memory, noDemo bool
}

func newDevCommand() *cobra.Command {
	var f devFlags
	c := &cobra.Command{
		Use:   "dev",
		Short: "Run a broker to develop with: everything open, this machine only",
		Long: `Runs a broker for development: every channel is open to everybody and kept for 24
hours, there are no rate limits, and it listens to this machine only. What is
published is kept in .gobelin until you delete that folder. A page to play with
is at /try; it shows /demo/ticks, to which a message is published each second.`,
		Example: `  gobelin dev
  gobelin dev --memory --listen 127.0.0.1:9000
  gobelin dev --store redis://127.0.0.1:6379                           # two nodes
  gobelin dev --store redis://127.0.0.1:6379 --listen 127.0.0.1:8002   # on one store
  GOBELIN_BAYEUX_TIMEOUT=2s gobelin dev --no-demo --data /tmp/gobelin`,
		Args: cobra.NoArgs,
		RunE: work(func(c *cobra.Command, _ []string) error { return runDev(c, f, time.Now()) }),
	}
	flags := c.Flags()
	flags.StringVar(&f.path, "config", "", "configuration file, if any")
	flags.StringVar(&f.data, "data", "", "folder of what is kept, of the secrets alone with --store redis://… (default .gobelin)")
	flags.BoolVar(&f.memory, "memory", false, "keep nothing beyond the end")
	flags.BoolVar(&f.noDemo, "no-demo", false, "publish no ticks to /demo/ticks")
	addOptionFlags(flags, true, "listen", "store")
	c.MarkFlagsMutuallyExclusive("data", "memory")
	c.MarkFlagsMutuallyExclusive("memory", "store")
	return c
}

func runDev(c *cobra.Command, f devFlags, begun time.Time) error {
	flags := c.Flags()
	secrets, err := f.choose(flags)
	if err != nil {
		return usage{err}
	}
	conf, log, err := prepare(c, source{path: f.path, flags: flags, dev: true})
	if err != nil {
		return err
	}
	if secrets != "" {
		conf.secrets = secrets
	}
	for _, address := range []string{conf.Listen, conf.AdminListen} {
		if address != "" && !isLoopback(address) {
			return usage{fmt.Errorf("dev listens to this machine only, %s is not: use 127.0.0.1, or gobelin serve", address)}
		}
	}
	own := len(conf.Accounts) == 0
	ctx, stop := signals(c.Context())
	defer stop()
	n, err := openNode(ctx, conf, log, true)
	if err != nil {
		return err
	}
	var extra func(context.Context)
	if !f.noDemo {
		extra = newTicker(n.broker, n.store, log).beat
	}
	return n.run(ctx, func() { welcome(c.OutOrStdout(), n, own, time.Since(begun)) }, extra)
}

// choose sets the store by the flags that are short for one. With a Redis --data is
// only where the secrets are, which it returns.
func (f *devFlags) choose(flags *pflag.FlagSet) (secrets string, err error) {
	store, named := flags.Lookup("store").Value.String(), flags.Changed("store")
	switch {
	case f.data != "" && named && location(store).kind() == kindRedis:
		return f.data, nil
	case f.data != "" && named:
		return "", errors.New("--data and --store both name a store: one of them is enough")
	case f.data != "":
		return "", flags.Set("store", f.data)
	case f.memory:
		return "", flags.Set("store", string(inMemory))
	}
	return "", nil
}

// welcome prints what a newcomer needs, in at most six lines (experience.md §1).
func welcome(w io.Writer, n *node, own bool, took time.Duration) {
	c, url := n.config, n.url("public")
	busy := ""
	if _, asked, _ := net.SplitHostPort(c.Listen); asked != "0" && !strings.HasSuffix(url, ":"+asked) {
		busy = "; " + c.Listen + " was busy"
	}
	fmt.Fprintf(w, "client   %s%s   (ready in %d ms%s)\n", url, c.Mount, took.Milliseconds(), busy)
	admin := url
	if c.AdminListen != "" {
		admin = n.url("admin")
	}
	token := "   (with admin.token)" // whoever configured it has it, a terminal need not
	if c.at("admin.token").source == "" {
		token = "#token=" + c.AdminToken.Reveal()
	}
	fmt.Fprintf(w, "console  %s/console/%s\n", admin, token)
	fmt.Fprintf(w, "try it   %s/try\n", url)
	fmt.Fprintf(w, "publish  curl %s%s -H 'Content-Type: application/json' -d '{\"channel\":\"/demo/hello\",\"data\":{\"hello\":\"world\"}}'\n", url, c.Mount)
	if own {
		app := c.Accounts[0].Apps[0]
		fmt.Fprintf(w, "account  application %s, app_key %s, token_secret %s\n", app.Name, app.AppKey.Reveal(), app.TokenSecret.Reveal())
	}
	kept := "what is published and the secrets are kept in " + c.folder()
	switch c.Store.kind() {
	case kindMemory:
		kept = "nothing is kept and secrets are temporary"
	case kindRedis:
		kept = fmt.Sprintf("what is published is kept on %v, the secrets in %s", c.Store, c.folder())
	}
	fmt.Fprintf(w, "dev mode: loopback only, everything is open; %s\n", kept)
}
