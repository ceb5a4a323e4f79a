package channels

import (
	"hash"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// counted is a hash that tells how often its sum was computed.
type counted struct {
	hash.Hash
	sums *int
}

func (c counted) Sum(b []byte) []byte {
	*c.sums++
	return c.Hash.Sum(b)
}

// TestThreat42RootsTakeEqualWork: who measures how long a refusal takes learns nothing,
// for the same MACs are computed whatever is wrong.
func TestThreat42RootsTakeEqualWork(t *testing.T) {
	k := vectorRing(t, 0)
	sums := 0
	for _, m := range append(k.keys[:], k.dummy) {
		if m == nil {
			continue
		}
		made := m.works.New
		m.works.New = func() any {
			w := made().(*work)
			w.hash = counted{w.hash, &sums}
			return w
		}
		for _, is := m.take().hash.(counted); !is; _, is = m.take().hash.(counted) { // those made before
		}
	}
	sums = 0
	work := func(root string, good bool) int {
		t.Helper()
		before := sums
		_, ok := k.Verify(root, vectorTime)
		require.Equal(t, good, ok, root)
		return sums - before
	}
	oid := OID{1, 2, 3}
	for class, want := range map[Class]int{ClassView: 1, ClassControl: 1, ClassDaily: 2} {
		good := k.Root(oid, class, vectorTime)
		require.Equal(t, want, work(good, true))
		for at := 2; at < len(good); at++ { // every digit but key and class
			digit := map[bool]string{true: "1", false: "0"}[good[at] == '0']
			require.Equal(t, want, work(good[:at]+digit+good[at+1:], false), at)
		}
		for kid := range "123456789abcdef" {
			require.Equal(t, want, work("123456789abcdef"[kid:kid+1]+good[1:], false), "a key that is not there")
		}
		require.Equal(t, want, work(good[:2]+strings.Repeat("0", 38), false))
	}
	old := k.Root(oid, ClassDaily, vectorTime.Add(-72*time.Hour))
	require.Equal(t, 2, work(old, false), "one that has expired")
	require.Equal(t, 1, work("00"+old[2:], false), "class 0")
}
