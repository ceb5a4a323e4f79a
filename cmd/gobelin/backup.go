package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/cmd/gobelin/archive"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
)

func newBackupCommand() *cobra.Command {
	var from control
	var folder string
	var asJSON bool
	c := &cobra.Command{
		Use:   "backup FILE",
		Short: "Back up the embedded store, while its node runs",
		Long: `Writes everything a folder keeps, as it is at one moment, into one FILE (a tar): by
the admin listener of the node that runs on it, which goes on meanwhile, or with
--folder from the folder of one that is stopped. The secrets made at first start go
along, since roots are worth nothing without them: keep the file private (it is made
with mode 0600). FILE is read again and its checksums are verified before it gets its
name; one that exists is never replaced. - is standard output.

A store on Redis is backed up by Redis's own means, or copied by gobelin copy.`,
		Example: `  gobelin backup gobelin-2026-03-01.tar --config /etc/gobelin/gobelin.yaml
  gobelin backup stopped.tar --folder ./data
  gobelin backup - --config gobelin.yaml | ssh vault 'cat > gobelin.tar'`,
		Args: cobra.ExactArgs(1),
		RunE: work(func(c *cobra.Command, args []string) error {
			ctx, stop := signals(c.Context())
			defer stop()
			make := func(w io.Writer, progress func(int)) error { return backupFolder(ctx, c, folder, w, progress) }
			if folder == "" {
				o, err := from.open(c.InOrStdin())
				if err != nil {
					return err
				}
				make = func(w io.Writer, progress func(int)) error { return backupNode(ctx, o, w, progress) }
			}
			if args[0] == "-" {
				return make(c.OutOrStdout(), nil)
			}
			begun := time.Now()
			m := startMeter(c.ErrOrStderr(), "backing up")
			end, err := writeArchive(args[0], func(w io.Writer) error { return make(w, m.add) })
			m.stop()
			if err != nil {
				return err
			}
			return report(c.OutOrStdout(), asJSON, "backed up", args[0], &end, time.Since(begun))
		}),
	}
	from.flags(c)
	c.Flags().StringVar(&folder, "folder", "", "the folder of a store whose node is stopped, instead of asking a node")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object at the end")
	for _, name := range []string{"config", "admin", "token"} {
		c.MarkFlagsMutuallyExclusive("folder", name)
	}
	return c
}

// backupNode has a node write an archive.
func backupNode(ctx context.Context, o *operator, w io.Writer, progress func(int)) error {
	answer, err := o.ask(ctx, http.MethodGet, backupPath)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.MultiWriter(w, hearing(progress)), answer.Body); err != nil {
		return fmt.Errorf("backup: it broke off: %w", err)
	}
	return nil
}

// backupFolder writes the archive of a folder that no node has open.
func backupFolder(ctx context.Context, c *cobra.Command, folder string, w io.Writer, progress func(int)) (err error) {
	if err := holdsStore(folder); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	conf, _, fs := load(source{dev: true})
	if err := fs.err(); err != nil {
		return err
	}
	log, err := newLogger("warn", conf.LogFormat, c.ErrOrStderr())
	if err != nil {
		return err
	}
	s, err := conf.openDisk(ctx, folder, log.WithOptions(zap.IncreaseLevel(zap.ErrorLevel)))
	if err != nil {
		return fmt.Errorf("%w (or leave --folder out: the node that runs there can be asked)", err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	_, err = conf.writeBackup(ctx, s, w, progress)
	return err
}

// hearing is a writer that tells of bytes.
type hearing func(int)

func (t hearing) Write(p []byte) (int, error) {
	if t != nil {
		t(len(p))
	}
	return len(p), nil
}

// writeArchive has an archive written beside path, reads it again, and gives it its name,
// which must be free.
func writeArchive(path string, write func(io.Writer) error) (end archive.End, err error) {
	if _, err := os.Lstat(path); err == nil {
		return end, fmt.Errorf("backup: %s exists and is not replaced: name another file", path)
	}
	part := path + ".part"
	f, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return end, fmt.Errorf("backup: %s exists: another backup is under way, or one was broken off: remove it then", part)
	}
	if err != nil {
		return end, fmt.Errorf("backup: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(part)) }()
	if err := errors.Join(write(f), f.Sync()); err != nil {
		return end, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return end, fmt.Errorf("backup: %w", err)
	}
	if _, end, err = archive.Read(f, archive.Nowhere, nil); err != nil {
		return end, err
	}
	if err := os.Link(part, path); err != nil { // unlike a rename it replaces nothing
		return end, fmt.Errorf("backup: %w", err)
	}
	return end, nil
}

// report says what was backed up or restored.
func report(w io.Writer, asJSON bool, done, where string, end *archive.End, took time.Duration) error {
	if asJSON {
		return printJSON(w, struct {
			Where   string           `json:"where"`
			Files   int              `json:"files"`
			Bytes   int64            `json:"bytes"`
			Content map[string]int64 `json:"content"`
			Seconds float64          `json:"seconds"`
		}{where, len(end.Files), end.Bytes(), end.Content, took.Seconds()})
	}
	_, err := fmt.Fprintf(w, "%s %s: %s in %s (%s), checksums verified, in %v\n", done, where, inWords(end.Content), count(len(end.Files), "file"), bytesInWords(end.Bytes()), took.Round(time.Millisecond))
	return err
}

// inWords says how much is in a store.
func inWords(content map[string]int64) string {
	var parts []string
	for _, what := range []string{"channels", "records", "rows", "points", "groups"} {
		if n := content[what]; n > 0 || what == "channels" || what == "records" {
			parts = append(parts, count(int(n), strings.TrimSuffix(what, "s")))
		}
	}
	return strings.Join(parts, ", ")
}
