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
	var modules, asJSON bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Version, commit, Go and modules",
		Example: `  gobelin version
  gobelin version --modules --json`,
		Args: cobra.NoArgs,
		RunE: work(func(c *cobra.Command, _ []string) error {
			b := readBuild(modules)
			if asJSON {
				return printJSON(c.OutOrStdout(), b)
			}
			b.print(c.OutOrStdout())
			return nil
		}),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
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

// build is what is known of the program.
type build struct {
	Version  string   `json:"version"`
	Commit   string   `json:"commit,omitempty"`
	Go       string   `json:"go"`
	Platform string   `json:"platform"`
	Modules  []module `json:"modules,omitempty"`
}

type module struct {
	Path    string `json:"path"`
	Version string `json:"version"`
}

// readBuild asks the program itself; the modules only if they are wanted.
func readBuild(modules bool) build {
	b := build{Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	b.Version, b.Commit = built()
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		if modules {
			b.Modules = append(b.Modules, module{m.Path, m.Version})
		}
	}
	return b
}

func (b *build) print(w io.Writer) {
	commit := ""
	if b.Commit != "" {
		commit = " commit " + b.Commit
	}
	fmt.Fprintf(w, "gobelin %s%s %s %s\n", b.Version, commit, b.Go, b.Platform)
	for _, m := range b.Modules {
		fmt.Fprintf(w, "%s %s\n", m.Path, m.Version)
	}
}
