package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"time"
)

// platforms are those that are released, as GOOS/GOARCH.
const platforms = "linux/amd64,linux/arm64,darwin/amd64,darwin/arm64,windows/amd64,windows/arm64"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// run is the program: it says each file that it has written.
func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	r := release{out: out}
	flags.StringVar(&r.source, "source", ".", "folder of the repository")
	flags.StringVar(&r.target, "out", "dist", "folder for what is written")
	flags.StringVar(&r.version, "version", "", "version; without it git describe")
	flags.StringVar(&r.commit, "commit", "", "commit; without it git rev-parse")
	seconds := flags.String("time", os.Getenv("SOURCE_DATE_EPOCH"), "time of all that is written, in s since 1970; without it that of the commit")
	list := flags.String("platforms", platforms, "what to build for, as GOOS/GOARCH, with commas")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := r.complete(ctx, *seconds); err != nil {
		return err
	}
	for p := range strings.SplitSeq(*list, ",") {
		system, machine, ok := strings.Cut(p, "/")
		if !ok {
			return fmt.Errorf("platform %q: is not GOOS/GOARCH", p)
		}
		if err := r.pack(ctx, system, machine); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	return r.writeSums()
}

// complete asks git for what was not said.
func (r *release) complete(ctx context.Context, seconds string) error {
	ask := func(into *string, args ...string) error {
		if *into != "" {
			return nil
		}
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir = r.source
		said, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("git %s: %w: say -version, -commit and -time where there is no git", args[0], err)
		}
		*into = strings.TrimSpace(string(said))
		return nil
	}
	if err := ask(&r.version, "describe", "--tags", "--always", "--dirty"); err != nil {
		return err
	}
	if err := ask(&r.commit, "rev-parse", "HEAD"); err != nil {
		return err
	}
	if err := ask(&seconds, "log", "-1", "--format=%ct"); err != nil {
		return err
	}
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return fmt.Errorf("time %q: is not seconds since 1970", seconds)
	}
	r.time = time.Unix(n, 0).UTC()
	if strings.ContainsAny(r.version+r.commit, " /\\'\"") {
		return fmt.Errorf("version %q, commit %q: hold what no file name should", r.version, r.commit)
	}
	return nil
}
