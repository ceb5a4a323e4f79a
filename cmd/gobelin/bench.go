package main

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux/bench"
	"github.com/spf13/cobra"
)

// benchFlags are what all scenarios take.
type benchFlags struct {
	to     connection
	o      bench.Options
	asJSON bool
}

func newBenchCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "bench SCENARIO",
		Short: "Measure a Bayeux server: rates, latency, memory, and what gets lost",
		Long: `Loads a server with many clients and counts what arrives. Any Bayeux server will
do: Gobelin, Faye, CometD. With --pid, on the server's machine, it also says what
CPU and memory the server's process tree took. CPU seconds per million and ratios
are the figures that hold; rates and latencies depend on the machine and on what
else it does. Pin both sides to cores of their own:

  taskset -c 0 gobelin dev --memory --no-demo &
  taskset -c 1 gobelin bench fanout --pid $!

Catchup and herd need a server with catch-up, publish --transport api one with
Gobelin's API; all else is plain Bayeux. The JSON is stable: members may be added,
none changes its name or meaning.

Latency is counted from when a message was to be sent (coordinated omission). The
exit code is 1 if anything was lost, came twice, out of order, or was refused.`,
		Example: `  gobelin bench fanout --subs 1000 --window 8
  gobelin bench --scenario idle --subs 10000 --pid 4711
  gobelin bench publish --conns 50 --inflight 32 --url http://127.0.0.1:8001/bayeux --json`,
		// The flags after --scenario are those of the scenario.
		DisableFlagParsing: true,
		RunE:               namedScenario,
	}
	c.AddCommand(newBenchFanout(), newBenchChannels(), newBenchLongPoll(), newBenchRooms(), newBenchPublish(),
		newBenchCatchUp(), newBenchHerd(), newBenchIdle(), newBenchStorm())
	return c
}

// namedScenario runs the scenario that --scenario names, which is the same as its verb.
func namedScenario(c *cobra.Command, args []string) error {
	for i, arg := range args {
		name, ok := strings.CutPrefix(arg, "--scenario=")
		rest := args[i+1:]
		if arg == "--scenario" && len(rest) > 0 {
			name, rest, ok = rest[0], rest[1:], true
		}
		if !ok {
			continue
		}
		verb, left, err := c.Find([]string{name})
		if err != nil || verb == c || len(left) > 0 {
			return fmt.Errorf("--scenario %s: %w", name, errScenario)
		}
		c.Root().SetArgs(slices.Concat(strings.Fields(c.CommandPath())[1:], []string{name}, args[:i], rest))
		return c.Root().ExecuteContext(c.Context())
	}
	if slices.Contains(args, "--help") || slices.Contains(args, "-h") {
		return c.Help()
	}
	return errScenario
}

var errScenario = fmt.Errorf("which scenario? one of %s", strings.Join(bench.Scenarios(), ", "))

// scenario makes a verb of one scenario; flags adds what is its own.
func scenario(name, short, long, example string, flags func(*cobra.Command, *bench.Options)) *cobra.Command {
	f := &benchFlags{o: bench.Options{Scenario: name}}
	c := &cobra.Command{
		Use: name, Short: short, Long: long, Example: example, Args: cobra.NoArgs,
		RunE: work(func(c *cobra.Command, _ []string) error { return f.run(c) }),
	}
	f.to.flags(c)
	c.Flags().IntVar(&f.o.PID, "pid", 0, "the server's process: its CPU and memory, with its descendants'")
	c.Flags().BoolVar(&f.asJSON, "json", false, "the report as JSON")
	c.Flags().StringVar(&f.o.Channel, "channel", "/bench", "what the names of the channels begin with")
	flags(c, &f.o)
	return c
}

func durationFlags(c *cobra.Command, o *bench.Options) {
	c.Flags().DurationVar(&o.Duration, "duration", 10*time.Second, "how long to measure")
	warmUpFlag(c, o)
}

func warmUpFlag(c *cobra.Command, o *bench.Options) {
	c.Flags().DurationVar(&o.WarmUp, "warm-up", time.Second, "how long to run before that")
}

// loopFlags say how one publishes to subscribers.
func loopFlags(c *cobra.Command, o *bench.Options, subs, window int) {
	c.Flags().IntVar(&o.Subs, "subs", subs, "subscribers of each channel")
	c.Flags().IntVar(&o.Window, "window", window, "messages under way at once in each channel")
	c.Flags().Float64Var(&o.Rate, "rate", 0, "messages per second over all channels, instead of a window")
	c.MarkFlagsMutuallyExclusive("window", "rate")
	sizeFlag(c, o)
	durationFlags(c, o)
}

// audienceFlags are of those who listen beside what is measured.
func audienceFlags(c *cobra.Command, o *bench.Options) {
	c.Flags().IntVar(&o.Subs, "subs", 100, "subscribers who listen all along")
	c.Flags().Float64Var(&o.Rate, "rate", 50, "messages per second that they hear")
	c.Flags().DurationVar(&o.Duration, "duration", 3*time.Second, "how long to listen before the others come")
	sizeFlag(c, o)
	warmUpFlag(c, o)
}

// pastFlags say who reads what past.
func pastFlags(c *cobra.Command, o *bench.Options, clients int) {
	c.Flags().IntVar(&o.Conns, "clients", clients, "sessions that catch up")
	c.Flags().IntVar(&o.Messages, "messages", 10000, "messages of the past")
	c.Flags().StringVar(&o.Since, "since", "1h", "interval to catch up")
}

func sizeFlag(c *cobra.Command, o *bench.Options) {
	c.Flags().IntVar(&o.Size, "size", 128, fmt.Sprintf("bytes of JSON in each message, at least %d", bench.MinSize))
}

func newBenchFanout() *cobra.Command {
	return scenario(bench.Fanout, "One publishes, all receive",
		`One session publishes to a channel that all others are subscribed to. --window
messages are under way at once, the next follows when one has reached everybody
(closed loop); or --rate messages a second, whatever comes of them (open loop).`,
		`  gobelin bench fanout --subs 1000 --window 1
  gobelin bench fanout --subs 1000 --rate 50 --transport long-polling`,
		func(c *cobra.Command, o *bench.Options) { loopFlags(c, o, 1000, 8) })
}

func newBenchChannels() *cobra.Command {
	return scenario(bench.Channels, "Fan-out in many channels at once",
		`As fanout, in --channels channels, each with --subs subscribers of its own.`,
		`  gobelin bench channels --channels 1000 --subs 10
  gobelin bench channels --channels 100 --subs 5 --rate 1000`,
		func(c *cobra.Command, o *bench.Options) {
			c.Flags().IntVar(&o.Channels, "channels", 1000, "channels")
			loopFlags(c, o, 10, 8)
		})
}

func newBenchLongPoll() *cobra.Command {
	return scenario(bench.LongPoll, "Fan-out to clients that poll",
		`As fanout, over long-polling.`,
		`  gobelin bench longpoll --subs 1000`,
		func(c *cobra.Command, o *bench.Options) { loopFlags(c, o, 1000, 1) })
}

func newBenchRooms() *cobra.Command {
	return scenario(bench.Rooms, "Many talk in rooms that they share: CometD's load test",
		`Every client is in --each of the --rooms and says, in batches, what all in a room
hear, itself included. --rate messages a second are published, whatever comes of
them. As it stands this is the load test of CometD: each message goes to about 100
clients, 100,000 deliveries a second.`,
		`  gobelin bench rooms --pid $(pgrep -x gobelin)
  gobelin bench rooms --clients 100 --rate 100 --transport long-polling`,
		func(c *cobra.Command, o *bench.Options) {
			c.Flags().IntVar(&o.Conns, "clients", 1000, "clients")
			c.Flags().IntVar(&o.Rooms, "rooms", 100, "rooms")
			c.Flags().IntVar(&o.Each, "each", 10, "rooms that one client is in")
			c.Flags().IntVar(&o.Batch, "batch", 10, "messages in one batch")
			c.Flags().Float64Var(&o.Rate, "rate", 1000, "messages published per second, over all clients")
			c.Flags().IntVar(&o.Size, "size", 50, fmt.Sprintf("bytes of JSON in each message, at least %d", bench.MinSize))
			durationFlags(c, o)
		})
}

func newBenchIdle() *cobra.Command {
	return scenario(bench.Idle, "Many sessions, nothing happens: what they cost",
		`Sets up sessions with one subscription each and waits. With --pid: the memory
of each.`,
		`  gobelin bench idle --subs 10000 --pid $(pgrep -f 'gobelin dev')`,
		func(c *cobra.Command, o *bench.Options) {
			c.Flags().IntVar(&o.Subs, "subs", 1000, "sessions")
			c.Flags().DurationVar(&o.Duration, "duration", 10*time.Second, "how long to wait")
		})
}

func newBenchPublish() *cobra.Command {
	return scenario(bench.Publish, "Many publish, nobody receives: acknowledgements",
		`Each session publishes to a channel of its own and keeps --inflight messages
waiting for their acknowledgement; over long-polling they are one request. With
--transport api there are no sessions: each request is a POST to /v1/publish with
--inflight messages. What an acknowledgement means is the server's affair: in
memory, or on disk.`,
		`  gobelin bench publish --conns 50 --inflight 32
  gobelin bench publish --conns 50 --inflight 1 --transport long-polling
  gobelin bench publish --conns 50 --inflight 100 --transport api`,
		func(c *cobra.Command, o *bench.Options) {
			c.Flags().IntVar(&o.Conns, "conns", 50, "sessions, or connections, that publish")
			c.Flags().IntVar(&o.InFlight, "inflight", 32, "messages of one that wait for an answer")
			c.Flags().Lookup("transport").Usage = "websocket, long-polling or api"
			sizeFlag(c, o)
			durationFlags(c, o)
		})
}

func newBenchCatchUp() *cobra.Command {
	return scenario(bench.CatchUp, "Many read the same past at once",
		`Publishes messages, then lets all clients subscribe to CHANNEL/catchup/SINCE in
the same moment, and measures until everybody has everything. A server without
catch-up is told from one with it, and is an error.`,
		`  gobelin bench catchup --clients 50 --messages 100000 --pid 4711`,
		func(c *cobra.Command, o *bench.Options) {
			pastFlags(c, o, 50)
			sizeFlag(c, o)
		})
}

func newBenchHerd() *cobra.Command {
	return scenario(bench.Herd, "Late joiners read the past while others listen",
		`As catchup, beside --subs others who hear --rate messages a second in the same
channel: how late, for --duration before the herd comes, and while it reads. A
server without catch-up is an error.`,
		`  gobelin bench herd --clients 1000 --messages 10000`,
		func(c *cobra.Command, o *bench.Options) {
			pastFlags(c, o, 1000)
			audienceFlags(c, o)
		})
}

func newBenchStorm() *cobra.Command {
	return scenario(bench.Storm, "All clients are cut off and come back at once",
		`Cuts the connections of all clients in the same moment; each comes back at once,
by the session that it had (--fresh: by a new one), and waits and tries again as
the server advises. Measures until all are back. What was said meanwhile must have
reached them; --subs others listen beside.`,
		`  gobelin bench storm --clients 5000 --pid 4711
  gobelin bench storm --clients 10000 --fresh`,
		func(c *cobra.Command, o *bench.Options) {
			c.Flags().IntVar(&o.Conns, "clients", 5000, "clients that are cut off")
			c.Flags().BoolVar(&o.Fresh, "fresh", false, "they shake hands anew instead of resuming")
			c.Flags().DurationVar(&o.Wait, "wait", 30*time.Second, "how long they are waited for")
			audienceFlags(c, o)
		})
}

// run measures and prints.
func (f *benchFlags) run(c *cobra.Command) error {
	o := f.o
	token, err := f.to.secret()
	if err != nil {
		return err
	}
	o.URL, o.Transport, o.Token = f.to.url, f.to.transport, token
	if o.Scenario == bench.LongPoll {
		o.Transport = bench.LongPolling
	}
	if o.Rate > 0 {
		o.Window = 0
	}
	if !f.asJSON && isTerminal(c.ErrOrStderr()) {
		o.Progress = func(p bench.Progress) { showProgress(c.ErrOrStderr(), p) }
		defer clearLine(c.ErrOrStderr())
	}
	// What the generator collects, the server cannot have: both often share a machine.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	ctx, stop := signals(c.Context())
	defer stop()
	report, err := bench.Run(ctx, o)
	switch {
	case errors.Is(err, bench.ErrOptions):
		return usage{err}
	case err != nil:
		return err
	}
	if o.Progress != nil {
		clearLine(c.ErrOrStderr())
	}
	if err := printReport(c.OutOrStdout(), report, f.asJSON); err != nil {
		return err
	}
	return report.Err()
}

func showProgress(w io.Writer, p bench.Progress) {
	fmt.Fprintf(w, "\r\x1b[K%s  %v  %d sessions  %d messages  %.0f/s", p.Phase, p.Elapsed.Round(time.Second), p.Sessions, p.Count, p.PerSecond)
}

func clearLine(w io.Writer) { fmt.Fprint(w, "\r\x1b[K") }
