package redis

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
)

var (
	anyLog = store.LogName{Feed: "object", Path: "a/path"}
	keep   = store.Limits{Age: time.Hour}
)

// text is a record that says who wrote it and which it is.
func text(publisher, i int) store.Record {
	return store.Record{Data: []byte(fmt.Sprint(publisher, "/", i))}
}

func split(t testing.TB, data []byte) (publisher string, i int) {
	t.Helper()
	publisher, rest, _ := strings.Cut(string(data), "/")
	i, err := strconv.Atoi(rest)
	require.NoError(t, err, "%q", data)
	return publisher, i
}

// readAll returns what a log holds, page by page.
func readAll(t testing.TB, s store.Log, name store.LogName) []store.Entry {
	t.Helper()
	var all []store.Entry
	r := store.Range{Limits: keep}
	for {
		page, err := s.Read(ctx, name, r, 1000, 1<<20)
		require.NoError(t, err)
		require.False(t, page.Forked)
		all = append(all, page.Entries...)
		if !page.More {
			return all
		}
		r.After = all[len(all)-1].Position
	}
}
