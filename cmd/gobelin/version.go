package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version and commit are set by the linker (make build, make release).
var version, commit = "", ""

func newVersionCommand() *cobra.Command {
	var modules bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Version, commit, Go and modules",
		Example: `  gobelin version
  gobelin version --modules`,
		Args: cobra.NoArgs,
		RunE: work(func(c *cobra.Command, _ []string) error {
			printVersion(c.OutOrStdout(), modules)
			return nil
		}),
	}
	c.Flags().BoolVar(&modules, "modules", false, "list the modules it is built of")
	return c
}

// built returns the version, and the commit where it is known.
func built() (name, revision string) {
	name, revision = version, commit
	if info, ok := debug.ReadBuildInfo(); ok {
		if name == "" {
			name = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	if name == "" || name == "(devel)" {
		name = "development"
	}
	return name, revision
}

func printVersion(w io.Writer, modules bool) {
	name, revision := built()
	if revision != "" {
		revision = " commit " + revision
	}
	fmt.Fprintf(w, "gobelin %s%s %s %s/%s\n", name, revision, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	info, ok := debug.ReadBuildInfo()
	if !modules || !ok {
		return
	}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		fmt.Fprintf(w, "%s %s\n", m.Path, m.Version)
	}
}
