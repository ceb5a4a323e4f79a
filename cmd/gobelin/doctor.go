package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
)

// doctorWait bounds what a doctor does beside holding a poll.
const doctorWait = 60 * time.Second

func newDoctorCommand() *cobra.Command {
	d := &doctor{}
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Look over the machine, the store and the proxies in front, and say what to do",
		Long: `Looks for what goes wrong in production: the limit on open files, ports, the disk's
space and how fast it is with fsync, a Redis's version, persistence, eviction and clock,
certificates, origins, and with --url what proxies on the way do to WebSockets, streams
and held polls. Each finding says what to do. The exit code is 1 if something is wrong;
what is only doubtful is no failure.`,
		Example: `  gobelin doctor --config /etc/gobelin/gobelin.yaml
  gobelin doctor --config gobelin.yaml --url https://live.example.com/faye --hold
  gobelin doctor --json | jq '.[] | select(.verdict != "ok")'`,
		Args: cobra.NoArgs,
		RunE: work(func(c *cobra.Command, _ []string) error {
			ctx, stop := signals(c.Context())
			defer stop()
			conf, warnings, fs := load(source{path: path, flags: c.Flags()})
			d.conf, d.errs = conf, c.ErrOrStderr()
			d.configuration(warnings, fs)
			d.examine(ctx)
			if asJSON {
				if err := printJSON(c.OutOrStdout(), d.findings); err != nil {
					return err
				}
			} else {
				d.print(c.OutOrStdout())
			}
			if n := d.count(wrongly); n > 0 {
				return failure{error: fmt.Errorf("doctor: %s wrong", count(n, "thing")), silent: asJSON}
			}
			return nil
		}),
	}
	c.Flags().StringVar(&path, "config", "", "configuration file (without it: defaults, environment, flags)")
	c.Flags().StringVar(&d.url, "url", "", "the Bayeux endpoint as clients reach it, to be probed through what is in front of it")
	c.Flags().BoolVar(&d.hold, "hold", false, "with --url: wait until a held poll is answered (bayeux.timeout), to see who cuts it")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON array")
	addOptionFlags(c.Flags(), false, "listen", "store")
	return c
}

// verdict is what a doctor thinks of a finding.
type verdict string

const (
	fine       verdict = "ok"
	doubtful   verdict = "doubtful"
	wrongly    verdict = "wrong"
	unexamined verdict = "skipped"
)

// finding is one thing that was looked at.
type finding struct {
	What    string  `json:"what"`
	Verdict verdict `json:"verdict"`
	Found   string  `json:"found"`
	Advice  string  `json:"advice,omitempty"` // what to do
}

// doctor looks things over.
type doctor struct {
	conf     *config
	url      string
	hold     bool
	errs     io.Writer
	findings []finding
}

// examine looks at everything but the configuration's own faults.
func (d *doctor) examine(parent context.Context) {
	ctx, cancel := context.WithTimeout(parent, doctorWait)
	defer cancel()
	d.files()
	d.ports(ctx)
	d.store(ctx)
	d.certificates()
	d.origins()
	if d.url == "" {
		d.find("proxies", unexamined, "no --url was given", "")
		return
	}
	d.proxies(parent)
}

func (d *doctor) find(what string, v verdict, found, advice string) {
	if v == fine {
		advice = ""
	}
	d.findings = append(d.findings, finding{what, v, found, advice})
}

func (d *doctor) count(v verdict) (n int) {
	for _, f := range d.findings {
		if f.Verdict == v {
			n++
		}
	}
	return n
}

// print writes what was found for people.
func (d *doctor) print(w io.Writer) {
	for _, f := range d.findings {
		fmt.Fprintf(w, "%-9s %-13s %s\n", f.Verdict, f.What, f.Found)
		if f.Advice != "" {
			fmt.Fprintf(w, "%-23s → %s\n", "", f.Advice)
		}
	}
	fmt.Fprintf(w, "%d ok, %d doubtful, %d wrong, %d skipped\n", d.count(fine), d.count(doubtful), d.count(wrongly), d.count(unexamined))
}

// configuration tells of its faults and warnings.
func (d *doctor) configuration(warnings, fs faults) {
	for _, f := range fs {
		d.find("configuration", wrongly, f.String(), "mend it: serve would not start; gobelin config says what each option takes")
	}
	for _, w := range warnings {
		d.find("configuration", doubtful, w.String(), "")
	}
	if len(warnings) == 0 && len(fs) == 0 {
		d.find("configuration", fine, "no faults", "")
	}
}

// Sockets a node should be able to hold, one for each client and some for itself.
const (
	leastFiles = 1024
	goodFiles  = 65_536
)

func (d *doctor) files() {
	n, ok := openFiles()
	advice := "raise it: LimitNOFILE=1048576 in the systemd unit, ulimits in a container, ulimit -n in a shell"
	found := fmt.Sprintf("%d open files and sockets are allowed: about as many clients", n)
	switch {
	case !ok:
		d.find("open files", unexamined, "this system has no limit", "")
	case n <= leastFiles:
		d.find("open files", wrongly, found, advice)
	case n < goodFiles:
		d.find("open files", doubtful, found, advice)
	default:
		d.find("open files", fine, found, "")
	}
}

func (d *doctor) origins() {
	c := d.conf
	if len(c.Origins) == 0 {
		d.find("origins", fine, "pages of any http or https origin may connect (there are no cookies to steal; signed roots and tokens decide)", "")
	} else {
		d.find("origins", fine, fmt.Sprintf("%s may connect", count(len(c.Origins), "origin")), "")
	}
	switch plain := c.TLSCert == "" && len(c.ACME.Domains) == 0; {
	case plain && len(c.TrustedProxies) == 0 && !c.Sandbox:
		d.find("addresses", doubtful, "plain HTTP, and no proxy is trusted",
			"where a proxy ends TLS in front of this node, name its address in trusted_proxies: otherwise all clients share one address and its limits")
	default:
		d.find("addresses", fine, fmt.Sprintf("%s trusted", count(len(c.TrustedProxies), "proxy")), "")
	}
}

// words returns an error's text on one line.
func words(err error) string {
	var list interface{ Unwrap() []error }
	if errors.As(err, &list) && len(list.Unwrap()) > 0 {
		return list.Unwrap()[0].Error()
	}
	return err.Error()
}
