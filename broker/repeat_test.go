package broker

import (
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/stretchr/testify/require"
)

// What a session is remembered by stays bounded, and goes when it is old.
func TestRepeatsAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		p := x.join("")
		s := x.b.subscribers[sessionKey(p.id)]
		done := func(bayeux.Ack, error) {}
		for tag := range uint64(5 * maxRepeats) {
			again, first := s.repeated(tag, done)
			require.False(t, again)
			first(bayeux.Ack{}, nil)
			require.LessOrEqual(t, len(s.repeats.byTag), maxRepeats)
			require.LessOrEqual(t, len(s.repeats.order), 2*maxRepeats+1)
		}
		again, _ := s.repeated(5*maxRepeats-1, done)
		require.True(t, again)
		again, _ = s.repeated(1, done)
		require.False(t, again, "too many came since")
		time.Sleep(repeatAge + time.Second)
		s.mu.Lock()
		s.repeats.trim(time.Now())
		require.Empty(t, s.repeats.byTag)
		require.Empty(t, s.repeats.order)
		s.mu.Unlock()
	})
}

func BenchmarkRepeated(b *testing.B) {
	x := newBench(b, nil)
	s := x.b.subscribers[sessionKey(x.join("").id)]
	done := func(bayeux.Ack, error) {}
	b.ReportAllocs()
	for tag := uint64(0); b.Loop(); tag++ {
		if _, first := s.repeated(tag, done); first != nil {
			first(bayeux.Ack{}, nil)
		}
	}
}

func BenchmarkPublishMark(b *testing.B) {
	m := &bayeux.Message{ChannelText: "/open/a", ID: []byte(`"1a"`), Data: make([]byte, 128)}
	b.ReportAllocs()
	for b.Loop() {
		markOf("abcdefghijklmnopqrstuvwxyz012345", m)
	}
}
