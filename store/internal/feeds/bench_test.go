package feeds

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
)

// BenchmarkAnnounce announces a batch of 256 entries over 100 feeds, as a busy
// committer does.
func BenchmarkAnnounce(b *testing.B) {
	tails := make([]store.Tail, 256)
	for i := range tails {
		tails[i].Log.Feed = fmt.Sprintf("objects/application/%d", i*7%100)
	}
	f := func(name string, watches int, feed func(i int) string) {
		b.Run(name, func(b *testing.B) {
			f := New()
			for i := range watches {
				_, err := f.Watch(feed(i), &mute{})
				require.NoError(b, err)
			}
			b.ReportAllocs()
			for b.Loop() {
				f.Announce(tails)
			}
		})
	}
	one := func(i int) string { return fmt.Sprintf("objects/application/%d", i) }
	f("none", 0, one)
	f("one", 1, one)
	f("1000", 1000, one)
	f("all", 1, func(int) string { return store.AllFeeds })
	f("prefix", 1, func(int) string { return "objects/" })
}

type mute struct{}

func (*mute) Ready()               {}
func (*mute) Entries([]store.Tail) {}
func (*mute) Broken(error)         {}
