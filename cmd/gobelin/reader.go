package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// reader takes a YAML tree apart by the table of options. It refuses what it
// does not know, what is there twice, and aliases, which a configuration does
// not need and which can be made to grow without end.
type reader struct {
	at     place // of the text; the line is added
	faults *faults
	set1   func(o *option, at place) any // gives the field of an option
}

// readFile reads a configuration file into c.
func readFile(c *config, path string, fs *faults) {
	at := place{source: path}
	data, err := readConfigFile(path)
	if err != nil {
		fs.add(at, "", "%v", err)
		return
	}
	decoder := yaml.NewDecoder(strings.NewReader(string(data)))
	var doc yaml.Node
	switch err := decoder.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return // an empty file changes nothing
	case err != nil:
		fs.add(at, "", "%s", strings.TrimPrefix(err.Error(), "yaml: "))
		return
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		fs.add(at, "", "holds more than one document")
	}
	r := &reader{at: at, faults: fs, set1: func(o *option, at place) any {
		c.origins[o.key] = at
		return o.field(c)
	}}
	r.section(doc.Content[0], "")
}

func readConfigFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, errors.New("cannot be read: " + cause(err))
	}
	defer f.Close()
	const most = 4 << 20
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, errors.New("cannot be read: " + cause(err))
	}
	if len(data) > most {
		return nil, fmt.Errorf("is larger than %v", size(most))
	}
	return data, nil
}

// cause returns an error of package os without the operation and the path.
func cause(err error) string {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// section reads a mapping of options and further sections.
func (r *reader) section(n *yaml.Node, path string) {
	if isNull(n) {
		return
	}
	known := map[string]func(*yaml.Node){}
	for _, part := range keysBelow(path) {
		key := join(path, part)
		if o := optionByKey(key); o != nil {
			known[part] = func(v *yaml.Node) {
				if !isNull(v) {
					r.set(r.set1(o, r.place(v)), v, key)
				}
			}
			continue
		}
		known[part] = func(v *yaml.Node) { r.section(v, key) }
	}
	r.fields(n, path, known)
}

// fields calls the function of each member of a mapping, and faults what is
// unknown or there twice.
func (r *reader) fields(n *yaml.Node, path string, known map[string]func(*yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		r.fault(n, path, "must have keys: %s", strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		return
	}
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		key := join(path, clip(name.Value))
		take, ok := known[name.Value]
		switch {
		case name.Kind != yaml.ScalarNode:
			r.fault(name, path, "a key must be a word")
		case lines[name.Value] > 0:
			r.fault(name, key, "is there twice, first in line %d", lines[name.Value])
		case !ok:
			r.fault(name, key, "unknown key%s", r.guess(path, name.Value, known))
		case value.Kind == yaml.AliasNode:
			r.fault(value, key, "aliases are not read")
		default:
			take(value)
		}
		lines[name.Value] = name.Line
	}
}

// guess finds what was meant: a name of the same section, or an option of that
// name elsewhere.
func (r *reader) guess(path, name string, known map[string]func(*yaml.Node)) string {
	if said := suggestion(name, slices.Collect(maps.Keys(known))); said != "" {
		if path != "" {
			return strings.Replace(said, "mean ", "mean "+path+".", 1)
		}
		return said
	}
	for _, o := range options {
		if strings.HasSuffix("."+o.key, "."+name) {
			return "; did you mean " + o.key + "?"
		}
	}
	return ""
}

// set reads one value into a field.
func (r *reader) set(target any, n *yaml.Node, key string) {
	switch p := target.(type) {
	case *[]string:
		*p = nil
		if n.Kind == yaml.ScalarNode {
			setText(p, n.Value, r.place(n), key, r.faults)
			return
		}
		r.list(n, key, func(item *yaml.Node, key string) {
			var s string
			r.set(&s, item, key)
			*p = append(*p, s)
		})
	case *[]openRule:
		*p = nil
		r.list(n, key, func(item *yaml.Node, key string) { *p = append(*p, r.openRule(item, key)) })
	case *[]rootKey:
		*p = nil
		r.list(n, key, func(item *yaml.Node, key string) { *p = append(*p, r.rootKey(item, key)) })
	case *[]classConfig:
		if *p = nil; !isNull(n) {
			*p = r.classes(n, key)
		}
	case *[]accountConfig:
		*p = nil
		r.list(n, key, func(item *yaml.Node, key string) { *p = append(*p, r.account(item, key)) })
	case *map[string]kindAge:
		*p = map[string]kindAge{}
		r.ages(n, key, *p)
	default:
		if n.Kind != yaml.ScalarNode {
			r.fault(n, key, "must be one value")
			return
		}
		setText(target, n.Value, r.place(n), key, r.faults)
	}
}

func (r *reader) list(n *yaml.Node, key string, take func(*yaml.Node, string)) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		r.fault(n, key, "must be a list")
		return
	}
	for i, item := range n.Content {
		at := fmt.Sprintf("%s[%d]", key, i)
		if item.Kind == yaml.AliasNode {
			r.fault(item, at, "aliases are not read")
			continue
		}
		take(item, at)
	}
}

func (r *reader) into(target any, key string) func(*yaml.Node) {
	return func(n *yaml.Node) { r.set(target, n, key) }
}

func (r *reader) openRule(n *yaml.Node, key string) openRule {
	o := openRule{at: r.place(n)}
	r.fields(n, key, map[string]func(*yaml.Node){
		"pattern": r.into(&o.Pattern, key+".pattern"),
		"publish": r.into(&o.Publish, key+".publish"),
		"history": r.into(&o.History, key+".history"),
	})
	return o
}

func (r *reader) rootKey(n *yaml.Node, key string) rootKey {
	k := rootKey{KID: -1, at: r.place(n)}
	r.fields(n, key, map[string]func(*yaml.Node){
		"kid":    r.into(&k.KID, key+".kid"),
		"secret": r.into(&k.Secret, key+".secret"),
		"sign":   r.into(&k.Sign, key+".sign"),
	})
	return k
}

func (r *reader) account(n *yaml.Node, key string) accountConfig {
	a := accountConfig{at: r.place(n)}
	r.fields(n, key, map[string]func(*yaml.Node){
		"cdn":          r.into(&a.CDN, key+".cdn"),
		"api_key":      r.into(&a.APIKey, key+".api_key"),
		"api_secret":   r.into(&a.APISecret, key+".api_secret"),
		"stream_token": r.into(&a.StreamToken, key+".stream_token"),
		"apps":         func(v *yaml.Node) { a.Apps = r.apps(v, key+".apps") },
	})
	return a
}

func (r *reader) apps(v *yaml.Node, key string) (all []appConfig) {
	r.list(v, key, func(item *yaml.Node, key string) {
		app := appConfig{ID: -1, at: r.place(item)}
		r.fields(item, key, map[string]func(*yaml.Node){
			"id":           r.into(&app.ID, key+".id"),
			"name":         r.into(&app.Name, key+".name"),
			"app_key":      r.into(&app.AppKey, key+".app_key"),
			"token_secret": r.into(&app.TokenSecret, key+".token_secret"),
		})
		all = append(all, app)
	})
	return all
}

func (r *reader) ages(n *yaml.Node, key string, ages map[string]kindAge) {
	if isNull(n) {
		return
	}
	known := map[string]func(*yaml.Node){}
	for _, kind := range kindsOf(key) {
		known[kind] = func(v *yaml.Node) {
			var d time.Duration
			r.set(&d, v, join(key, kind))
			ages[kind] = kindAge{Age: d, at: r.place(v)}
		}
	}
	r.fields(n, key, known)
}

func (r *reader) place(n *yaml.Node) place {
	at := r.at
	if r.set1 != nil { // a file; what comes from elsewhere has no lines
		at.line = n.Line
	}
	return at
}

func (r *reader) fault(n *yaml.Node, key, format string, args ...any) {
	r.faults.add(r.place(n), key, format, args...)
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func join(path, part string) string {
	if path == "" {
		return part
	}
	return path + "." + part
}
