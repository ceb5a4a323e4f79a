package channels

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Few segments, so that patterns and names of a random tree meet often.
var (
	genSegment = rapid.SampledFrom([]string{"a", "b", "ab"})
	genName    = rapid.Custom(func(t *rapid.T) string {
		return "/" + strings.Join(rapid.SliceOfN(genSegment, 1, 5).Draw(t, "segments"), "/")
	})
	genPattern = rapid.Custom(func(t *rapid.T) string {
		segments := rapid.SliceOfN(genSegment, 0, 4).Draw(t, "segments")
		end := rapid.SampledFrom([]string{"a", "b", "*", "**"}).Draw(t, "end")
		return "/" + strings.Join(append(segments, end), "/")
	})
)

// matched collects what Match visits: the exact ones and the others. It fails if
// a value comes twice, or an exact one after another.
func matched[V comparable](t require.TestingT, tree *Tree[V], n Name) map[V]bool {
	got := map[V]bool{}
	wild := false
	tree.Match(n, func(v V, exact bool) {
		_, twice := got[v]
		require.False(t, twice, "%v twice for %s", v, n)
		require.False(t, exact && wild, "exact %v after a wildcard's for %s", v, n)
		got[v] = exact
		wild = wild || !exact
	})
	require.Equal(t, len(got) > 0, tree.Matches(n))
	return got
}

func TestTree(t *testing.T) {
	var tree Tree[string]
	name := mustName(t, "/a/b/c")
	require.Empty(t, matched(t, &tree, name))
	require.Zero(t, tree.Len())

	add := func(p, v string, want bool) {
		t.Helper()
		require.Equal(t, want, tree.Add(mustPattern(t, p), v))
	}
	remove := func(p, v string, want bool) {
		t.Helper()
		require.Equal(t, want, tree.Remove(mustPattern(t, p), v))
	}
	add("/a/b/c", "plain", true)
	add("/a/b/c", "plain", false)
	add("/a/b/*", "star", true)
	add("/a/b/**", "deep", true)
	add("/a/**", "deeper", true)
	add("/**", "all", true)
	add("/a/b/c", "both", true)
	add("/**", "both", true)
	add("/a/b/*", "both", true)
	add("/a/*", "no", true)
	add("/a/b", "no", true)
	add("/a/b/c/*", "no", true)
	add("/a/b/c/**", "no", true)
	add("/*", "no", true)
	require.Equal(t, 13, tree.Len())
	require.Equal(t, map[string]bool{
		"plain": true, "both": true, "star": false, "deep": false, "deeper": false, "all": false,
	}, matched(t, &tree, name))

	remove("/a/b/c", "nobody", false)
	remove("/a/b/c/d", "plain", false)
	remove("/x/y/*", "plain", false)
	remove("/a/b/c", "both", true)
	remove("/a/b/c", "both", false)
	require.False(t, matched(t, &tree, name)["both"], "still there by wildcards")
	remove("/a/b/*", "both", true)
	remove("/**", "both", true)
	require.NotContains(t, matched(t, &tree, name), "both")
	require.Equal(t, 10, tree.Len())
}

func TestTreeTakesNoZero(t *testing.T) {
	var tree Tree[int]
	require.False(t, tree.Add(Pattern{}, 1))
	require.False(t, tree.Remove(Pattern{}, 1))
	require.True(t, tree.Add(mustPattern(t, "/**"), 1))
	require.Empty(t, matched(t, &tree, Name{}))
	require.Equal(t, 1, tree.Len())
}

// TestTreeModel compares a tree with a list of pairs that is searched naively.
func TestTreeModel(t *testing.T) {
	type pair struct {
		p Pattern
		v int
	}
	rapid.Check(t, func(t *rapid.T) {
		var tree Tree[int]
		model := map[pair]bool{}
		draw := func(t *rapid.T) pair {
			return pair{mustPattern(t, genPattern.Draw(t, "pattern")), rapid.IntRange(0, 40).Draw(t, "value")}
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				x := draw(t)
				require.Equal(t, !model[x], tree.Add(x.p, x.v))
				model[x] = true
			},
			"add many": func(t *rapid.T) {
				x := draw(t)
				for v := range 30 {
					x.v = v
					require.Equal(t, !model[x], tree.Add(x.p, x.v))
					model[x] = true
				}
			},
			"remove": func(t *rapid.T) {
				x := draw(t)
				require.Equal(t, model[x], tree.Remove(x.p, x.v))
				delete(model, x)
			},
			"remove a pattern": func(t *rapid.T) {
				p := draw(t).p
				for x := range maps.Clone(model) {
					if x.p == p {
						require.True(t, tree.Remove(x.p, x.v))
						delete(model, x)
					}
				}
			},
			"match": func(t *rapid.T) {
				n := mustName(t, genName.Draw(t, "name"))
				want := map[int]bool{}
				for x := range model {
					if x.p.Matches(n) {
						want[x.v] = want[x.v] || !x.p.Wild()
					}
				}
				require.Equal(t, want, matched(t, &tree, n))
			},
			"": func(t *rapid.T) {
				require.Equal(t, len(model), tree.Len())
				checkNodes(t, &tree.root)
			},
		})
		for x := range model {
			require.True(t, tree.Remove(x.p, x.v))
		}
		require.True(t, tree.root.empty(), "something is left of an emptied tree")
	})
}

// checkNodes looks at what must hold of each node: none is empty but the top, and
// every index says where the values are.
func checkNodes[V comparable](t require.TestingT, at *node[V]) {
	require.True(t, at.parent == nil || !at.empty(), "an empty node was left")
	for i := range at.sets {
		s := &at.sets[i]
		if s.index == nil {
			require.Less(t, len(s.values), indexFrom)
			continue
		}
		require.Len(t, s.index, len(s.values))
		for i, v := range s.values {
			require.Equal(t, i, s.index[v])
		}
	}
	for segment, child := range at.children {
		require.Equal(t, segment, child.segment)
		require.Same(t, at, child.parent)
		checkNodes(t, child)
	}
}

// TestTreeOfManyNested goes beyond the room that Match has on its stack.
func TestTreeOfManyNested(t *testing.T) {
	var tree Tree[int]
	text := ""
	for i := range 40 {
		require.True(t, tree.Add(mustPattern(t, text+"/**"), i))
		require.True(t, tree.Add(mustPattern(t, text+"/**"), -1))
		text += "/x"
	}
	require.Len(t, matched(t, &tree, mustName(t, text)), 41)
}

// TestTreeGivesMemoryBack: a crowd at one node leaves, and so does what it took.
func TestTreeGivesMemoryBack(t *testing.T) {
	var tree Tree[int]
	p, n := mustPattern(t, "/a/b"), mustName(t, "/a/b")
	for v := range 10_000 {
		require.True(t, tree.Add(p, v))
	}
	for v := range 9_990 {
		require.True(t, tree.Remove(p, v))
	}
	checkNodes(t, &tree.root)
	require.Less(t, cap(tree.find(p).sets[plain].values), 100)
	require.Equal(t, []int{9990, 9991, 9992, 9993, 9994, 9995, 9996, 9997, 9998, 9999},
		slices.Sorted(maps.Keys(matched(t, &tree, n))))
}

func TestTreeConcurrently(t *testing.T) {
	var tree Tree[int]
	names := []string{"/a/b", "/a/*", "/a/**", "/**", "/a/b/c"}
	patterns := make([]Pattern, 0, len(names))
	for _, s := range names {
		patterns = append(patterns, mustPattern(t, s))
	}
	fixed := mustPattern(t, "/a/b")
	require.True(t, tree.Add(fixed, -1))
	n := mustName(t, "/a/b")
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 500 {
				p := patterns[i%len(patterns)]
				if !tree.Add(p, g) {
					t.Error("not added")
				}
				found := false
				tree.Match(n, func(v int, exact bool) { found = found || v == -1 && exact })
				if !found || !tree.Matches(n) {
					t.Error("lost the value that stays")
				}
				if !tree.Remove(p, g) {
					t.Error("not removed")
				}
			}
		})
	}
	wg.Wait()
	require.Equal(t, 1, tree.Len())
}

func TestMatchDoesNotAllocate(t *testing.T) {
	var tree Tree[*int]
	for _, s := range []string{"/a/b", "/a/*", "/a/**", "/**"} {
		for range 20 {
			require.True(t, tree.Add(mustPattern(t, s), new(int)))
		}
	}
	n, seen := mustName(t, "/a/b"), 0
	visit := func(*int, bool) { seen++ }
	require.Zero(t, testing.AllocsPerRun(100, func() { tree.Match(n, visit) }))
	require.NotZero(t, seen)
}

func BenchmarkTreeMatch(b *testing.B) {
	f := func(subscribers int, wildcards bool) {
		b.Run(fmt.Sprintf("subscribers=%d/wildcards=%v", subscribers, wildcards), func(b *testing.B) {
			var tree Tree[*int]
			for i := range 10_000 { // what else is in the tree
				tree.Add(mustPattern(b, fmt.Sprintf("/%040x/all_json", i)), new(int))
			}
			root := "/09c1de3aa9fdc82befa9fec9cf5b29e0dd9dee62"
			for range subscribers {
				v := new(int)
				tree.Add(mustPattern(b, root+"/all_json"), v)
				if wildcards {
					tree.Add(mustPattern(b, root+"/**"), v)
				}
			}
			n, seen := mustName(b, root+"/all_json"), 0
			visit := func(*int, bool) { seen++ }
			b.ReportAllocs()
			for b.Loop() {
				tree.Match(n, visit)
			}
			if seen > 0 {
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(seen), "ns/value")
			}
		})
	}
	f(0, false)
	f(1, false)
	f(10, true)
	f(10_000, false)
	f(10_000, true)
}

func BenchmarkTreeAddRemove(b *testing.B) {
	var tree Tree[*int]
	p := mustPattern(b, "/09c1de3aa9fdc82befa9fec9cf5b29e0dd9dee62/all_json")
	for range 10_000 {
		tree.Add(p, new(int))
	}
	v := new(int)
	b.ReportAllocs()
	for b.Loop() {
		tree.Add(p, v)
		tree.Remove(p, v)
	}
}
