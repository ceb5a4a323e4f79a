package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newManCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "man FOLDER",
		Short: "Write the manual pages",
		Long: `Writes a manual page for each verb into FOLDER, as man(1) shows them:
gobelin.1, gobelin-serve.1 and so on. A page that is there is written anew.`,
		Example: `  gobelin man /usr/local/share/man/man1
  gobelin man . && man ./gobelin-serve.1`,
		Args: cobra.ExactArgs(1),
		RunE: work(func(c *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("man: %w", err)
			}
			n := 0
			err := eachVerb(c.Root(), func(verb *cobra.Command) error {
				n++
				name := strings.ReplaceAll(verb.CommandPath(), " ", "-") + ".1"
				return os.WriteFile(filepath.Join(args[0], name), []byte(manPage(verb)), 0o644)
			})
			if err != nil {
				return fmt.Errorf("man: %w", err)
			}
			fmt.Fprintf(c.OutOrStdout(), "%s in %s\n", count(n, "page"), args[0])
			return nil
		}),
	}
}

// eachVerb calls do for a command and all below it, in order, until it errs.
func eachVerb(c *cobra.Command, do func(*cobra.Command) error) error {
	if err := do(c); err != nil {
		return err
	}
	for _, verb := range c.Commands() {
		if verb.Hidden || verb.Name() == "help" {
			continue
		}
		if err := eachVerb(verb, do); err != nil {
			return err
		}
	}
	return nil
}

// manPage is the page of a verb in the language of man(7). It holds no date, so that a
// build makes the same again.
func manPage(c *cobra.Command) string {
	var b strings.Builder
	version, _ := built()
	dashed := strings.ReplaceAll(c.CommandPath(), " ", "-")
	fmt.Fprintf(&b, ".TH %s 1 \"\" %s gobelin\n", quoteRoff(strings.ToUpper(dashed)), quoteRoff("gobelin "+version))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(dashed), roff(c.Short))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n", roff(c.UseLine()))
	long := c.Long
	if long == "" {
		long = c.Short + "."
	}
	fmt.Fprintf(&b, ".SH DESCRIPTION\n%s", asIs(long))
	if flags := manFlags(c.NonInheritedFlags()); flags != "" {
		fmt.Fprintf(&b, ".SH OPTIONS\n%s", flags)
	}
	if flags := manFlags(c.InheritedFlags()); flags != "" {
		fmt.Fprintf(&b, ".SH INHERITED OPTIONS\n%s", flags)
	}
	if c.Example != "" {
		fmt.Fprintf(&b, ".SH EXAMPLES\n%s", asIs(c.Example))
	}
	fmt.Fprint(&b, ".SH EXIT STATUS\n0 done, 1 failed, 2 wrong usage.\n")
	var related []string
	for p := c.Parent(); p != nil; p = p.Parent() {
		related = append(related, strings.ReplaceAll(p.CommandPath(), " ", "-"))
	}
	for _, verb := range c.Commands() {
		if !verb.Hidden && verb.Name() != "help" {
			related = append(related, strings.ReplaceAll(verb.CommandPath(), " ", "-"))
		}
	}
	if len(related) > 0 {
		fmt.Fprint(&b, ".SH SEE ALSO\n")
		for i, name := range related {
			separator := ","
			if i == len(related)-1 {
				separator = ""
			}
			fmt.Fprintf(&b, ".BR %s (1)%s\n", roff(name), separator)
		}
	}
	return b.String()
}

// manFlags lists flags; those of the options are in gobelin config.
func manFlags(flags *pflag.FlagSet) string {
	var b strings.Builder
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		kind, text := pflag.UnquoteUsage(f)
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "[]" {
			text += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(strings.TrimSpace("--"+f.Name+" "+kind)), roff(text))
	})
	return b.String()
}

// asIs keeps the lines of a text.
func asIs(text string) string {
	var b strings.Builder
	b.WriteString(".nf\n")
	for line := range strings.SplitSeq(text, "\n") {
		b.WriteString(roff(line) + "\n")
	}
	return b.String() + ".fi\n"
}

// roff makes a text stand for itself: no line of it is a request.
func roff(text string) string {
	text = strings.NewReplacer("\\", "\\e", "-", "\\-", "\n", " ").Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = "\\&" + text
	}
	return text
}

// quoteRoff makes a text an argument of a request.
func quoteRoff(text string) string { return `"` + strings.ReplaceAll(roff(text), `"`, `""`) + `"` }
