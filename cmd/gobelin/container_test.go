package main

import (
	"bufio"
	"bytes"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// image makes the root folder that the last stage of the Dockerfile describes, without
// an engine: what it copies, with the binary built as the first stage builds it. It
// returns its folder, environment, user and command.
func image(t *testing.T) (root string, env []string, user string, command []string) {
	t.Helper()
	root = t.TempDir()
	require.NoError(t, os.Chmod(root, 0o755))
	for _, i := range stages(t)[1] {
		switch i.name {
		case "COPY":
			words := slices.DeleteFunc(strings.Fields(i.rest), func(w string) bool { return strings.HasPrefix(w, "--") })
			place := filepath.Join(root, words[1])
			require.NoError(t, os.MkdirAll(filepath.Dir(place), 0o755))
			switch words[0] {
			case "/out/gobelin":
				build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", place, ".")
				build.Env = append(os.Environ(), "CGO_ENABLED=0")
				said, err := build.CombinedOutput()
				require.NoError(t, err, string(said))
			case "/out/data":
				require.Contains(t, i.rest, "--chown=65532:65532")
				require.NoError(t, os.Mkdir(place, 0o700))
				require.NoError(t, os.Chown(place, 65532, 65532))
			case "/etc/ssl/certs/ca-certificates.crt":
				require.NoError(t, os.WriteFile(place, nil, 0o644))
			default:
				t.Fatalf("the test does not know what %s is", words[0])
			}
		case "ENV":
			env = append(env, strings.Fields(i.rest)...)
		case "USER":
			user = i.rest
		case "ENTRYPOINT", "CMD":
			command = append(command, i.list(t)...)
		}
	}
	return root, env, user, command
}

// container runs the image as an engine would with --read-only, --cap-drop ALL and
// --security-opt no-new-privileges. What it says goes to the returned reader.
func container(t *testing.T, root string, env []string, user string, command []string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	const script = `mount --make-rprivate /
mount --bind "$1" "$1"
mount --bind "$1/data" "$1/data"
mount -o remount,bind,ro "$1"
root=$1 user=$2
shift 2
exec setpriv --no-new-privs --inh-caps=-all --bounding-set=-all,+sys_chroot,+setuid,+setgid chroot --userspec="$user" --groups= "$root" "$@"`
	cmd := exec.CommandContext(t.Context(), "unshare", append([]string{"--mount", "sh", "-ec", script, "sh", root, user}, command...)...)
	cmd.Env = append(env, "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, bufio.NewReader(out)
}

// What the Dockerfile makes runs as nobody's user, without a capability, on a root that
// cannot be written but for /data; it keeps what it is given, and stops in order.
func TestContainer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make a root folder of its own")
	}
	if said, err := exec.CommandContext(t.Context(), "unshare", "--mount", "mount", "--make-rprivate", "/").CombinedOutput(); err != nil {
		t.Skipf("no mounts of our own here: %v: %s", err, said)
	}
	root, env, user, command := image(t)
	secrets := filepath.Join(root, "etc/gobelin")
	require.NoError(t, os.MkdirAll(secrets, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(secrets, "gobelin.yaml"), []byte(initialFile("main")), 0o644))
	env = append(env, "GOBELIN_LISTEN=127.0.0.1:0", "GOBELIN_ADMIN_LISTEN=127.0.0.1:0", "GOBELIN_DISK_FLOOR=64MiB", "GOBELIN_DRAIN_TIME=200ms")
	before := rootFiles(t, root)

	for range 2 { // the second finds what the first left
		cmd, said := container(t, root, env, user, command)
		line, err := said.ReadString('\n')
		require.NoError(t, err)
		ready := regexp.MustCompile(`^ready http://127\.0\.0\.1:\d+/faye admin (http://127\.0\.0\.1:\d+) store disk\n$`).FindStringSubmatch(line)
		require.NotNil(t, ready, line)
		requireConfined(t, cmd.Process.Pid)
		status, _ := fetch(t, ready[1]+"/readyz")
		require.Equal(t, http.StatusOK, status)
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		require.NoError(t, cmd.Wait(), "it stops in order")
	}
	require.Equal(t, before, rootFiles(t, root), "nothing was written but into /data")
	kept, err := os.ReadDir(filepath.Join(root, "data"))
	require.NoError(t, err)
	require.NotEmpty(t, kept)
}

// requireConfined looks at a process from outside.
func requireConfined(t *testing.T, pid int) {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	require.NoError(t, err)
	said := map[string]string{}
	for line := range bytes.Lines(text) {
		name, value, _ := strings.Cut(string(line), ":")
		said[name] = strings.Join(strings.Fields(value), " ")
	}
	require.Equal(t, "gobelin", said["Name"])
	require.Equal(t, "65532 65532 65532 65532", said["Uid"])
	require.Equal(t, "65532 65532 65532 65532", said["Gid"])
	require.Empty(t, said["Groups"])
	require.Equal(t, "1", said["NoNewPrivs"])
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
		require.Equal(t, strings.Repeat("0", 16), said[set], set)
	}
	mounts, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/mountinfo")
	require.NoError(t, err)
	modes := map[string]string{}
	for line := range bytes.Lines(mounts) {
		f := strings.Fields(string(line))
		modes[f[4]], _, _ = strings.Cut(f[5], ",")
	}
	require.Equal(t, map[string]string{"/": "ro", "/data": "rw"}, modes)
}

// rootFiles lists all but what is in data.
func rootFiles(t *testing.T, root string) (all []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		all = append(all, strings.TrimPrefix(path, root)+" "+info.Mode().String()+" "+info.ModTime().Format(time.RFC3339Nano))
		if entry.IsDir() && entry.Name() == "data" {
			all[len(all)-1] = "/data"
			return fs.SkipDir
		}
		return nil
	}))
	return all
}
