package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// completable makes shells complete what flags and arguments can be, for a command and
// all below it, and gives the verb completion its examples.
func completable(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	_ = eachVerb(root, func(c *cobra.Command) error {
		completeFlags(c)
		if c.HasParent() && c.Parent().Name() == "completion" {
			c.Example = completionExamples[c.Name()]
		}
		return nil
	})
	if c, _, err := root.Find([]string{"completion"}); err == nil {
		c.Example = "  gobelin completion bash > /etc/bash_completion.d/gobelin"
	}
	if c, _, err := root.Find([]string{"config"}); err == nil {
		c.ValidArgsFunction = func(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
			var keys []string
			for _, o := range options {
				if strings.HasPrefix(o.key, begun) {
					keys = append(keys, o.key+"\t"+o.def)
				}
			}
			return keys, cobra.ShellCompDirectiveNoFileComp
		}
	}
}

// completionExamples say where each shell looks.
var completionExamples = map[string]string{
	"bash":       "  gobelin completion bash > /etc/bash_completion.d/gobelin",
	"zsh":        "  gobelin completion zsh > /usr/local/share/zsh/site-functions/_gobelin",
	"fish":       "  gobelin completion fish > /etc/fish/completions/gobelin.fish",
	"powershell": "  gobelin completion powershell > gobelin.ps1",
}

// flagValues are what flags other than those of options can be.
var flagValues = map[string][]string{
	"role": roleNames, "class": {"view", "guest", "control", "ingest", "daily"}, "transport": {"websocket", "long-polling"},
	"graph": {"1\t6 hours", "2\t24 hours", "3\t7 days", "4\t30 days"},
}

func completeFlags(c *cobra.Command) {
	complete := func(name string, values []string) {
		if len(values) > 0 && c.Flags().Lookup(name) != nil {
			// It errs only for a flag that is not there, or twice.
			_ = c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
		}
	}
	for name, values := range flagValues {
		complete(name, values)
	}
	for _, o := range options {
		values := o.choices
		if o.unit == "bool" {
			values = []string{"true", "false"}
		}
		complete(o.key, values)
	}
}
