package redis

import (
	"strings"
	"testing"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
)

// FuzzDecodeEntry: what a stream holds is read or refused, whoever wrote it.
func FuzzDecodeEntry(f *testing.F) {
	f.Add("1763683200123-1763683200124", "d", "\x00\x00\x00\x0712345678payload")
	f.Add("0-1", "d", "short")
	f.Add("281474976710656-1", "d", "\x00\x00\x00\x0712345678")
	f.Add("1-+1", "d", "\x00\x00\x00\x0712345678")
	f.Add("", "e", "")
	f.Fuzz(func(t *testing.T, id, field, d string) {
		e, err := decodeEntry(goredis.XMessage{ID: id, Values: map[string]any{field: d}})
		if err != nil {
			return
		}
		require.Equal(t, d[entryHead:], string(e.Data))
		p, err := parseStreamID(streamID(e.Position.MS(), e.Position.N()), e.Position.Epoch())
		require.NoError(t, err)
		require.Equal(t, e.Position, p)
	})
}

func FuzzDecodeMeta(f *testing.F) {
	f.Add(strings.Repeat("\x01", metaSize))
	f.Add(strings.Repeat("\x00", metaSize))
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		m, ok := decodeMeta(text)
		require.Equal(t, len(text) == metaSize, ok)
		if m.log.Last.IsZero() {
			require.Zero(t, m)
			return
		}
		require.Equal(t, text[:16], string(m.log.Last[:]))
		require.Equal(t, m.log.Last.Epoch(), m.log.Start.Epoch())
	})
}

func FuzzDecodeRow(f *testing.F) {
	f.Add("12345678123456data")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		v, err := decodeRow(text)
		require.Equal(t, len(text) < rowHead, err != nil)
		if err == nil {
			require.Equal(t, text[rowHead:], string(v.Data))
		}
	})
}

func FuzzParseLogText(f *testing.F) {
	f.Add("3:abcdef")
	f.Add("0:")
	f.Add("+1:a")
	f.Add("999999999999999999999:a")
	f.Fuzz(func(t *testing.T, text string) {
		if name, ok := parseLogText(text); ok {
			require.NoError(t, name.Validate())
			require.Equal(t, text, logText(name))
		}
	})
}

func TestLogText(t *testing.T) {
	for _, name := range []store.LogName{
		{},
		{Feed: "a"},
		{Path: "a"},
		{Feed: "1:a", Path: "2:b"},
		{Feed: strings.Repeat("\xff", store.MaxName), Path: strings.Repeat(":", store.MaxName)},
	} {
		got, ok := parseLogText(logText(name))
		require.True(t, ok)
		require.Equal(t, name, got)
	}
}

func TestPartitions(t *testing.T) {
	k := newKeys("g")
	seen := make(map[string]bool)
	for p, tag := range k.tags {
		require.False(t, seen[tag])
		seen[tag] = true
		inner := tag[strings.Index(tag, "{")+1 : strings.Index(tag, "}")]
		require.Equal(t, p, int(slot(inner))*partitions/slots, "one in each range of slots")
	}
	require.EqualValues(t, 0x31C3, slot("123456789"), "CRC16 of the cluster specification")
}
