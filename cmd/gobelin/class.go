package main

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/channels"
)

// classConfig is a class of roots (security.md §1.4): one of the operator's own, or a
// built-in one with rights taken away.
type classConfig struct {
	Name      string
	Number    int
	Level     string
	Subscribe bool
	Publish   string
	Catchup   time.Duration
	Period    time.Duration
	at        place
}

// What a class's level and publish can be, in the order of broker.Role and broker.Reach.
var (
	classLevels  = []string{"", "viewer", "moderator", "broadcaster"}
	classReaches = []string{"none", "custom", "all"}
)

// Bounds of the period of a class whose roots expire.
const (
	shortestPeriod = time.Minute
	longestPeriod  = 366 * 24 * time.Hour
)

// newClass returns a class before anything of it is read: as built in, else one that
// views.
func newClass(name string) classConfig {
	of, is := broker.BuiltInClass(name)
	if !is {
		of = broker.RootClass{Level: broker.RoleViewer, Subscribe: true, Catchup: broker.AnyCatchup}
	}
	return classConfig{
		Name: name, Number: int(of.Number), Level: classLevels[of.Level], Subscribe: of.Subscribe,
		Publish: classReaches[of.Publish], Catchup: of.Catchup,
	}
}

// classes reads a mapping of names to classes.
func (r *reader) classes(n *yaml.Node, key string) (all []classConfig) {
	known := map[string]func(*yaml.Node){}
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		name := n.Content[i].Value
		known[name] = func(v *yaml.Node) { all = append(all, r.class(v, join(key, clip(name)), name)) }
	}
	r.fields(n, key, known)
	return all
}

func (r *reader) class(n *yaml.Node, key, name string) classConfig {
	c := newClass(name)
	c.at = r.place(n)
	known := map[string]func(*yaml.Node){
		"level":       r.into(&c.Level, key+".level"),
		"subscribe":   r.into(&c.Subscribe, key+".subscribe"),
		"publish":     r.into(&c.Publish, key+".publish"),
		"catchup_max": r.into(&c.Catchup, key+".catchup_max"),
	}
	if _, is := broker.BuiltInClass(name); !is { // others keep what is in the roots that there are
		known["number"] = r.into(&c.Number, key+".number")
		known["period"] = r.into(&c.Period, key+".period")
	}
	r.fields(n, key, known)
	return c
}

// show writes the class as it is configured.
func (c classConfig) show() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: {number: %d, level: %s, subscribe: %t, publish: %s", c.Name, c.Number, c.Level, c.Subscribe, c.Publish)
	if c.Catchup != broker.AnyCatchup {
		fmt.Fprintf(&b, ", catchup_max: %s", showDuration(c.Catchup))
	}
	if c.Period > 0 {
		fmt.Fprintf(&b, ", period: %s", showDuration(c.Period))
	}
	return b.String() + "}"
}

// root returns the row as the broker has it; the class is valid, or ok is false.
func (c classConfig) root() (row broker.RootClass, ok bool) {
	level, reach := position(classLevels, c.Level), position(classReaches, c.Publish)
	row = broker.RootClass{
		Number: channels.Class(min(max(c.Number, 0), channels.MaxKID)), Name: c.Name, Level: broker.Role(level),
		Subscribe: c.Subscribe, Publish: broker.Reach(max(reach, 0)), Catchup: c.Catchup,
	}
	return row, level > 0 && reach >= 0
}

func position(list []string, text string) int {
	for i, s := range list {
		if s == text {
			return i
		}
	}
	return -1
}

// rootClasses are the rows of a valid configuration.
func (c *config) rootClasses() []broker.RootClass {
	var all []broker.RootClass
	for _, k := range c.Keys.Classes {
		row, _ := k.root()
		all = append(all, row)
	}
	return all
}

// period returns how long a root of a class of the configuration holds; 0: it does not
// expire.
func (c *config) period(name string) time.Duration {
	for _, k := range c.Keys.Classes {
		if k.Name == name {
			return k.Period
		}
	}
	return 0
}

// className is what a class can be called: it is a word of the command line, of URLs and
// of answers.
var className = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)

func (v *validation) classes() {
	numbers := map[int]string{}
	for _, c := range v.c.Keys.Classes {
		key := join("keys.classes", clip(c.Name))
		if v.broken[key] {
			continue
		}
		fault := func(format string, args ...any) { v.fs.add(c.at, key, format, args...) }
		row, ok := c.root()
		switch text := row.Fault(); {
		case !className.MatchString(c.Name):
			fault("a class is called by a small letter and up to 31 small letters, digits, dashes and underscores")
		case !ok && position(classReaches, c.Publish) < 0:
			fault("publish: %q is none of %s%s", clip(c.Publish), strings.Join(classReaches, ", "), suggestion(c.Publish, classReaches))
		case !ok:
			fault("level: %q is none of %s%s", clip(c.Level), strings.Join(classLevels[1:], ", "), suggestion(c.Level, classLevels[1:]))
		case c.Catchup < 0:
			fault("catchup_max: must be at least 0s, is %v", c.Catchup)
		case text != "":
			fault("%s", text)
		case numbers[c.Number] != "":
			fault("number %d is that of %s, too", c.Number, numbers[c.Number])
		case c.Period != 0 && (c.Period < shortestPeriod || c.Period > longestPeriod || c.Period%time.Second != 0):
			fault("period: must be whole seconds from %s to %s, or 0s for never, is %v", showDuration(shortestPeriod), showDuration(longestPeriod), c.Period)
		}
		numbers[c.Number] = c.Name
	}
}

// classWords says what a class is good for, for who holds the keys.
func classWords(c broker.RootClass, period time.Duration) string {
	of, is := broker.BuiltInClass(c.Name)
	if words := builtInWords[c.Number]; is && c == of {
		return words
	}
	words := "opens what a " + classLevels[c.Level] + " may: "
	switch {
	case c.Subscribe && c.Catchup == broker.AnyCatchup:
		words += "subscribes, with catch-up"
	case c.Subscribe && c.Catchup > 0:
		words += "subscribes, with catch-up of at most " + showDuration(c.Catchup)
	case c.Subscribe:
		words += "subscribes, without the past"
	default:
		words += "does not subscribe"
	}
	words += map[broker.Reach]string{
		broker.ReachNothing: "", broker.ReachCustom: ", publishes to the application's own channels", broker.ReachAll: ", publishes",
	}[c.Publish]
	if period > 0 {
		return words + "; for its own " + showDuration(period) + " and the next"
	}
	return words + "; never expires"
}

var builtInWords = map[channels.Class]string{
	channels.ClassView:    "subscribes, with catch-up; never expires",
	channels.ClassGuest:   "subscribes, without the past; never expires",
	channels.ClassControl: "subscribes to everything of the object and publishes; never expires. Keep it private",
	channels.ClassIngest:  "publishes only; never expires. Keep it private",
	channels.ClassDaily:   "as view, for its own UTC day and the next",
}
