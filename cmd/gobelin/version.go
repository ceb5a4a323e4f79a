package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker (make build).
var version = ""

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
func built() (name, commit string) {
	name = version
	if info, ok := debug.ReadBuildInfo(); ok {
		if name == "" {
			name = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = s.Value
			}
		}
	}
	if name == "" || name == "(devel)" {
		name = "development"
	}
	return name, commit
}

func printVersion(w io.Writer, modules bool) {
	name, commit := built()
	if commit != "" {
		commit = " commit " + commit
	}
	fmt.Fprintf(w, "gobelin %s%s %s %s/%s\n", name, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
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
