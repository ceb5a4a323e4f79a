package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func newCheckCommand() *cobra.Command {
	var path string
	var offline, asJSON bool
	c := &cobra.Command{
		Use:   "check",
		Short: "Validate a configuration and print what is open to whom",
		Long: `Reads the configuration as serve does (file, environment, flags), tells all that
is wrong with it at once, and prints what it opens to whom. Nothing is started. A
store on Redis is looked over as at a start, unless --offline.`,
		Example: `  gobelin check
  gobelin check --config /etc/gobelin/gobelin.yaml`,
		Args: cobra.NoArgs,
		RunE: work(func(c *cobra.Command, _ []string) error {
			conf, warnings, fs := load(source{path: path, flags: c.Flags()})
			if asJSON && len(fs) > 0 {
				err := printJSON(c.OutOrStdout(), checked{path, fs.rows(), warnings.rows(), nil})
				return errors.Join(err, failure{error: errors.New("check: there are faults"), silent: true})
			}
			for _, w := range warnings {
				fmt.Fprintln(c.ErrOrStderr(), "warning:", w)
			}
			for _, f := range fs {
				fmt.Fprintln(c.ErrOrStderr(), f)
			}
			if len(fs) > 0 {
				return fmt.Errorf("check: %s", count(len(fs), "fault"))
			}
			found := ""
			if conf.Store.kind() == kindRedis && !offline {
				log, err := newLogger("warn", conf.LogFormat, c.ErrOrStderr())
				if err != nil {
					return err
				}
				ctx, cancel := context.WithTimeout(c.Context(), checkWait)
				defer cancel()
				if found, err = conf.aboutRedis(ctx, log); err != nil {
					return fmt.Errorf("check: %v: %w", conf.Store, err)
				}
			}
			exposed := exposure(conf)
			if found != "" {
				exposed = append(exposed, exposedRow{"found", found})
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), checked{path, fs.rows(), warnings.rows(), exposed})
			}
			fmt.Fprintf(c.OutOrStdout(), "%s: no faults\n", path)
			for _, row := range exposed {
				fmt.Fprintf(c.OutOrStdout(), "  %-9s%s\n", row.What, row.Words)
			}
			return nil
		}),
	}
	c.Flags().StringVar(&path, "config", "gobelin.yaml", "configuration file")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	c.Flags().BoolVar(&offline, "offline", false, "do not ask a store on Redis")
	addOptionFlags(c.Flags(), false, "listen", "store")
	return c
}

// checkWait bounds a look at a Redis.
const checkWait = 15 * time.Second

func count(n int, what string) string {
	switch {
	case n == 1:
		return "1 " + what
	case strings.HasSuffix(what, "y"):
		return fmt.Sprintf("%d %sies", n, strings.TrimSuffix(what, "y"))
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// checked is what --json shows.
type checked struct {
	File     string       `json:"file"`
	Faults   []faultRow   `json:"faults"`
	Warnings []faultRow   `json:"warnings"`
	Open     []exposedRow `json:"open,omitempty"`
}

// exposedRow says in words what is open to whom.
type exposedRow struct {
	What  string `json:"what"`
	Words string `json:"words"`
}

// exposure says what a configuration opens to whom.
func exposure(c *config) (rows []exposedRow) {
	row := func(name, format string, args ...any) {
		rows = append(rows, exposedRow{name, fmt.Sprintf(format, args...)})
	}
	scheme := "plain HTTP: end TLS in front of it"
	if c.TLSCert != "" {
		scheme = "TLS"
	} else if len(c.ACME.Domains) > 0 {
		scheme = "TLS, certificates by ACME for " + strings.Join(c.ACME.Domains, ", ")
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
		row("sandbox", "weak secrets are taken, and anybody is given a token: not for the public")
	}
	return rows
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
