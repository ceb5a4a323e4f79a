package catchup

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/memory"
	"github.com/stretchr/testify/require"
)

// TestStreams: of many who change an account's streams at once none is lost, and what a
// change refuses is left as it is.
func TestStreams(t *testing.T) {
	s := memory.New(memory.Options{})
	defer func() { require.NoError(t, s.Close()) }()
	ctx, all := context.Background(), NewStreams(s)
	set, err := all.Load(ctx, "158")
	require.NoError(t, err)
	require.Equal(t, StreamSet{}, set)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			_, err := all.Change(ctx, "158", func(set *StreamSet) (bool, error) {
				set.Streams = append(set.Streams, Stream{ID: fmt.Sprint(i), Members: []StreamMember{{ID: "m", Since: store.NewPosition(1, 2, 3)}}})
				return true, nil
			})
			require.NoError(t, err)
		})
	}
	wg.Wait()
	set, err = all.Load(ctx, "158")
	require.NoError(t, err)
	require.Len(t, set.Streams, 8)
	require.Equal(t, uint64(8), set.Version)
	no := errors.New("no")
	_, err = all.Change(ctx, "158", func(set *StreamSet) (bool, error) {
		set.Streams = nil
		return true, no
	})
	require.Equal(t, no, err)
	same, err := all.Change(ctx, "158", func(set *StreamSet) (bool, error) {
		set.Streams[0].Name = "unsaid"
		return false, nil
	})
	require.NoError(t, err)
	require.Equal(t, set.Version, same.Version)
	after, err := all.Load(ctx, "158")
	require.NoError(t, err)
	require.Equal(t, set, after)
	require.Equal(t, 0, after.Find("3").Member("m"))
	require.Equal(t, -1, after.Find("3").Member("n"))
	require.Nil(t, after.Find("9"))
}

func TestStreamGroup(t *testing.T) {
	s := Stream{ID: "ab", Start: 1000}
	require.Equal(t, store.GroupName{Log: RecordLog("158"), Name: "stream_ab"}, s.Group("158"))
	s.Generation = 2
	require.Equal(t, "stream_ab/2", s.Group("158").Name)
	f := s.Filter()
	require.Equal(t, time.UnixMilli(1000), f.Since)
}
