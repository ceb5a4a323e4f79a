package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
)

// notice is the licence of a module as it has to go along with what is made of it.
type notice struct {
	module, version string
	kind            string // SPDX; several are joined by AND
	texts           [][]byte
}

// standard is the module whose licence is that of Go's library, too: the toolchains of
// some distributions come without the file.
const standard = "golang.org/x/sys"

// kinds are the licences that may be in a binary, by words that no other has: those that
// ask for nothing but to be named. What says anything else is for a person to read.
var kinds = []struct {
	id    string
	words *regexp.Regexp
}{
	{"Apache-2.0", regexp.MustCompile(`Apache License,? Version 2\.0|Licensed under the Apache License`)},
	{"MIT", regexp.MustCompile(`Permission is hereby granted, free of charge, to any person obtaining a copy`)},
	{"BSD-3-Clause", regexp.MustCompile(`Redistribution and use in source and binary forms.*(Neither the name|The names? of).*may (not )?be used to endorse`)},
	{"BSD-2-Clause", regexp.MustCompile(`Redistribution and use in source and binary forms`)},
	{"ISC", regexp.MustCompile(`Permission to use, copy, modify,? and(/or)? distribute this software for any purpose`)},
}

// refused are words of licences that ask for more, wherever they stand.
var refused = regexp.MustCompile(`(?i)GNU (Affero |Lesser |Library )?General Public License|Mozilla Public License|Server Side Public License|Business Source License|Commons Clause|Eclipse Public License|Elastic License|Creative Commons`)

// licenceFile and noticeFile are how the files are called.
var (
	licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying)(\.(txt|md))?$`)
	noticeFile  = regexp.MustCompile(`(?i)^notice(\.(txt|md))?$`)
)

// kindOf says which licence a text is; an error for one that must not be in a binary, or
// is not known.
func kindOf(text []byte) (string, error) {
	flat := strings.Join(strings.Fields(string(text)), " ")
	if words := refused.FindString(flat); words != "" {
		return "", fmt.Errorf("it names the %s", words)
	}
	var found []string
	for _, k := range kinds {
		if k.id == "BSD-2-Clause" && slices.Contains(found, "BSD-3-Clause") {
			continue
		}
		if k.words.MatchString(flat) {
			found = append(found, k.id)
		}
	}
	if len(found) == 0 {
		return "", errors.New("it is of no kind that is allowed: Apache-2.0, BSD, ISC, MIT")
	}
	return strings.Join(found, " AND "), nil
}

// readNotice reads the licence in a module's folder.
func readNotice(module, version, dir string) (notice, error) {
	n := notice{module: module, version: version}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return n, fmt.Errorf("licence of %s: %w", module, err)
	}
	for _, e := range entries {
		is := licenceFile.MatchString(e.Name())
		if !e.Type().IsRegular() || !is && !noticeFile.MatchString(e.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return n, fmt.Errorf("licence of %s: %w", module, err)
		}
		n.texts = append(n.texts, text)
		if !is {
			continue
		}
		if n.kind, err = kindOf(text); err != nil {
			return n, fmt.Errorf("licence of %s: %s: %w", module, e.Name(), err)
		}
	}
	if n.kind == "" {
		return n, fmt.Errorf("licence of %s: there is none", module)
	}
	return n, nil
}

// notices returns the licences of all that a linker noted in a binary, the library of Go
// first. What was built is in the cache of modules: nothing is fetched.
func (r *release) notices(ctx context.Context, info *debug.BuildInfo, system, machine string) ([]notice, error) {
	said, err := r.command(ctx, system, machine, "list", "-deps", "-f", "{{with .Module}}{{.Path}}@{{.Version}}\t{{.Dir}}{{end}}", "./cmd/gobelin")
	if err != nil {
		return nil, err
	}
	dirs := map[string]string{}
	for line := range strings.Lines(string(said)) {
		name, dir, _ := strings.Cut(strings.TrimSpace(line), "\t")
		dirs[name] = dir
	}
	all := []notice{{}}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		n, err := readNotice(m.Path, m.Version, dirs[m.Path+"@"+m.Version])
		if err != nil {
			return nil, err
		}
		all = append(all, n)
		if m.Path == standard {
			all[0] = notice{"stdlib", strings.TrimPrefix(info.GoVersion, "go"), n.kind, n.texts}
		}
	}
	if all[0].module == "" {
		return nil, fmt.Errorf("licence of Go's library: %s, which has the same, is not in the binary", standard)
	}
	return all, nil
}

// thirdParty is the text that goes along with a binary.
func thirdParty(all []notice) []byte {
	var b bytes.Buffer
	b.WriteString("gobelin is made of its own source, whose licence is in LICENSE, and of what\nfollows, each under its own.\n")
	for _, n := range all {
		fmt.Fprintf(&b, "\n%s\n%s %s (%s)\n%s\n", strings.Repeat("=", 72), n.module, n.version, n.kind, strings.Repeat("=", 72))
		for _, text := range n.texts {
			b.WriteByte('\n')
			b.Write(bytes.TrimRight(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), "\n \t"))
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}
