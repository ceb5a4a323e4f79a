package main

import (
	"debug/buildinfo"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

// The beginnings of licences, as they stand in files, and texts that are none of them.
func TestKinds(t *testing.T) {
	f := func(want, text string) {
		t.Helper()
		got, err := kindOf([]byte(text))
		if want == "" {
			require.Error(t, err, text)
			return
		}
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	const (
		mit    = "Permission is hereby granted, free of charge, to any person obtaining\na copy of this software"
		bsd    = "Redistribution and use in source and binary\n forms, with or without modification, are permitted"
		apache = "  Apache License\n   Version 2.0, January 2004"
	)
	f("MIT", "MIT License\n\n"+mit)
	f("BSD-2-Clause", bsd)
	f("BSD-3-Clause", bsd+"\n* Neither the name of x nor the names of its contributors may be used to endorse or promote")
	f("Apache-2.0", apache)
	f("Apache-2.0 AND MIT", mit+"\nand\n"+apache)
	f("ISC", "Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee")
	f("", "")
	f("", "All rights reserved.")
	f("", "GNU AFFERO GENERAL PUBLIC LICENSE\nVersion 3")
	f("", "GNU Lesser\nGeneral Public License")
	f("", mit+"\nParts are under the Mozilla Public\nLicense")
	f("", apache+"\n\"Commons Clause\" License Condition v1.0")
	f("", "Business Source License 1.1")
}

func TestNotices(t *testing.T) {
	f := func(files map[string]string) (notice, error) {
		t.Helper()
		dir := t.TempDir()
		for name, text := range files {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
		}
		return readNotice("example.com/m", "v1.0.0", dir)
	}
	const mit = "Permission is hereby granted, free of charge, to any person obtaining a copy"
	n, err := f(map[string]string{"LICENSE.txt": mit, "NOTICE": "made by somebody", "README.md": "GNU General Public License"})
	require.NoError(t, err)
	require.Equal(t, "MIT", n.kind)
	text := string(thirdParty([]notice{n}))
	require.Contains(t, text, "example.com/m v1.0.0 (MIT)\n")
	require.Contains(t, text, mit)
	require.Contains(t, text, "made by somebody")
	for _, files := range []map[string]string{
		{}, {"NOTICE": mit}, {"license.md": "pay me"}, {"LICENSE": mit, "COPYING": "GNU General Public License"},
	} {
		_, err := f(files)
		require.ErrorContains(t, err, "licence of example.com/m: ")
	}
	_, err = readNotice("example.com/m", "v1.0.0", filepath.Join(t.TempDir(), "absent"))
	require.ErrorIs(t, err, os.ErrNotExist)

	// What is in a binary and not in the source that it is said to be of.
	r := release{source: top}
	_, err = r.notices(t.Context(), &debug.BuildInfo{Deps: []*debug.Module{{Path: "example.com/m", Version: "v1.0.0"}}}, "linux", "amd64")
	require.ErrorContains(t, err, "licence of example.com/m")
	_, err = r.notices(t.Context(), &debug.BuildInfo{}, "linux", "amd64")
	require.ErrorContains(t, err, standard)
}

// requireNotices holds the licences in an archive against the binary beside them.
func requireNotices(t *testing.T, dir string) {
	t.Helper()
	info, err := buildinfo.ReadFile(filepath.Join(dir, "gobelin"))
	require.NoError(t, err)
	text := string(read(t, filepath.Join(dir, "THIRD-PARTY.txt")))
	require.Contains(t, text, "\nstdlib ")
	require.Greater(t, len(info.Deps), 10)
	for _, m := range info.Deps {
		require.Contains(t, text, "\n"+m.Path+" "+m.Version+" (")
	}
}
