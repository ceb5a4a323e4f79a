package charttest

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
)

const chart = "../chart"

// sets are the values that are rendered, by the name of the file in ../rendered.
var sets = map[string]map[string]any{
	"folder": {},
	"redis":  {"replicas": 3, "store": map[string]any{"kind": "redis"}},
	"whole": {
		"replicas":       2,
		"store":          map[string]any{"kind": "redis"},
		"ingress":        map[string]any{"enabled": true, "host": "live.example.com", "tlsSecret": "live-tls"},
		"serviceMonitor": map[string]any{"enabled": true, "labels": map[string]any{"release": "prometheus"}},
		"image":          map[string]any{"repository": "registry.example.com/gobelin", "tag": "v1.2.3", "pullSecrets": []any{map[string]any{"name": "pull"}}},
		"config":         map[string]any{"trusted_proxies": []any{"10.0.0.0/8"}, "bayeux": map[string]any{"url": "https://live.example.com/faye"}},
		"termination":    map[string]any{"delaySeconds": 8, "drainSeconds": 60},
		"podAnnotations": map[string]any{"example.com/team": "live"},
		"nodeSelector":   map[string]any{"kubernetes.io/arch": "amd64"},
		"tolerations":    []any{map[string]any{"key": "live", "operator": "Exists"}},
		"service":        map[string]any{"type": "LoadBalancer", "annotations": map[string]any{"example.com/lb": "nlb"}},
	},
}

// render returns what Helm makes of the chart, in the order of the templates' names.
func render(values map[string]any) (string, error) {
	c, err := loader.Load(chart)
	if err != nil {
		return "", err
	}
	caps := chartutil.DefaultCapabilities.Copy()
	caps.KubeVersion = chartutil.KubeVersion{Version: "v1.32.0", Major: "1", Minor: "32"}
	all, err := chartutil.ToRenderValues(c, values, chartutil.ReleaseOptions{Name: "live", Namespace: "default", IsInstall: true}, caps)
	if err != nil {
		return "", err
	}
	out, err := engine.Render(c, all)
	if err != nil {
		return "", err
	}
	var names []string
	for name := range out {
		if strings.HasSuffix(name, ".yaml") && strings.TrimSpace(out[name]) != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var b strings.Builder
	for _, name := range names {
		b.WriteString("---\n# " + path.Base(name) + "\n" + strings.TrimSpace(out[name]) + "\n")
	}
	return b.String(), nil
}

// UPDATE=1 writes ../rendered.
func TestRendered(t *testing.T) {
	sum, err := chartSum(chart)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range sets {
		text, err := render(values)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		text = "# Made of ../chart by Helm (make chart). Chart " + sum + "\n" + text
		file := filepath.Join("../rendered", name+".yaml")
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		kept, err := os.ReadFile(file)
		if err != nil || string(kept) != text {
			t.Errorf("%s is not what Helm makes of the chart: make chart UPDATE=1 writes it (%v)", file, err)
		}
	}
}

// Helm's linter has nothing to say, whatever the values.
func TestLint(t *testing.T) {
	for name, values := range sets {
		for _, m := range lint.All(chart, values, "default", true).Messages {
			if m.Severity >= support.WarningSev {
				t.Errorf("%s: %v", name, m)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	f := func(want string, values map[string]any) {
		t.Helper()
		if _, err := render(values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v is not refused with %q: %v", values, want, err)
		}
	}
	f("has one owner", map[string]any{"replicas": 2})
	f("replica", map[string]any{"replica": 2})
	f("config", map[string]any{"config": map[string]any{"listen": ":1"}})
	f("host", map[string]any{"ingress": map[string]any{"enabled": true}})
	f("kind", map[string]any{"store": map[string]any{"kind": "memory"}})
	f("termination", map[string]any{"termination": map[string]any{"drainSeconds": "30s"}})
}
