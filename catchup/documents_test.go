package catchup

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/memory"
	"github.com/stretchr/testify/require"
)

var roomDocument = DocumentName{
	Key: "12/o/aa", Scope: "room",
	Log: store.LogName{Feed: "o/12/aa", Path: "/data/room"}, Limits: store.Limits{Age: 7*24*time.Hour + Grace, Length: 100_000},
}

func newMemory(t testing.TB) *memory.Store {
	t.Helper()
	s := memory.New(memory.Options{})
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func merging(text string) Change {
	return Change{Kind: Merging, Data: []byte(text), By: Author{UserRef: "ann", Role: "participant"}}
}

// changes returns the messages of a document's log.
func changes(t testing.TB, s store.Store, n DocumentName) []string {
	t.Helper()
	page, err := s.Read(context.Background(), n.Log, store.Range{Limits: n.Limits}, 100_000, 64<<20)
	require.NoError(t, err)
	require.False(t, page.More)
	var all []string
	for _, e := range page.Entries {
		m, err := Decode(e)
		require.NoError(t, err)
		all = append(all, string(m.Data))
	}
	return all
}

// versions checks that the log has versions 1 to last, each once, in order.
func versions(t testing.TB, s store.Store, n DocumentName, last int) {
	t.Helper()
	all := changes(t, s, n)
	require.Len(t, all, last)
	for i, m := range all {
		v, _ := ChangeOf([]byte(m))
		require.EqualValues(t, i+1, v)
	}
}

func TestChangeMessageE18(t *testing.T) {
	s := newMemory(t)
	d := NewDocuments(s, 0)
	for _, text := range []string{`{"score":1,"old":true,"in":{"a":1,"b":[]}}`, `{"score":2,"old":null,"note":"x","in":{"a":null}}`} {
		_, err := d.Change(t.Context(), roomDocument, merging(text))
		require.NoError(t, err)
	}
	all := changes(t, s, roomDocument)
	require.Len(t, all, 2)
	at := all[1][strings.Index(all[1], `"time":`)+7 : len(all[1])-1]
	require.Equal(t, `{"scope":"room","op":"set","changes":{"score":2,"in":{"b":[]},"note":"x"},"removed":["old"],`+
		`"data":{"score":2,"in":{"b":[]},"note":"x"},"version":2,"by":{"user_ref":"ann","role":"participant"},"time":`+at+`}`, all[1])
	ms, err := strconv.ParseInt(at, 10, 64)
	require.NoError(t, err)
	require.LessOrEqual(t, ms, s.Now().UnixMilli())
}

func TestChangeKindsE15(t *testing.T) {
	d := NewDocuments(newMemory(t), 0)
	f := func(c Change, want string, version uint64) {
		t.Helper()
		got, err := d.Change(t.Context(), roomDocument, c)
		require.NoError(t, err)
		require.Equal(t, want, string(got.Object()))
		require.Equal(t, version, got.Version)
		read, err := d.Read(t.Context(), roomDocument)
		require.NoError(t, err)
		require.Equal(t, want, string(read.Object()))
		require.Equal(t, version, read.Version)
	}
	f(Change{Kind: Clearing}, `{}`, 0)
	f(merging(`{}`), `{}`, 0)
	f(merging(`{"a":{"b":1}}`), `{"a":{"b":1}}`, 1)
	f(merging(`{}`), `{"a":{"b":1}}`, 1) // names nothing
	f(merging(`{"x":null}`), `{"a":{"b":1}}`, 1)
	f(merging(`{"a":{"b":1}}`), `{"a":{"b":1}}`, 2) // written again is written
	f(Change{Kind: Replacing, Data: []byte(`{"c":null}`)}, `{"c":null}`, 3)
	f(Change{Kind: Clearing}, `{}`, 4)
	f(Change{Kind: Clearing}, `{}`, 4)
	f(Change{Kind: Replacing, Data: []byte(`{}`)}, `{}`, 4)
}

func TestLastWriterE10(t *testing.T) {
	d := NewDocuments(newMemory(t), 0)
	put := func(user, text string) {
		t.Helper()
		c := merging(text)
		c.By.UserRef = user
		_, err := d.Change(t.Context(), roomDocument, c)
		require.NoError(t, err)
	}
	by := func(user string) string {
		t.Helper()
		doc, err := d.Read(t.Context(), roomDocument)
		require.NoError(t, err)
		return string(doc.By(user))
	}
	put("ann", `{"poll":{"q":1},"title":"x","gone":1}`)
	put("bob", `{"lower_third":"Hello","poll":{"r":2},"gone":null}`)
	put("", `{"backend":1}`)
	require.Equal(t, `{"title":"x"}`, by("ann"))
	require.Equal(t, `{"poll":{"q":1,"r":2},"lower_third":"Hello"}`, by("bob"))
	require.Equal(t, `{}`, by("cid"))
	require.Equal(t, `{}`, by(""), "what a backend wrote is nobody's")
	put("ann", `{"lower_third":"Hello"}`)
	require.Equal(t, `{"title":"x","lower_third":"Hello"}`, by("ann"), "written again is written by")
}

func TestVersionsAndSizesE16E23(t *testing.T) {
	s := newMemory(t)
	d := NewDocuments(s, 0)
	at := func(version uint64, c Change) Change { c.IfVersion = &version; return c }
	_, err := d.Change(t.Context(), roomDocument, at(1, merging(`{"a":1}`)))
	var stale *VersionError
	require.ErrorAs(t, err, &stale)
	require.Zero(t, stale.Version)
	_, err = d.Change(t.Context(), roomDocument, at(0, merging(`{"a":1}`)))
	require.NoError(t, err)
	_, err = d.Change(t.Context(), roomDocument, at(0, merging(`{"a":2}`)))
	require.ErrorAs(t, err, &stale)
	require.EqualValues(t, 1, stale.Version)

	text := func(n int) string { return `{"t":"` + strings.Repeat("x", n-8) + `"}` }
	_, err = d.Change(t.Context(), roomDocument, Change{Kind: Replacing, Data: []byte(text(MaxDocument))})
	require.NoError(t, err)
	for _, c := range []Change{
		{Kind: Replacing, Data: []byte(text(MaxDocument + 1))},
		merging(`{"b":1}`),
		merging(`{"t":null,"n":{` + strings.Repeat(`"a":null,`, MaxDocument/9) + `"a":null}}`),
	} {
		_, err = d.Change(t.Context(), roomDocument, c)
		var large *DocumentSizeError
		require.ErrorAs(t, err, &large)
		require.Equal(t, MaxDocument, large.Most)
	}
	versions(t, s, roomDocument, 2)

	// With a smaller bound than it has, it can be read, and made smaller.
	d = NewDocuments(s, 100)
	_, err = d.Change(t.Context(), roomDocument, merging(`{"b":1}`))
	require.ErrorContains(t, err, "at most 100 bytes")
	doc, err := d.Change(t.Context(), roomDocument, merging(`{"t":null,"b":1}`))
	require.NoError(t, err)
	require.Equal(t, `{"b":1}`, string(doc.Data))
}

// E16: eight nodes, each with writers of its own, on one document: every key, every
// version, and the changes in order (store.md §4, Documents 43 and 46).
func TestManyNodesE16(t *testing.T) {
	s := newMemory(t)
	const nodes, writers, each = 8, 3, 10
	var wg sync.WaitGroup
	for node := range nodes {
		d := NewDocuments(s, 0)
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					for {
						_, err := d.Change(t.Context(), roomDocument, merging(fmt.Sprintf(`{"k%d_%d_%d":[]}`, node, w, i)))
						if errors.Is(err, ErrContended) {
							continue // definite: nothing was changed
						}
						require.NoError(t, err)
						break
					}
				}
			})
		}
	}
	wg.Wait()
	doc, err := NewDocuments(s, 0).Read(t.Context(), roomDocument)
	require.NoError(t, err)
	require.EqualValues(t, nodes*writers*each, doc.Version)
	require.Len(t, members(doc.Data), nodes*writers*each)
	versions(t, s, roomDocument, nodes*writers*each)
}

// dying is a store on which one node dies, or its link does.
type dying struct {
	store.Store
	mu      sync.Mutex
	dead    bool // Submit never answers
	refuses bool // Submit answers that it cannot
	lost    bool // the next Put is carried out, but its answer is lost
}

func (s *dying) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *dying) Submit(log store.LogName, limits store.Limits, records []store.Record, done func(store.Appended, error)) {
	s.mu.Lock()
	dead, refuses := s.dead, s.refuses
	s.mu.Unlock()
	switch {
	case dead:
	case refuses:
		done(store.Appended{}, store.ErrUnavailable)
	default:
		s.Store.Submit(log, limits, records, done)
	}
}

func (s *dying) Put(ctx context.Context, table, key string, put store.Put) (uint64, error) {
	v, err := s.Store.Put(ctx, table, key, put)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost {
		s.lost = false
		return 0, store.ErrUncertain
	}
	return v, err
}

// A node dies between row and log: whoever meets the document next puts the change
// there, once and before any other.
func TestNodeDiesBetween(t *testing.T) {
	f := func(name string, after time.Duration, next func(t *testing.T, d *Documents), last int) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newMemory(t)
				node := &dying{Store: s}
				d := NewDocuments(node, 0)
				_, err := d.Change(t.Context(), roomDocument, merging(`{"a":1}`))
				require.NoError(t, err)
				node.set(func() { node.dead = true })
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				defer cancel()
				_, err = d.Change(ctx, roomDocument, merging(`{"b":2}`))
				require.NoError(t, err, "it is in the row")
				versions(t, s, roomDocument, 1)
				time.Sleep(after)
				next(t, NewDocuments(s, 0))
				versions(t, s, roomDocument, last)
				next(t, NewDocuments(s, 0)) // another node, which knows nothing
				if last == 2 {
					versions(t, s, roomDocument, 2)
				}
			})
		})
	}
	read := func(t *testing.T, d *Documents) {
		doc, err := d.Read(t.Context(), roomDocument)
		require.NoError(t, err)
		require.EqualValues(t, 2, doc.Version)
	}
	write := func(t *testing.T, d *Documents) {
		_, err := d.Change(t.Context(), roomDocument, merging(`{"c":3}`))
		require.NoError(t, err)
	}
	f("a writer at once", 0, write, 3)
	f("a reader after a second", 1001*time.Millisecond, read, 2)
	f("a reader at once leaves it to the writer", 0, read, 1)
	f("a reader after the nonce is forgotten", 30*time.Hour, read, 2)
	f("a writer after the nonce is forgotten", 30*time.Hour, write, 3)
}

// What nobody could read in the log any more is not put there late.
func TestNodeDiedLongAgo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory(t)
		node := &dying{Store: s, refuses: true}
		_, err := NewDocuments(node, 0).Change(t.Context(), roomDocument, merging(`{"a":1}`))
		require.NoError(t, err)
		time.Sleep(8 * 24 * time.Hour)
		got, err := NewDocuments(s, 0).Change(t.Context(), roomDocument, merging(`{"b":1}`))
		require.NoError(t, err)
		require.Equal(t, `{"a":1,"b":1}`, string(got.Data))
		all := changes(t, s, roomDocument)
		require.Len(t, all, 1)
		v, _ := ChangeOf([]byte(all[0]))
		require.EqualValues(t, 2, v)
	})
}

// A log that does not answer costs no change: its message comes later.
func TestOwedChange(t *testing.T) {
	s := newMemory(t)
	node := &dying{Store: s}
	d := NewDocuments(node, 0)
	node.set(func() { node.refuses = true })
	got, err := d.Change(t.Context(), roomDocument, merging(`{"a":1}`))
	require.NoError(t, err)
	require.True(t, got.Position.IsZero())
	_, err = d.Change(t.Context(), roomDocument, merging(`{"b":1}`))
	require.ErrorIs(t, err, store.ErrUnavailable, "no version before the last one is announced")
	owed, err := d.Settle(t.Context())
	require.Error(t, err)
	require.Equal(t, 1, owed)
	node.set(func() { node.refuses = false })
	owed, err = d.Settle(t.Context())
	require.NoError(t, err)
	require.Zero(t, owed)
	versions(t, s, roomDocument, 1)
}

// A lost answer is looked up: the change is there once.
func TestUncertainChange(t *testing.T) {
	s := newMemory(t)
	node := &dying{Store: s, lost: true}
	got, err := NewDocuments(node, 0).Change(t.Context(), roomDocument, merging(`{"a":1}`))
	require.NoError(t, err)
	require.EqualValues(t, 1, got.Version)
	require.False(t, got.Position.IsZero())
	versions(t, s, roomDocument, 1)
}

func TestSnapshotE17(t *testing.T) {
	s := newMemory(t)
	d := NewDocuments(s, 0)
	n := roomDocument
	var at []store.Position
	for i := range 5 {
		got, err := d.Change(t.Context(), n, merging(fmt.Sprintf(`{"n":%d}`, i+1)))
		require.NoError(t, err)
		at = append(at, got.Position)
	}
	doc, err := d.ReadSettled(t.Context(), n)
	require.NoError(t, err)
	f := func(doc Document, p store.Position, data string, version int, after store.Position) {
		t.Helper()
		shot, err := d.Snapshot(t.Context(), n, doc, p)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf(`{"scope":"room","op":"snapshot","data":%s,"version":%d}`, data, version), string(shot.Message))
		require.Equal(t, after, shot.After)
	}
	f(doc, at[4], `{"n":5}`, 5, at[4])
	f(doc, at[2], `{"n":3}`, 3, at[2])                  // as of the seam, whatever came since
	f(doc, store.Position{}, `{}`, 0, store.Position{}) // before the first
	f(Document{}, JustBefore(at[0]), `{}`, 0, JustBefore(at[0]))

	// The log has nothing up to the seam any more: the row; or, if changes came after
	// the seam, a little later.
	require.NoError(t, s.Redact(t.Context(), n.Log, at[0]))
	require.NoError(t, s.Redact(t.Context(), n.Log, at[1]))
	f(doc, at[1], `{"n":5}`, 5, at[4])
	for _, p := range at[2:] {
		require.NoError(t, s.Redact(t.Context(), n.Log, p))
	}
	f(doc, at[4], `{"n":5}`, 5, at[4])
}

// Documents of several conferences share a log; a snapshot is of its own.
func TestSnapshotOfConference(t *testing.T) {
	s := newMemory(t)
	d := NewDocuments(s, 0)
	one, two := roomDocument, roomDocument
	one.Key, one.ConfNum, two.Key, two.ConfNum = "12/s/aa/1", "c1", "12/s/aa/2", "c2"
	for i := range 3 {
		_, err := d.Change(t.Context(), one, merging(fmt.Sprintf(`{"one":%d}`, i)))
		require.NoError(t, err)
	}
	_, err := d.Change(t.Context(), two, merging(`{"two":1}`))
	require.NoError(t, err)
	last, err := d.Change(t.Context(), one, merging(`{"late":1}`))
	require.NoError(t, err)
	for _, n := range []DocumentName{one, two} {
		doc, err := d.ReadSettled(t.Context(), n)
		require.NoError(t, err)
		shot, err := d.Snapshot(t.Context(), n, doc, last.Position)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf(`{"scope":"room","op":"snapshot","data":%s,"version":%d,"conf_num":"%s"}`, doc.Data, doc.Version, n.ConfNum), string(shot.Message))
	}
}

func FuzzDecodeDocument(f *testing.F) {
	n := DocumentName{Key: "k", Scope: "room", ConfNum: "c"}
	doc, _, err := Document{}.apply(n, merging(`{"a":1,"b":[]}`), MaxDocument, time.UnixMilli(1700), ChangeID{1})
	require.NoError(f, err)
	f.Add(doc.encode())
	f.Add([]byte{documentV1})
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := decodeDocument(store.Value{Data: data})
		if err == nil {
			again, err := decodeDocument(store.Value{Data: d.encode()})
			require.NoError(t, err)
			require.Equal(t, d, again)
		}
	})
}

func BenchmarkChange(b *testing.B) {
	s := newMemory(b)
	d := NewDocuments(s, 0)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := d.Change(b.Context(), roomDocument, merging(`{"k`+strconv.Itoa(i%100)+`":{"score":1}}`)); err != nil {
			b.Fatal(err)
		}
	}
}
