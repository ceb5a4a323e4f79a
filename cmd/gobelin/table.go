package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

func newConfigCommand() *cobra.Command {
	var path string
	var asJSON, dev bool
	c := &cobra.Command{
		Use:   "config [KEY…]",
		Short: "Every option: value, where it came from, default, unit, meaning",
		Long: `Lists every option with its value now and where that came from. Each can be
set in the file, by its environment variable and by a flag of its name:

  bayeux: {timeout: 30s}      in the file
  GOBELIN_BAYEUX_TIMEOUT=30s  in the environment
  --bayeux.timeout 30s        on the command line

Flags win over the environment, this over the file. A KEY selects options that
begin with it.`,
		Example: `  gobelin config
  gobelin config limits --config gobelin.yaml
  GOBELIN_BAYEUX_TIMEOUT=2s gobelin config bayeux.timeout`,
		RunE: work(func(c *cobra.Command, keys []string) error {
			conf, _, fs := load(source{path: path, flags: c.Flags(), dev: dev})
			rows, err := selectOptions(keys)
			if err != nil {
				return usage{err}
			}
			if asJSON {
				if err := printOptionsJSON(c.OutOrStdout(), conf, rows, dev); err != nil {
					return err
				}
			} else {
				printOptions(c.OutOrStdout(), conf, rows, dev)
			}
			return fs.err()
		}),
	}
	c.Flags().StringVar(&path, "config", "", "configuration file")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON array")
	c.Flags().BoolVar(&dev, "dev", false, "with the defaults of gobelin dev")
	addOptionFlags(c.Flags(), false)
	return c
}

// selectOptions returns the rows under the given keys, all without any.
func selectOptions(keys []string) ([]*option, error) {
	if len(keys) == 0 {
		return options, nil
	}
	var rows []*option
	for _, key := range keys {
		before := len(rows)
		for _, o := range options {
			if o.key == key || strings.HasPrefix(o.key, key+".") {
				rows = append(rows, o)
			}
		}
		if len(rows) == before {
			var all []string
			for _, o := range options {
				all = append(all, o.key)
			}
			return nil, fmt.Errorf("no option %q%s", key, suggestion(key, all))
		}
	}
	return rows, nil
}

func printOptions(w io.Writer, c *config, rows []*option, dev bool) {
	for _, o := range rows {
		value := showValue(o.field(c))
		if value == "" {
			value = `""`
		}
		fmt.Fprintf(w, "%s = %s", o.key, value)
		if from := c.at(o.key); from.source != "" {
			fmt.Fprintf(w, "   (%s; default %s)", from, orNothing(o.defaultText(dev)))
		}
		fmt.Fprintf(w, "\n    %s\n    %s", o.doc, o.env())
		if o.unit != "" {
			fmt.Fprintf(w, ", %s", o.unit)
		}
		if len(o.choices) > 0 {
			fmt.Fprintf(w, ": %s", strings.Join(o.choices, ", "))
		}
		if o.changes() != "" {
			fmt.Fprintf(w, "; SIGHUP changes %s", o.changes())
		}
		fmt.Fprintln(w)
	}
}

func orNothing(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

func printOptionsJSON(w io.Writer, c *config, rows []*option, dev bool) error {
	type row struct {
		Key     string   `json:"key"`
		Env     string   `json:"env"`
		Value   string   `json:"value"`
		From    string   `json:"from"`
		Default string   `json:"default"`
		Unit    string   `json:"unit,omitempty"`
		Choices []string `json:"choices,omitempty"`
		Live    string   `json:"live,omitempty"`
		Doc     string   `json:"doc"`
	}
	all := make([]row, len(rows))
	for i, o := range rows {
		all[i] = row{o.key, o.env(), showValue(o.field(c)), c.at(o.key).String(), o.defaultText(dev), o.unit, o.choices, o.changes(), o.doc}
	}
	return printJSON(w, all)
}

// printJSON writes what a verb's --json shows.
func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// markdownTable returns the table of README.
func markdownTable() string {
	var b strings.Builder
	b.WriteString("| Key | Default | In `dev` | SIGHUP changes | Unit | Meaning |\n| --- | --- | --- | --- | --- | --- |\n")
	code := func(text string) string {
		if text == "" {
			return ""
		}
		return "`" + text + "`"
	}
	for _, o := range options {
		dev := ""
		if o.dev != "" {
			dev = "none"
			if o.dev != "-" {
				dev = code(o.dev)
			}
		}
		unit := o.unit
		if unit == "" {
			unit = strings.Join(o.choices, ", ")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", o.key, code(o.def), dev, o.changes(), unit, strings.ReplaceAll(strings.ReplaceAll(o.doc, "<", "&lt;"), "|", "\\|"))
	}
	return b.String()
}
