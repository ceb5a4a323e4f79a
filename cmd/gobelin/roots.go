package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/spf13/cobra"
)

// keySource are the flags of verbs that work with a server's secrets.
type keySource struct {
	path, data string
}

func (k *keySource) flags(c *cobra.Command) {
	c.PersistentFlags().StringVar(&k.path, "config", "", "the server's configuration file")
	c.PersistentFlags().StringVar(&k.data, "data", "", "the server's data folder (default .gobelin, that of gobelin dev)")
}

// load returns the server's configuration with its keys; nothing is made.
func (k *keySource) load() (*config, error) {
	dev := k.path == ""
	c, _, fs := load(source{path: k.path, dev: dev})
	if len(fs) > 0 {
		return nil, fs
	}
	if k.data != "" {
		c.Store = location(k.data)
	}
	if dev {
		if _, err := c.completeDevAccount(false); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func newRootsCommand() *cobra.Command {
	keys := &keySource{}
	var appName, class string
	var number uint16
	var asJSON bool
	c := &cobra.Command{
		Use:   "root OBJECT",
		Short: "Print an object's signed roots",
		Long: `Prints the names under which an object's channels exist, from the keys of a
configuration or a data folder. An object whose root was reset has other ones:
--reset says how often that was; POST /v1/objects always answers the true ones.`,
		Example: `  gobelin root live-123                                # with the keys of gobelin dev
  gobelin root live-123 --config gobelin.yaml --app main
  gobelin root live-123 --class view
  gobelin root check 01807cf168cd66dae96e9bd900e4b07312260f49`,
		Args: cobra.ExactArgs(1),
		RunE: work(func(c *cobra.Command, args []string) error {
			if err := objectFault(args[0]); err != nil {
				return usage{err}
			}
			conf, ring, app, err := keys.ring(appName)
			if err != nil {
				return err
			}
			wanted, err := broker.RootClasses(conf.rootClasses())
			if err != nil {
				return err
			}
			if class != "" {
				i, err := classByName(wanted, class)
				if err != nil {
					return usage{err}
				}
				wanted = wanted[i : i+1]
			}
			oid := ring.OID(uint32(app.ID), args[0], number)
			if asJSON {
				roots := map[string]string{}
				for _, k := range wanted {
					roots[k.Name] = "/" + ring.Root(oid, k.Number, time.Now())
				}
				return printJSON(c.OutOrStdout(), struct {
					Object string            `json:"object"`
					App    string            `json:"app"`
					Roots  map[string]string `json:"roots"`
				}{args[0], app.Name, roots})
			}
			for _, k := range wanted {
				root := "/" + ring.Root(oid, k.Number, time.Now())
				if class == "" {
					root = fmt.Sprintf("%-8s %s", k.Name, root)
				}
				fmt.Fprintln(c.OutOrStdout(), root)
			}
			return nil
		}),
	}
	keys.flags(c)
	c.PersistentFlags().StringVar(&appName, "app", "", "application (default: the only one)")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	c.Flags().StringVar(&class, "class", "", "only this one: view, guest, control, ingest, daily, or one of keys.classes")
	c.Flags().Uint16Var(&number, "reset", 0, "how often the object's root was reset")
	c.AddCommand(newRootCheckCommand(keys, &appName))
	return c
}

func classByName(classes []broker.RootClass, name string) (int, error) {
	var names []string
	for i, k := range classes {
		if k.Name == name {
			return i, nil
		}
		names = append(names, k.Name)
	}
	return 0, fmt.Errorf("--class %q is none of %s%s", clip(name), strings.Join(names, ", "), suggestion(name, names))
}

// objectFault checks an object's id (security.md §1.3).
func objectFault(id string) error {
	if len(id) == 0 || len(id) > 200 {
		return errors.New("an object's id has 1 to 200 bytes")
	}
	for _, c := range []byte(id) {
		if c < ' ' || c == 0x7f {
			return errors.New("an object's id has no control characters")
		}
	}
	return nil
}

// ring returns the server's configuration, its keyring and the application that was named.
func (k *keySource) ring(appName string) (*config, *channels.Keyring, appConfig, error) {
	c, err := k.load()
	if err != nil {
		return nil, nil, appConfig{}, err
	}
	if err := c.completeKeys(false); err != nil {
		return nil, nil, appConfig{}, err
	}
	app, err := c.app(appName)
	if err != nil {
		return nil, nil, appConfig{}, err
	}
	ring, err := c.keyring()
	return c, ring, app, err
}

func newRootCheckCommand(keys *keySource, appName *string) *cobra.Command {
	var object string
	var asJSON bool
	var number uint16
	c := &cobra.Command{
		Use:   "check ROOT",
		Short: "Say in words what a root is, or why it fails",
		Example: `  gobelin root check 01807cf168cd66dae96e9bd900e4b07312260f49
  gobelin root check /01807cf168cd66dae96e9bd900e4b07312260f49/all_json --object live-123`,
		Args: cobra.ExactArgs(1),
		RunE: work(func(c *cobra.Command, args []string) error {
			var out bytes.Buffer
			err := checkRoot(&out, keys, *appName, args[0], object, number)
			return explained(c.OutOrStdout(), out.String(), err, asJSON)
		}),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	c.Flags().StringVar(&object, "object", "", "also say whether it is of this object")
	c.Flags().Uint16Var(&number, "reset", 0, "how often the object's root was reset")
	return c
}

// checkRoot prints what a root is, and fails when it is none, or not of the object
// that was named.
func checkRoot(out io.Writer, keys *keySource, appName, text, object string, number uint16) error {
	if object != "" {
		if err := objectFault(object); err != nil {
			return usage{err}
		}
	}
	conf, err := keys.load()
	if err != nil {
		return err
	}
	if err := conf.completeKeys(false); err != nil {
		return err
	}
	words, good := explainRoot(conf, text, time.Now())
	fmt.Fprintln(out, words)
	if !good {
		return failure{error: errors.New("the root fails"), silent: true}
	}
	if object == "" {
		return nil
	}
	ring, err := conf.keyring()
	if err != nil {
		return err
	}
	app, err := conf.app(appName)
	if err != nil {
		return err
	}
	v, _ := ring.Verify(rootOf(text), time.Now())
	if ring.OID(uint32(app.ID), object, number) != v.OID {
		return fmt.Errorf("it is not of object %s of application %s (reset %d)", object, app.Name, number)
	}
	fmt.Fprintf(out, "it is of object %s of application %s\n", object, app.Name)
	return nil
}

// explained prints what a check has said, and passes on how it ended.
func explained(w io.Writer, words string, err error, asJSON bool) error {
	var f failure
	if !asJSON || err != nil && !errors.As(err, &f) {
		_, e := io.WriteString(w, words)
		return errors.Join(e, err)
	}
	return errors.Join(printJSON(w, struct {
		Good  bool     `json:"good"`
		Words []string `json:"words"`
	}{err == nil, strings.Split(strings.TrimSpace(words), "\n")}), err)
}

// rootOf returns the root of a channel or of a root itself, without a slash.
func rootOf(text string) string {
	root, _, _ := strings.Cut(strings.TrimPrefix(text, "/"), "/")
	return root
}

// explainRoot says what a root is (security.md §1.5), or which check it fails.
// Peers are told one thing for all failures; this is for who holds the keys.
func explainRoot(c *config, text string, now time.Time) (words string, good bool) {
	root := rootOf(text)
	switch {
	case len(root) != 40:
		return fmt.Sprintf("not a root: has %d characters, must have 40", len(root)), false
	case !channels.IsRoot(root) && channels.IsRoot(strings.ToLower(root)):
		return "not a root: has capital letters, only 0-9 and a-f are taken", false
	case !channels.IsRoot(root):
		return "not a root: has characters other than 0-9 and a-f", false
	}
	kid, class := digit(root[0]), channels.Class(digit(root[1]))
	ring, err := c.keyring()
	if err != nil {
		return err.Error(), false
	}
	known := false
	var kids []string
	for _, k := range c.Keys.Roots {
		known = known || k.KID == kid
		kids = append(kids, fmt.Sprint(k.KID))
	}
	v, ok := ring.Verify(root, now)
	switch {
	case !known:
		return fmt.Sprintf("refused: signed with key %d, the configuration has %s", kid, strings.Join(kids, ", ")), false
	case class == 0:
		return "refused: class 0 never is valid", false
	case !ok && !ring.Expires(class, now).IsZero():
		return "refused: the tag does not match the period of now or the one before: it has expired, was changed, or is signed with another secret", false
	case !ok:
		return fmt.Sprintf("refused: the tag does not match key %d: it was changed, mistyped, or signed with another secret", kid), false
	}
	said := fmt.Sprintf(" root, signed with key %d, object %s", v.KID, v.OID)
	all, err := broker.RootClasses(c.rootClasses())
	if err != nil {
		return err.Error(), false
	}
	for _, k := range all {
		if k.Number == v.Class {
			return "genuine: " + k.Name + said + "\nit " + classWords(k, c.period(k.Name)) + "\nwhether the object still exists, only the server knows", true
		}
	}
	return "genuine: " + v.Class.String() + said + "\nbut no class of the configuration: the server refuses it", false
}

func digit(c byte) int {
	if c <= '9' {
		return int(c - '0')
	}
	return int(c-'a') + 10
}
