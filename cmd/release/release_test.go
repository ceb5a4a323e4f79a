package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const top = "../.."

// copySource copies what a build reads to a folder of another name, without git.
func copySource(t *testing.T) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "elsewhere", "gobelin")
	err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if path != top && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "dist" || name == "testdata") {
				return fs.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(name, "_test.go") || !entry.Type().IsRegular() || strings.HasPrefix(name, ".") {
			return nil
		}
		if info, err := entry.Info(); err != nil || info.Size() > 1<<20 {
			return err // a binary that lies about
		}
		relative, err := filepath.Rel(top, path)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		copied := filepath.Join(to, relative)
		return errors.Join(os.MkdirAll(filepath.Dir(copied), 0o755), os.WriteFile(copied, text, 0o600))
	})
	require.NoError(t, err)
	return to
}

// The same commit gives the same bytes, built where it lies and built elsewhere (what is
// compiled may come from the cache, since it does not depend on the place), and what is in
// the archive is what it says. It runs as make release does: this test may have a race
// detector in it, with which packing takes ten times as long.
func TestSameBytes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("what follows unpacks a tar")
	}
	platform := runtime.GOOS + "/" + runtime.GOARCH
	tool := filepath.Join(t.TempDir(), "release")
	command(t, "go", "build", "-o", tool, ".")
	pack := func(source string) (dir, sums string) {
		t.Helper()
		dir = filepath.Join(t.TempDir(), "dist")
		command(t, tool, "-source", source, "-out", dir, "-platforms", platform, "-version", "v1.2.3", "-commit", strings.Repeat("ab", 20), "-time", "1700000000")
		return dir, string(read(t, filepath.Join(dir, "SHA256SUMS")))
	}
	dir, sums := pack(top)
	_, again := pack(copySource(t))
	require.Equal(t, sums, again)

	lines := strings.Split(strings.TrimSpace(sums), "\n")
	require.Len(t, lines, 2)
	for _, line := range lines {
		sum, name, ok := strings.Cut(line, "  ")
		require.True(t, ok)
		require.Equal(t, sum, fmt.Sprintf("%x", sha256.Sum256(read(t, filepath.Join(dir, name)))), name)
	}
	name := "gobelin_1.2.3_" + runtime.GOOS + "_" + runtime.GOARCH
	command(t, "tar", "-xzf", filepath.Join(dir, name+".tar.gz"), "-C", dir)
	inside := func(file string) string { return filepath.Join(dir, name, file) }
	require.Contains(t, string(read(t, inside("README.md"))), "# Gobelin")
	require.Contains(t, string(read(t, inside("LICENSE"))), "Apache License")
	requireNotices(t, filepath.Join(dir, name))
	outside := read(t, filepath.Join(dir, name+".cdx.json"))
	require.Equal(t, outside, read(t, inside("gobelin.cdx.json")))

	first, modules, _ := strings.Cut(command(t, inside("gobelin"), "version", "--modules"), "\n")
	require.Equal(t, fmt.Sprintf("gobelin v1.2.3 commit %s %s %s", strings.Repeat("ab", 20), runtime.Version(), platform), first)
	program := read(t, inside("gobelin"))
	requireBill(t, outside, program, modules)
	here, err := filepath.Abs(top)
	require.NoError(t, err)
	require.False(t, bytes.Contains(program, []byte(here+"/")), "a path of the machine that built it is in the binary")
}

// command runs a program and returns what it prints.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	require.NoError(t, err, errs.String())
	return string(out)
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

// A tar has the files in their order, nobody's user, and the time that was said.
func TestTar(t *testing.T) {
	at := time.Unix(1700000000, 0).UTC()
	var packed bytes.Buffer
	require.NoError(t, writeTar(&packed, "gobelin_1", []file{{"README.md", []byte("text"), false}, {"gobelin", []byte("program"), true}}, at))
	unpacked, err := gzip.NewReader(&packed)
	require.NoError(t, err)
	r := tar.NewReader(unpacked)
	f := func(name, text string, mode int64) {
		t.Helper()
		h, err := r.Next()
		require.NoError(t, err)
		require.Equal(t, "gobelin_1/"+name, h.Name)
		require.Equal(t, mode, h.Mode)
		require.True(t, at.Equal(h.ModTime))
		require.Empty(t, h.Uname)
		require.Zero(t, h.Uid)
		data, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, text, string(data))
	}
	f("README.md", "text", 0o644)
	f("gobelin", "program", 0o755)
	_, err = r.Next()
	require.ErrorIs(t, err, io.EOF)
}

// requireBill holds a bill of materials against the binary, and what it says itself.
func requireBill(t *testing.T, text, program []byte, modules string) {
	t.Helper()
	var b bill
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&b))
	require.Equal(t, []string{"CycloneDX", "1.5"}, []string{b.Format, b.Spec})
	require.Regexp(t, regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`), b.Serial)
	require.Equal(t, "2023-11-14T22:13:20Z", b.Metadata.Timestamp)
	require.Equal(t, fmt.Sprintf("%x", sha256.Sum256(program)), b.Metadata.Component.Hashes[0].Content)
	var listed strings.Builder
	seen := map[string]bool{b.Metadata.Component.Ref: true}
	for _, c := range b.Components {
		require.False(t, seen[c.Ref], c.Ref)
		seen[c.Ref] = true
		require.Len(t, c.Licenses, 1, c.Ref)
		require.NotEmpty(t, c.Licenses[0].Expression, c.Ref)
		if c.Name != "stdlib" {
			require.Regexp(t, `^h1:`, c.Properties[0].Value, c.Name)
			fmt.Fprintf(&listed, "%s %s\n", c.Name, c.Version)
		}
	}
	require.Equal(t, modules, listed.String())
	require.Len(t, b.Dependencies, len(b.Components)+1)
	for _, d := range b.Dependencies {
		require.True(t, seen[d.Ref], d.Ref)
	}
	require.Len(t, b.Dependencies[len(b.Dependencies)-1].Uses, len(b.Components))
}

func TestZip(t *testing.T) {
	at := time.Unix(1700000000, 0).UTC()
	var one, two bytes.Buffer
	files := []file{{"gobelin.exe", []byte("program"), true}, {"README.md", []byte("text"), false}}
	require.NoError(t, writeZip(&one, "gobelin_1", files, at))
	require.NoError(t, writeZip(&two, "gobelin_1", files, at))
	require.Equal(t, one.Bytes(), two.Bytes())
	z, err := zip.NewReader(bytes.NewReader(one.Bytes()), int64(one.Len()))
	require.NoError(t, err)
	require.Len(t, z.File, 2)
	require.Equal(t, "gobelin_1/gobelin.exe", z.File[0].Name)
	require.True(t, at.Equal(z.File[0].Modified))
	entry, err := z.Open("gobelin_1/README.md")
	require.NoError(t, err)
	text, err := io.ReadAll(entry)
	require.NoError(t, err)
	require.Equal(t, "text", string(text))
}

func TestRefusals(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		args = append([]string{"-source", t.TempDir(), "-out", t.TempDir()}, args...)
		require.ErrorContains(t, run(context.Background(), args, io.Discard), want)
	}
	f("say -version, -commit and -time")
	f("is not GOOS/GOARCH", "-version", "v1", "-commit", "a", "-time", "1", "-platforms", "linux")
	f("is not seconds", "-version", "v1", "-commit", "a", "-time", "yesterday")
	f("no file name", "-version", "../v1", "-commit", "a", "-time", "1")
	f("linux/amd64: go build", "-version", "v1", "-commit", "a", "-time", "1", "-platforms", "linux/amd64")
}
