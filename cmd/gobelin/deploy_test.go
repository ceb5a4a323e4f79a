package main

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

const deploy = "../../examples/deploy/"

// knownEnv is every environment variable that means something.
func knownEnv() []string {
	var names []string
	for _, o := range options {
		names = append(names, o.env())
	}
	return names
}

// instruction is one line of a Dockerfile, continued lines joined.
type instruction struct{ name, rest string }

// stages returns the instructions of each stage of a Dockerfile.
func stages(t *testing.T) (all [][]instruction) {
	t.Helper()
	text, err := os.ReadFile(deploy + "Dockerfile")
	require.NoError(t, err)
	comments := regexp.MustCompile(`(?m)^\s*#.*\n`)
	joined := strings.ReplaceAll(comments.ReplaceAllString(string(text), ""), "\\\n", " ")
	for line := range strings.Lines(joined) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "" {
			continue
		}
		if name == "FROM" {
			all = append(all, nil)
		}
		require.NotEmpty(t, all, "the first instruction is FROM")
		all[len(all)-1] = append(all[len(all)-1], instruction{name, strings.TrimSpace(rest)})
	}
	return all
}

// list reads the exec form of an instruction.
func (i instruction) list(t *testing.T) (words []string) {
	t.Helper()
	require.NoError(t, yaml.Unmarshal([]byte(i.rest), &words), "%s must be in exec form, as there is no shell", i.name)
	return words
}

// The Dockerfile keeps the rules of its kind, and names options that there are.
func TestDockerfile(t *testing.T) {
	all := stages(t)
	require.Len(t, all, 2)
	require.Regexp(t, `^golang:\d+\.\d+-bookworm AS build$`, all[0][0].rest)
	mod, err := os.ReadFile("../../go.mod")
	require.NoError(t, err)
	least := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(mod))[1]
	require.Contains(t, all[0][0].rest, ":"+least+"-", "the image has the Go that go.mod asks for")
	require.Equal(t, "scratch", all[1][0].rest)
	once := map[string]string{}
	for _, stage := range all {
		for _, i := range stage {
			require.Contains(t, []string{"FROM", "WORKDIR", "COPY", "RUN", "ARG", "USER", "ENV", "EXPOSE", "VOLUME", "STOPSIGNAL", "ENTRYPOINT", "CMD"}, i.name)
			require.NotContains(t, strings.ToLower(i.rest), "secret")
		}
	}
	for _, i := range all[1] {
		require.NotContains(t, []string{"RUN", "ARG"}, i.name, "nothing runs in the last stage: it has no shell")
		once[i.name] = i.rest
		if i.name == "ENTRYPOINT" || i.name == "CMD" {
			require.NotEmpty(t, i.list(t))
		}
	}
	require.Regexp(t, `^[1-9]\d*:[1-9]\d*$`, once["USER"], "by number, so that Kubernetes sees that it is not root")
	require.Equal(t, "8000 8001", once["EXPOSE"])
	for pair := range strings.FieldsSeq(once["ENV"]) {
		name, _, _ := strings.Cut(pair, "=")
		require.Contains(t, knownEnv(), name)
	}
	c := newRootCommand()
	c.SetArgs(append(instruction{"CMD", once["CMD"]}.list(t), "--help"))
	c.SetOut(new(strings.Builder))
	require.NoError(t, c.Execute(), "CMD is a command of gobelin")
}

// The unit is one that systemd takes, hardened by its own measure, and waits long
// enough for clients to be handed over.
func TestUnit(t *testing.T) {
	text, err := os.ReadFile(deploy + "gobelin.service")
	require.NoError(t, err)
	setting := func(name string) string {
		m := regexp.MustCompile(`(?m)^` + name + `=(.*)$`).FindStringSubmatch(string(text))
		require.NotNil(t, m, name)
		return m[1]
	}
	for pair := range strings.FieldsSeq(setting("Environment")) {
		name, _, _ := strings.Cut(pair, "=")
		require.Contains(t, knownEnv(), name)
	}
	require.Contains(t, setting("Environment"), "GOBELIN_STORE=/var/lib/"+setting("StateDirectory"))
	seconds, err := strconv.Atoi(setting("TimeoutStopSec"))
	require.NoError(t, err)
	c, _, faults := load(source{})
	require.NoError(t, faults.err())
	require.Greater(t, time.Duration(seconds)*time.Second, c.DrainTime+requestsEnd+brokerEnd)

	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze")
	}
	self, err := os.Executable()
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "gobelin.service")
	here := strings.ReplaceAll(string(text), "/usr/local/bin/gobelin", self)
	require.NoError(t, os.WriteFile(file, []byte(here), 0o600))
	f := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), tool, append(args, file)...)
		said, err := cmd.CombinedOutput()
		require.NoError(t, err, string(said))
		require.NotContains(t, string(said), file, "systemd has something to say")
	}
	f("verify", "--man=no")
	f("security", "--offline=true", "--threshold=15", "--no-pager")
}

// manifest is what the tests look at in Kubernetes' objects.
type manifest struct {
	Kind     string
	Metadata struct{ Name string }
	Data     map[string]string
	Spec     struct {
		Replicas int
		Template struct{ Spec podSpec }
		Selector yaml.Node
	}
}

type podSpec struct {
	TerminationGracePeriodSeconds int            `yaml:"terminationGracePeriodSeconds"`
	SecurityContext               map[string]any `yaml:"securityContext"`
	Containers                    []struct {
		Args []string
		Env  []struct{ Name, Value string }
		// Ports by name are what probes and services mean.
		Ports []struct {
			Name          string
			ContainerPort int `yaml:"containerPort"`
		}
		ReadinessProbe  probe          `yaml:"readinessProbe"`
		LivenessProbe   probe          `yaml:"livenessProbe"`
		SecurityContext map[string]any `yaml:"securityContext"`
		Lifecycle       struct {
			PreStop struct{ Sleep struct{ Seconds int } } `yaml:"preStop"`
		}
	}
}

type probe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
}

func manifests(t *testing.T, path string) (all []manifest) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	first, _, _ := strings.Cut(string(text), "\n")
	require.Equal(t, "# Made of ../chart by Helm (make chart). Chart "+chartSum(t), first, "the chart has changed: make chart UPDATE=1")
	d := yaml.NewDecoder(strings.NewReader(string(text)))
	for {
		var m manifest
		if d.Decode(&m) != nil {
			break
		}
		all = append(all, m)
	}
	require.Equal(t, strings.Count(string(text), "\nkind: "), len(all))
	return all
}

// chartSum is the sum that make chart writes into what Helm has rendered.
func chartSum(t *testing.T) string {
	t.Helper()
	sum := sha256.New()
	require.NoError(t, fs.WalkDir(os.DirFS(deploy+"chart"), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(filepath.Join(deploy, "chart", path))
		fmt.Fprintf(sum, "%s %d\n%s", path, len(text), text)
		return err
	}))
	return fmt.Sprintf("sha256:%x", sum.Sum(nil))
}

// What Helm made of the chart runs a broker that has a valid configuration, may write
// nowhere else, and is given the time to hand its clients over.
func TestChart(t *testing.T) {
	files, err := filepath.Glob(deploy + "rendered/*.yaml")
	require.NoError(t, err)
	require.Len(t, files, 3)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			all := manifests(t, file)
			at := func(kind string) *manifest {
				i := slices.IndexFunc(all, func(m manifest) bool { return m.Kind == kind })
				if i < 0 {
					return nil
				}
				return &all[i]
			}
			c := chartConfig(t, at("ConfigMap").Data["gobelin.yaml"])
			load := at("Deployment")
			if load == nil {
				load = at("StatefulSet")
				require.Equal(t, 1, load.Spec.Replicas)
			}
			require.Equal(t, load.Spec.Replicas > 1, at("PodDisruptionBudget") != nil)
			require.NotNil(t, at("NetworkPolicy"))
			requirePod(t, load.Spec.Template.Spec, c)
		})
	}
}

func requirePod(t *testing.T, pod podSpec, c *config) {
	t.Helper()
	require.Equal(t, true, pod.SecurityContext["runAsNonRoot"])
	require.Len(t, pod.Containers, 1)
	one := pod.Containers[0]
	require.Equal(t, map[string]any{
		"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": map[string]any{"drop": []any{"ALL"}},
	}, one.SecurityContext)
	require.Equal(t, []string{"serve", "--config", "/etc/gobelin/gobelin.yaml"}, one.Args)
	for _, e := range one.Env {
		if strings.HasPrefix(e.Name, "GOBELIN_") {
			require.Contains(t, knownEnv(), e.Name)
		}
	}
	ports := map[string]string{}
	for _, p := range one.Ports {
		ports[p.Name] = ":" + strconv.Itoa(p.ContainerPort)
	}
	require.Equal(t, map[string]string{"public": c.Listen, "admin": c.AdminListen}, ports)
	require.Equal(t, []string{"/readyz", "admin"}, []string{one.ReadinessProbe.HTTPGet.Path, one.ReadinessProbe.HTTPGet.Port})
	require.Equal(t, []string{"/healthz", "admin"}, []string{one.LivenessProbe.HTTPGet.Path, one.LivenessProbe.HTTPGet.Port})
	delay := one.Lifecycle.PreStop.Sleep.Seconds
	require.Positive(t, delay)
	whole := time.Duration(pod.TerminationGracePeriodSeconds-delay) * time.Second
	require.Greater(t, whole, c.DrainTime+requestsEnd+brokerEnd)
}

// chartConfig reads the configuration of a chart as serve does, with secrets made up
// where it names files.
func chartConfig(t *testing.T, text string) *config {
	t.Helper()
	dir := t.TempDir()
	for _, m := range regexp.MustCompile(`file:/etc/gobelin/secrets/([a-z0-9_]+)`).FindAllStringSubmatch(text, -1) {
		value := newSecret().Reveal()
		if m[1] == "redis_url" {
			value = "redis+sentinel://gobelin:secret@a:26379,b:26379/main"
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, m[1]), []byte(value), 0o600))
	}
	c, _, faults := load(source{path: write(t, strings.ReplaceAll(text, "/etc/gobelin/secrets", dir))})
	require.NoError(t, faults.err())
	return c
}
