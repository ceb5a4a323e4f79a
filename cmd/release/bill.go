package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"time"
)

// The bill of materials is CycloneDX 1.5 in JSON: what tools for licences and
// vulnerabilities read.
type bill struct {
	Format       string       `json:"bomFormat"`
	Spec         string       `json:"specVersion"`
	Serial       string       `json:"serialNumber"`
	Version      int          `json:"version"`
	Metadata     billMetadata `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type billMetadata struct {
	Timestamp string    `json:"timestamp"`
	Component component `json:"component"`
}

type component struct {
	Ref        string     `json:"bom-ref"`
	Type       string     `json:"type"`
	Name       string     `json:"name"`
	Version    string     `json:"version"`
	PURL       string     `json:"purl"`
	Licenses   []licence  `json:"licenses,omitempty"`
	Hashes     []hash     `json:"hashes,omitempty"`
	Properties []property `json:"properties,omitempty"`
}

// licence is one of a list, by an expression of SPDX.
type licence struct {
	Expression string `json:"expression"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref  string   `json:"ref"`
	Uses []string `json:"dependsOn,omitempty"`
}

// bill returns the bill of materials of a binary, from what its linker noted and the
// licences of that.
func (r *release) bill(info *debug.BuildInfo, others []notice, system, machine string, program []byte) ([]byte, error) {
	sum := sha256.Sum256(program)
	ours := component{
		Type: "application", Name: info.Main.Path, Version: r.version,
		PURL:   packageURL(info.Main.Path, r.version) + "?goos=" + system + "&goarch=" + machine,
		Hashes: []hash{{"SHA-256", fmt.Sprintf("%x", sum)}},
		Properties: []property{
			{"gobelin:commit", r.commit}, {"gobelin:go", info.GoVersion}, {"gobelin:platform", system + "/" + machine},
		},
	}
	ours.Licenses = []licence{{"Apache-2.0"}}
	ours.Ref = ours.PURL
	b := bill{
		Format: "CycloneDX", Spec: "1.5", Version: 1,
		Serial:   serial(sum),
		Metadata: billMetadata{r.time.Format(time.RFC3339), ours},
	}
	sums := map[string]string{}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		sums[m.Path] = m.Sum
	}
	for _, n := range others {
		c := component{
			Type: "library", Name: n.module, Version: n.version, PURL: packageURL(n.module, n.version),
			Licenses: []licence{{n.kind}},
		}
		if sum := sums[n.module]; sum != "" {
			c.Properties = []property{{"go:sum", sum}}
		}
		c.Ref = c.PURL
		b.Components = append(b.Components, c)
		b.Dependencies = append(b.Dependencies, dependency{Ref: c.Ref})
	}
	all := dependency{Ref: ours.Ref}
	for _, c := range b.Components {
		all.Uses = append(all.Uses, c.Ref)
	}
	b.Dependencies = append(b.Dependencies, all)
	text, err := json.MarshalIndent(b, "", "  ")
	return append(text, '\n'), err
}

// serial is a UUID made of a sum (version 8: of our own making).
func serial(sum [sha256.Size]byte) string {
	u := sum[:16]
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// packageURL names a Go module for scanners.
func packageURL(path, version string) string { return "pkg:golang/" + path + "@" + version }
