package bayeuxtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// parse reads JSON with its numbers as they are written.
func parse(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("bayeuxtest: %w in %s", err, text)
	}
	return v, nil
}

// matcher compares what came with what a script expects.
type matcher struct {
	kept map[string]string // variables that "$=name" sets
}

// match returns what is wrong, "" if nothing is. at says where in the message.
func (m matcher) match(at string, want, got any) string {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return at + " is no object"
		}
		for name, v := range w {
			value, is := g[name]
			if v == "$absent" {
				if is {
					return at + "." + name + " is there"
				}
				continue
			}
			if !is {
				return at + "." + name + " is missing"
			}
			if wrong := m.match(at+"."+name, v, value); wrong != "" {
				return wrong
			}
		}
		return ""
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return fmt.Sprintf("%s is not a list of %d", at, len(w))
		}
		for i, v := range w {
			if wrong := m.match(fmt.Sprintf("%s[%d]", at, i), v, g[i]); wrong != "" {
				return wrong
			}
		}
		return ""
	case string:
		if strings.HasPrefix(w, "$") {
			return m.special(at, w, got)
		}
	}
	if want != got {
		return fmt.Sprintf("%s is %v, not %v", at, got, want)
	}
	return ""
}

// special compares with one of the texts that stand for values.
func (m matcher) special(at, want string, got any) string {
	text, isText := got.(string)
	number, isNumber := got.(json.Number)
	switch {
	case want == "$any", want == "$string" && isText, want == "$number" && isNumber:
		return ""
	case strings.HasPrefix(want, "$=") && isText:
		m.kept[want[2:]] = text
		return ""
	case strings.HasPrefix(want, "$time:") && isNumber:
		low, high, _ := strings.Cut(want[len("$time:"):], "..")
		n, err := strconv.ParseFloat(number.String(), 64)
		from, errFrom := strconv.ParseFloat(low, 64)
		to, errTo := strconv.ParseFloat(high, 64)
		if err == nil && errFrom == nil && errTo == nil && from <= n && n <= to {
			return ""
		}
	}
	return fmt.Sprintf("%s is %v, not %s", at, got, want)
}
