package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// beside is what every archive holds beside the binary, its bill of materials and the
// licences of others.
var beside = []string{"CHANGELOG.md", "LICENSE", "README.md"}

// release is one run.
type release struct {
	out             io.Writer
	source, target  string
	version, commit string
	time            time.Time

	sums []string // lines of SHA256SUMS
}

// pack builds for one platform and writes archive and bill of materials.
func (r *release) pack(ctx context.Context, system, machine string) error {
	dir, err := os.MkdirTemp("", "gobelin-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary := "gobelin"
	if system == "windows" {
		binary += ".exe"
	}
	path := filepath.Join(dir, binary)
	if err := r.build(ctx, path, system, machine); err != nil {
		return err
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	info, err := buildinfo.Read(bytes.NewReader(program))
	if err != nil {
		return err
	}
	others, err := r.notices(ctx, info, system, machine)
	if err != nil {
		return err
	}
	bill, err := r.bill(info, others, system, machine, program)
	if err != nil {
		return err
	}
	name := strings.Join([]string{"gobelin", strings.TrimPrefix(r.version, "v"), system, machine}, "_")
	files := []file{{binary, program, true}, {"gobelin.cdx.json", bill, false}, {"THIRD-PARTY.txt", thirdParty(others), false}}
	for _, b := range beside {
		text, err := os.ReadFile(filepath.Join(r.source, b))
		if err != nil {
			return err
		}
		files = append(files, file{b, text, false})
	}
	write, ending := writeTar, ".tar.gz"
	if system == "windows" {
		write, ending = writeZip, ".zip"
	}
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	var archive bytes.Buffer
	if err := write(&archive, name, files, r.time); err != nil {
		return err
	}
	if err := r.write(name+ending, archive.Bytes()); err != nil {
		return err
	}
	return r.write(name+".cdx.json", bill)
}

// build makes the static binary.
func (r *release) build(ctx context.Context, path, system, machine string) error {
	_, err := r.command(ctx, system, machine, "build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -X main.version="+r.version+" -X main.commit="+r.commit, "-o", path, "./cmd/gobelin")
	return err
}

// command runs the go command for a platform and returns what it prints.
func (r *release) command(ctx context.Context, system, machine string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = r.source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system, "GOARCH="+machine, "GOFLAGS=", "GOAMD64=v1", "GOARM64=v8.0")
	var fault bytes.Buffer
	cmd.Stderr = &fault
	said, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w: %s", args[0], err, fault.Bytes())
	}
	return said, nil
}

// write writes one file of the release and notes its sum.
func (r *release) write(name string, data []byte) error {
	if err := os.MkdirAll(r.target, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(r.target, name), data, 0o644); err != nil {
		return err
	}
	r.sums = append(r.sums, fmt.Sprintf("%x  %s\n", sha256.Sum256(data), name))
	fmt.Fprintln(r.out, filepath.Join(r.target, name))
	return nil
}

// writeSums writes SHA256SUMS, as sha256sum -c reads it.
func (r *release) writeSums() error {
	slices.SortFunc(r.sums, func(a, b string) int { return strings.Compare(a[66:], b[66:]) })
	path := filepath.Join(r.target, "SHA256SUMS")
	fmt.Fprintln(r.out, path)
	return os.WriteFile(path, []byte(strings.Join(r.sums, "")), 0o644)
}
