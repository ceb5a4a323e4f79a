package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// Exit codes (experience.md §2).
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the program: it returns the exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	completable(root) // after the outputs, which the verb completion takes over
	command, err := root.ExecuteContextC(ctx)
	var f failure
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &f):
		if !f.silent {
			fmt.Fprintln(errs, "gobelin:", f.error)
		}
		return exitFailed
	}
	// Whatever is not a failure of a verb's own work is about how it was called.
	fmt.Fprintf(errs, "gobelin: %v\nTry '%s --help'.\n", err, command.CommandPath())
	return exitUsage
}

// failure marks an error of a verb's work, as opposed to one of its usage.
type failure struct {
	error
	silent bool // everything was said already
}

func (f failure) Unwrap() error { return f.error }

// usage is an error of a verb that is about how it was called.
type usage struct{ error }

// work wraps a verb so that its errors are failures, unless it says otherwise.
func work(do func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		err := do(c, args)
		var u usage
		var f failure
		switch {
		case err == nil, errors.As(err, &f):
			return err
		case errors.As(err, &u):
			return u.error
		}
		return failure{error: err}
	}
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "gobelin",
		Short: "A realtime broker that remembers",
		Long: `Gobelin is a realtime pub/sub broker that remembers: Faye and CometD clients
connect unmodified, a latecomer catches up by subscribing to
<channel>/catchup/12h, and channels are signed names.`,
		Example: `  gobelin dev                                  # try it: no file, no token
  gobelin sub /demo/ticks --since 10m          # in another terminal
  gobelin pub /demo/hello '{"hello":"world"}'
  gobelin init && gobelin check && gobelin serve --config gobelin.yaml`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(
		newDevCommand(), newServeCommand(),
		newInitCommand(), newCheckCommand(), newConfigCommand(),
		newPubCommand(), newSubCommand(),
		newRootsCommand(), newTokenCommand(), newSignCommand(), newStatsCommand(),
		newBenchCommand(),
		newCopyCommand(), newBackupCommand(), newRestoreCommand(),
		newTopCommand(), newDrainCommand(), newDoctorCommand(),
		newManCommand(), newVersionCommand(),
	)
	return root
}
