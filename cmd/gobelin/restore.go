package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/gobelin-broker/gobelin/cmd/gobelin/archive"
	"github.com/gobelin-broker/gobelin/store/disk"
	"github.com/spf13/cobra"
)

func newRestoreCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "restore FILE FOLDER",
		Short: "Make a folder of a backup",
		Long: `Makes the FOLDER of an embedded store of what gobelin backup has written. FOLDER must
be new or empty: nothing is ever replaced. Checksums and counts are compared before the
folder gets its name, so it is there whole or not at all. - is standard input.

What was published after the backup is not in it. Clients who had that already may get
new messages under numbers (replay ids) that they have seen; stop the node that the
backup is of first, so that the two do not run at once.`,
		Example: `  gobelin restore gobelin-2026-03-01.tar ./data
  ssh vault 'cat gobelin.tar' | gobelin restore - /var/lib/gobelin`,
		Args: cobra.ExactArgs(2),
		RunE: work(func(c *cobra.Command, args []string) error {
			ctx, stop := signals(c.Context())
			defer stop()
			in := c.InOrStdin()
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return fmt.Errorf("restore: %w", err)
				}
				defer f.Close()
				in = f
			}
			begun := time.Now()
			m := startMeter(c.ErrOrStderr(), "restoring")
			end, err := restore(ctx, in, args[1], m.add)
			m.stop()
			if err != nil {
				return err
			}
			return report(c.OutOrStdout(), asJSON, "restored", args[1], &end, time.Since(begun))
		}),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object at the end")
	return c
}

// restore makes the folder beside its place, looks it over, and moves it there.
func restore(ctx context.Context, in io.Reader, folder string, progress func(int)) (end archive.End, err error) {
	if err := mayRestore(folder); err != nil {
		return end, err
	}
	folder = filepath.Clean(folder)
	made, err := os.MkdirTemp(filepath.Dir(folder), filepath.Base(folder)+".restoring-")
	if err != nil {
		return end, fmt.Errorf("restore: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(made))
		}
	}()
	if _, end, err = archive.Read(&ctxReader{ctx, in}, archive.In(made), progress); err != nil {
		return end, fmt.Errorf("restore: %w", err)
	}
	content, err := disk.Count(ctx, made)
	if err != nil {
		return end, fmt.Errorf("restore: %w", err)
	}
	if !maps.Equal(content, end.Content) {
		return end, fmt.Errorf("restore: the folder holds %s, the backup had %s", inWords(content), inWords(end.Content))
	}
	if err := syncFolder(made); err != nil {
		return end, fmt.Errorf("restore: %w", err)
	}
	// An empty folder may be in the place; one that is not is not removed.
	if err := os.Remove(folder); err != nil && !errors.Is(err, os.ErrNotExist) {
		return end, fmt.Errorf("restore: %w", err)
	}
	if err := os.Rename(made, folder); err != nil {
		return end, fmt.Errorf("restore: %w", err)
	}
	return end, syncFolder(filepath.Dir(folder))
}

// mayRestore refuses a folder with something in it.
func mayRestore(folder string) error {
	entries, err := os.ReadDir(folder)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("restore: %w", err)
	case len(entries) > 0:
		return fmt.Errorf("restore: %s is not empty and nothing in it is replaced: name a new folder, or move that one away", folder)
	}
	return nil
}

// ctxReader ends with a context.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
