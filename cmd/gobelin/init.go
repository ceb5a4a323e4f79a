package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

func newInitCommand() *cobra.Command {
	var app string
	c := &cobra.Command{
		Use:   "init [FILE]",
		Short: "Write a commented production configuration with new secrets",
		Long: `Writes gobelin.yaml (or FILE, "-" for standard output): every option with its
default and meaning, and newly made secrets. The file is readable by its owner
only. A file that is there is never overwritten.`,
		Example: `  gobelin init
  gobelin init /etc/gobelin/gobelin.yaml --app live`,
		Args: cobra.MaximumNArgs(1),
		RunE: work(func(c *cobra.Command, args []string) error {
			path := "gobelin.yaml"
			if len(args) == 1 {
				path = args[0]
			}
			if text := nameFault(app); text != "" {
				return usage{fmt.Errorf("--app %s", text)}
			}
			text := initialFile(app)
			if path == "-" {
				_, err := fmt.Fprint(c.OutOrStdout(), text)
				return err
			}
			if err := writeNew(path, text); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "wrote %s with new secrets (mode 0600)\nnext: gobelin check --config %s; gobelin serve --config %s\n", path, path, path)
			return nil
		}),
	}
	c.Flags().StringVar(&app, "app", "main", "name of the first application")
	return c
}

// writeNew writes a file that must not exist yet.
func writeNew(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists: it may hold secrets in use, so it is not overwritten", path)
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// initialFile returns a configuration: what has to be decided is written out,
// everything else stands in comments with its default.
func initialFile(app string) string {
	values := map[string]string{
		"listen":               "127.0.0.1:8000",
		"store":                "./data",
		"admin.token":          newSecret().Reveal(),
		"keys.identity_secret": newSecret().Reveal(),
		"keys.roots":           "\n  - {kid: 0, secret: " + newSecret().Reveal() + ", sign: true}",
		"accounts": "\n- apps:\n  - id: 1\n    name: " + app +
			"\n    app_key: " + newSecret().Reveal() + "       # HTTP Basic of your backend\n    token_secret: " + newSecret().Reveal() + "  # signs JWTs of users",
	}
	var b strings.Builder
	b.WriteString(`# Configuration of gobelin serve. Lines in comments show the defaults.
# Environment variables (GOBELIN_BAYEUX_TIMEOUT=30s) and flags (--bayeux.timeout 30s)
# win over this file. A secret may also be written as file:/path or env:NAME.
# gobelin check tells what is wrong; this file holds secrets: keep it private.
`)
	section := ""
	for _, o := range options {
		parts := strings.Split(o.key, ".")
		indent := strings.Repeat("  ", len(parts)-1)
		value, written := values[o.key]
		mark := ""
		if !written {
			mark, value = "#", initialValue(o)
		}
		if head := strings.Join(parts[:len(parts)-1], "."); head != section || head == "" {
			b.WriteString("\n")
			openSections(&b, section, parts[:len(parts)-1])
			section = head
		}
		fmt.Fprintf(&b, "%s# %s\n", indent, o.doc)
		line := indent + mark + parts[len(parts)-1] + ":"
		if !strings.HasPrefix(value, "\n") {
			line += " "
		}
		b.WriteString(line + strings.ReplaceAll(value, "\n", "\n"+strings.TrimSuffix(indent, "  ")) + "\n")
	}
	return b.String()
}

// openSections writes the section headers that are not open yet.
func openSections(b *strings.Builder, open string, parts []string) {
	was := strings.Split(open, ".")
	for i, part := range parts {
		if i < len(was) && was[i] == part && strings.HasPrefix(open+".", strings.Join(parts[:i+1], ".")+".") {
			continue
		}
		fmt.Fprintf(b, "%s%s:\n", strings.Repeat("  ", i), part)
	}
}

// initialValue returns a default as YAML.
func initialValue(o *option) string {
	switch o.field(&config{}).(type) {
	case *[]string:
		if o.def == "" {
			return "[]"
		}
		return "[" + o.def + "]"
	case *[]openRule:
		return "[{pattern: /demo/**, publish: session, history: 24h}]"
	case *[]classConfig:
		return "{partner: {number: 6, catchup_max: 1h, period: 24h}}"
	case *map[string]kindAge:
		return "{all_json: 24h}"
	case *string:
		if o.def == "" {
			return `""`
		}
	}
	return o.def
}
