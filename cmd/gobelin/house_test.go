package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The house: which package may know which (architecture.md §1). Imports point
// one way, so that each part can be read, tested and used without those above.

const module = "github.com/gobelin-broker/gobelin"

// room is what one package may import of ours.
type room struct {
	may []string // ours, relative to the module; "x/..." is x and all below it
	why string
}

// rooms holds each package of the table; one below that is not named here lives
// by the rule of the nearest above it, and may import that family.
var rooms = map[string]room{
	"channels":        {nil, "names are the ground: everything imports them"},
	"store":           {nil, "the contract of what is kept knows nobody who keeps or asks"},
	"store/memory":    {[]string{"store", "store/internal/..."}, "a backend knows the contract alone"},
	"store/disk":      {[]string{"store", "store/internal/..."}, "a backend knows the contract alone"},
	"store/redis":     {[]string{"store", "store/internal/..."}, "a backend knows the contract alone"},
	"store/storetest": {[]string{"store"}, "one suite for all backends knows none of them"},
	"bayeux": {
		[]string{"channels"},
		"bayeux.Server is to broker what http.Server is to http.Handler: it knows no store and no policy",
	},
	"bayeux/client": {
		[]string{"bayeux", "channels"},
		"users import the client: it brings no broker with it",
	},
	"bayeux/bench": {
		[]string{"channels"},
		"it measures any server from outside: what it shared with ours could hide a fault of ours",
	},
	"bayeux/bayeuxtest": {
		[]string{"bayeux", "bayeux/client", "channels"},
		"conversations with the protocol, without a broker behind it",
	},
	"catchup": {
		[]string{"channels", "store"},
		"what is remembered does not know who asks, nor over what",
	},
	"broker": {
		[]string{"bayeux", "bayeux/browser", "broker/trace", "catchup", "channels", "store"},
		"it routes for any backend and over any transport, so it names none of either",
	},
	"broker/api": {
		[]string{"broker", "broker/chart", "broker/exact", "broker/signed", "broker/trace", "catchup", "channels"},
		"the HTTP surfaces ask the broker, they do not reach sessions or the store past it",
	},
	"broker/trace":   {[]string{"store"}, "it says how long things took, and knows of them no more than their names"},
	"broker/console": {[]string{"broker"}, "a web page that shows what the broker says"},
	"broker/brokertest": {
		[]string{"bayeux/...", "broker/...", "catchup", "channels", "store/..."},
		"torture and the history checker put a whole broker together",
	},
	"cmd/gobelin": {
		[]string{"bayeux/...", "broker/...", "catchup", "channels", "examples", "store/..."},
		"the one place that wires everything",
	},
	"cmd/release": {nil, "it packs what was built, whatever that is"},
	"examples": {
		[]string{"bayeux/client"},
		"what a user copies must do without our insides",
	},
}

// testKits are imported by tests alone, and may use what tests use.
var testKits = []string{"bayeux/bayeuxtest", "broker/brokertest", "store/storetest"}

// forTests may be imported by any test beside what its package may: real
// backends and a client instead of doubles.
var forTests = append([]string{"bayeux/client", "channels", "store", "store/disk", "store/memory", "store/redis"}, testKits...)

// door is where one third party comes in.
type door struct {
	in  []string // packages of ours; nil: any. "x/..." as in room
	why string
}

const onlyTests = "tests"

// doors is every third party there is, by the beginning of its path. An import
// of another is refused: choosing one is a decision, made in architecture.md §6.
var doors = map[string]door{
	"github.com/gorilla/websocket":     {[]string{"bayeux", "bayeux/bayeuxtest", "bayeux/bench", "bayeux/client", "broker/brokertest"}, "a transport is the protocol's own affair"},
	"github.com/redis/go-redis/":       {[]string{"store/redis"}, "its retries append twice: one place must know how to use it"},
	"github.com/cockroachdb/":          {[]string{"store/disk"}, "the disk engine can be exchanged"},
	"github.com/prometheus/":           {[]string{"broker"}, "one place sees to it that no channel becomes a label"},
	"github.com/spf13/":                {[]string{"cmd/gobelin"}, "a command line is no library's affair"},
	"github.com/caarlos0/env/":         {[]string{"cmd/gobelin"}, "packages get plain structs, never an environment"},
	"go.yaml.in/yaml/":                 {[]string{"cmd/gobelin"}, "packages get plain structs, never a file"},
	"golang.org/x/crypto/acme":         {[]string{"cmd/gobelin"}, "listeners are made where everything is wired"},
	"github.com/HdrHistogram/":         {[]string{"bayeux/bench", "broker/brokertest"}, "only who measures from outside: the broker has Prometheus"},
	"github.com/golang-jwt/jwt/":       {[]string{"broker", "cmd/gobelin"}, "one place pins the algorithms; the command line makes and explains tokens"},
	"github.com/oklog/ulid/":           {nil, "message ids; never clientIds or secrets, as they can be guessed"},
	"go.uber.org/zap":                  {nil, "the logger that everybody is given"},
	"golang.org/x/time/rate":           {nil, "limits stand where what they guard stands"},
	"github.com/stretchr/testify/":     {[]string{onlyTests}, "assertions do not belong in the product"},
	"pgregory.net/rapid":               {[]string{onlyTests}, "generators do not belong in the product"},
	"github.com/rogpeppe/go-internal/": {[]string{onlyTests}, "scripts drive the real binary from outside"},
	"github.com/alicebob/miniredis/":   {[]string{onlyTests}, "a double; the real Redis decides"},
}

// never is what of the standard library would show that a package does another's work.
var never = map[string]map[string]string{
	"channels": {"net/http": "names come over any road", "net": "names come over any road"},
	"store":    {"net/http": "the contract is not HTTP's", "net": "a contract opens nothing"},
	"catchup":  {"net/http": "each family writes and replays; HTTP is broker/api's"},
}

// listed is what `go list` says of one package.
type listed struct {
	ImportPath   string
	Dir          string
	GoFiles      []string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// TestImports holds every import of the repository against the tables.
func TestImports(t *testing.T) {
	packages := list(t)
	require.NotEmpty(t, packages)
	for _, fault := range faults(packages) {
		t.Error(fault)
	}
}

// TestTablesRefuse shows that the tables refuse what they are for.
func TestTablesRefuse(t *testing.T) {
	f := func(pkg, imported, want string) {
		t.Helper()
		p := listed{ImportPath: module + "/" + pkg, Imports: []string{imported}}
		require.Contains(t, strings.Join(faults([]listed{p}), "\n"), want)
	}
	ours := func(pkg string) string { return module + "/" + pkg }
	f("channels", ours("store"), rooms["channels"].why)
	f("bayeux", ours("store"), rooms["bayeux"].why)
	f("bayeux/client", ours("broker"), rooms["bayeux/client"].why)
	f("bayeux/browser", ours("catchup"), rooms["bayeux"].why)
	f("broker", ours("store/disk"), rooms["broker"].why)
	f("broker/api", ours("bayeux"), rooms["broker/api"].why)
	f("broker/api", ours("bayeux/bayeuxtest"), rooms["broker/api"].why)
	f("catchup", "net/http", "broker/api's")
	f("broker", "github.com/gorilla/websocket", doors["github.com/gorilla/websocket"].why)
	f("store/disk", "github.com/redis/go-redis/v9", doors["github.com/redis/go-redis/"].why)
	f("store", "github.com/stretchr/testify/require", doors["github.com/stretchr/testify/"].why)
	f("broker", "example.com/new", "architecture.md §6")
	f("new", "fmt", "no room")

	test := listed{ImportPath: ours("catchup"), TestImports: []string{ours("broker"), ours("store/memory")}}
	require.Len(t, faults([]listed{test}), 1, "a test may take a backend, not what is above it")
	fine := listed{
		ImportPath:   ours("bayeux/client"),
		Imports:      []string{"net/http", ours("bayeux"), "github.com/gorilla/websocket"},
		XTestImports: []string{ours("bayeux/client"), "github.com/stretchr/testify/require"},
	}
	require.Empty(t, faults([]listed{fine}))
}

// TestEachPackageHasItsPicture: doc.go holds the package comment, and no other file.
func TestEachPackageHasItsPicture(t *testing.T) {
	for _, p := range list(t) {
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.PackageClauseOnly)
			require.NoError(t, err)
			if name != "doc.go" && file.Doc != nil {
				t.Errorf("%s/%s: the package comment belongs in doc.go", p.ImportPath, name)
			}
			if name == "doc.go" && len(file.Doc.Text()) < 200 {
				t.Errorf("%s/doc.go: holds no picture: way of the data, goroutines, locks, caveats", p.ImportPath)
			}
		}
		if len(p.GoFiles) > 0 && !slices.Contains(p.GoFiles, "doc.go") {
			t.Errorf("%s: has no doc.go", p.ImportPath)
		}
	}
}

// TestReadmePackages: README's table has every package that others may look into.
func TestReadmePackages(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(text), "\n## The packages, by verb\n")
	require.True(t, ok)
	section, _, _ := strings.Cut(rest, "\n## ")
	for _, p := range list(t) {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		if !strings.Contains(name, "internal") && !strings.HasPrefix(name, "examples/") {
			require.Contains(t, section, "`"+name+"`", "README, The packages, by verb")
		}
	}
}

// maxLines is the hard limit of a file; 500 is the soft one.
const maxLines = 700

// TestFilesAreShort: one noun a file, so that none needs to be long.
func TestFilesAreShort(t *testing.T) {
	top := filepath.Join("..", "..")
	seen := 0
	err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == ".git") {
			return fs.SkipDir
		}
		if entry.IsDir() || filepath.Ext(path) != ".go" {
			return nil
		}
		seen++
		text, err := os.ReadFile(path)
		if lines := bytes.Count(text, []byte("\n")); lines > maxLines {
			t.Errorf("%s: %d lines, at most %d", strings.TrimPrefix(path, top+"/"), lines, maxLines)
		}
		return err
	})
	require.NoError(t, err)
	require.NotZero(t, seen)
}

// faults returns what of the packages' imports the tables refuse, with the reason.
func faults(packages []listed) []string {
	var all []string
	for _, p := range packages {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		home, rule, ok := roomOf(name)
		if !ok {
			all = append(all, fmt.Sprintf("%s: has no room in the house (architecture.md §1)", name))
			continue
		}
		may := slices.Concat(rule.may, []string{home + "/..."})
		kit := slices.Contains(testKits, name)
		for _, path := range p.Imports {
			all = append(all, check(name, path, may, rule.why, kit)...)
			if why := never[name][path]; why != "" {
				all = append(all, fmt.Sprintf("%s must not import %s: %s", name, path, why))
			}
		}
		for _, path := range slices.Concat(p.TestImports, p.XTestImports) {
			all = append(all, check(name+" (test)", path, slices.Concat(may, forTests), rule.why, true)...)
		}
	}
	return all
}

// check holds one import against the tables. by is the package, may what it may
// take of ours, test whether what is only for tests is allowed.
func check(by, path string, may []string, why string, test bool) []string {
	refuse := func(why string) []string {
		return []string{fmt.Sprintf("%s must not import %s: %s", by, path, why)}
	}
	if ours, ok := strings.CutPrefix(path, module+"/"); ok {
		if !test && slices.Contains(testKits, ours) {
			return refuse("it is for tests; " + why)
		}
		if !covered(may, ours) {
			return refuse(why)
		}
		return nil
	}
	if host, _, _ := strings.Cut(path, "/"); !strings.Contains(host, ".") {
		return nil // the standard library
	}
	for prefix, d := range doors {
		if !strings.HasPrefix(path+"/", prefix) {
			continue
		}
		from, _, _ := strings.Cut(by, " ")
		if d.in == nil || covered(d.in, from) || test && slices.Contains(d.in, onlyTests) {
			return nil
		}
		return refuse(d.why)
	}
	return refuse("no door for it: architecture.md §6 has what was chosen, and why")
}

// roomOf returns the rule of a package: its own, or that of the nearest above.
func roomOf(name string) (home string, _ room, ok bool) {
	for home = name; home != "."; home = filepath.ToSlash(filepath.Dir(home)) {
		if rule, ok := rooms[home]; ok {
			return home, rule, true
		}
	}
	return "", room{}, false
}

// covered reports whether a list names a package, or a family it belongs to.
func covered(list []string, name string) bool {
	return slices.ContainsFunc(list, func(entry string) bool {
		family, ok := strings.CutSuffix(entry, "/...")
		return entry == name || ok && (name == family || strings.HasPrefix(name, family+"/"))
	})
}

// list asks the go command for all packages of the module.
func list(t *testing.T) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,GoFiles,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = filepath.Join("..", "..")
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	require.NoError(t, err, said.String())
	var all []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		all = append(all, p)
	}
}
