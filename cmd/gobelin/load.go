package main

import (
	"os"
	"strings"

	"github.com/spf13/pflag"
)

// source is where a configuration comes from.
type source struct {
	path  string         // the file; "": none
	flags *pflag.FlagSet // nil: none
	dev   bool           // defaults are those of `dev`
}

// load reads a configuration (experience.md §3): flags win over environment
// variables, these over the file, this over the defaults. It returns what it
// could read with all faults at once, and what is only doubtful as warnings.
func load(s source) (c *config, warnings, fs faults) {
	c = &config{origins: map[string]place{}}
	for _, o := range options {
		setText(o.field(c), o.defaultText(s.dev), place{}, o.key, &fs)
	}
	if s.path != "" {
		readFile(c, s.path, &fs)
	}
	for _, o := range options {
		if text, ok := os.LookupEnv(o.env()); ok {
			c.origins[o.key] = place{source: o.env()}
			setText(o.field(c), text, c.at(o.key), o.key, &fs)
		}
	}
	if s.flags != nil {
		s.flags.Visit(func(f *pflag.Flag) {
			if o := optionByKey(f.Name); o != nil {
				c.origins[o.key] = place{source: "--" + o.key}
				setText(o.field(c), f.Value.String(), c.at(o.key), o.key, &fs)
			}
		})
	}
	if s.dev && c.Store.kind() == kindRedis {
		c.secrets = devFolder
	}
	warnings = strangeVariables()
	w, bad := c.validate(fs)
	return c, append(warnings, w...), append(fs, bad...).sorted()
}

// strangeVariables warns of environment variables that look like a misspelt
// option. They are no faults: orchestrators add GOBELIN_SERVICE_HOST and such.
func strangeVariables() (warnings faults) {
	known := map[string]bool{}
	var names []string
	for _, o := range options {
		known[o.env()] = true
		names = append(names, strings.ToLower(o.env()))
	}
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, "GOBELIN_") || known[name] {
			continue
		}
		// Nearer than for keys of a file: all share a long prefix.
		rest := strings.TrimPrefix(name, "GOBELIN_")
		for _, n := range names {
			if editDistance(strings.ToLower(rest), strings.TrimPrefix(n, "gobelin_")) <= 2 && len(rest) > 5 {
				warnings.add(place{source: name}, "", "no such option; did you mean %s?", strings.ToUpper(n))
				break
			}
		}
	}
	return warnings
}

// addOptionFlags gives a command one flag per option. Only those named in shown
// are listed by --help; `gobelin config` lists all.
func addOptionFlags(flags *pflag.FlagSet, dev bool, shown ...string) {
	visible := map[string]bool{}
	for _, key := range shown {
		visible[key] = true
	}
	for _, o := range options {
		flags.String(o.key, o.defaultText(dev), o.doc)
		if !visible[o.key] {
			flags.Lookup(o.key).Hidden = true
		}
	}
}
