package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

func newCheckCommand() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "check",
		Short: "Validate a configuration and print what is open to whom",
		Long: `Reads the configuration as serve does (file, environment, flags), tells all that
is wrong with it at once, and prints what it opens to whom. Nothing is started.`,
		Example: `  gobelin check
  gobelin check --config /etc/gobelin/gobelin.yaml`,
		Args: cobra.NoArgs,
		RunE: work(func(c *cobra.Command, _ []string) error {
			conf, warnings, fs := load(source{path: path, flags: c.Flags()})
			for _, w := range warnings {
				fmt.Fprintln(c.ErrOrStderr(), "warning:", w)
			}
			for _, f := range fs {
				fmt.Fprintln(c.ErrOrStderr(), f)
			}
			if len(fs) > 0 {
				return fmt.Errorf("check: %s", count(len(fs), "fault"))
			}
			fmt.Fprintf(c.OutOrStdout(), "%s: no faults\n", path)
			printExposure(c.OutOrStdout(), conf)
			return nil
		}),
	}
	c.Flags().StringVar(&path, "config", "gobelin.yaml", "configuration file")
	addOptionFlags(c.Flags(), false, "listen", "store")
	return c
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// printExposure says in words what a configuration opens to whom.
func printExposure(w io.Writer, c *config) {
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "  %-9s", name)
		fmt.Fprintf(w, format+"\n", args...)
	}
	scheme := "plain HTTP: end TLS in front of it"
	if c.TLSCert != "" {
		scheme = "TLS"
	}
	row("public", "%s (%s), Bayeux at %s, backends at /v1 and /api", c.Listen, scheme, strings.Join(append([]string{c.Mount}, c.Mounts...), ", "))
	if c.AdminListen == "" {
		row("admin", "none: no metrics, no health")
	} else {
		row("admin", "%s: metrics, health and, with the token, the console, to whoever can reach it", c.AdminListen)
	}
	switch c.Store.kind() {
	case kindMemory:
		row("store", "memory: everything is gone at the end")
	case kindRedis:
		row("store", "%v (Redis, for several nodes; acknowledged: %s)", c.Store, acknowledged[c.Ack])
	default:
		row("store", "%s (embedded, fsync before each acknowledgement)", c.Store)
	}
	if len(c.Channels.Open) == 0 {
		row("open", "nothing without a signed root")
	}
	for _, o := range c.Channels.Open {
		row("open", "%s: anybody subscribes, %s; %s", o.Pattern, publishers[o.Publish], keeps(o))
	}
	if len(c.Origins) == 0 {
		row("origins", "pages of any http or https origin")
	} else {
		row("origins", "pages of %s", strings.Join(c.Origins, ", "))
	}
	for _, a := range c.apps() {
		row("app", "%s (id %d): its backend with app_key does everything; users by role of their token", a.Name, a.ID)
	}
	if len(c.Accounts) == 0 {
		row("app", "none: signed channels and /v1 cannot be used")
	}
	if c.Sandbox {
		row("sandbox", "weak secrets are taken: not for the public")
	}
}

// acknowledged says in words what durability.ack means on Redis.
var acknowledged = map[string]string{
	"": "the primary has it", ackStored: "the primary has it",
	ackReplica: "the primary and a replica have it", ackFsync: "the primary has it on its disk",
}

var publishers = map[string]string{
	"anyone":  "anybody publishes, without a session too",
	"session": "every client with a session publishes",
	"server":  "only backends publish",
}

func keeps(o openRule) string {
	if o.History == 0 {
		return "nothing is kept"
	}
	return "kept for " + showDuration(o.History)
}
