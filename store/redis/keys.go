package redis

import (
	"crypto/sha256"
	"encoding/hex"
	"hash/fnv"
	"strconv"
	"strings"

	"github.com/gobelin-broker/gobelin/store"
)

// partitions is into how many parts the key space is cut (store.md §3.5, decided.md
// 16): all keys of a feed lie in one, and so in one slot of a cluster.
const partitions = 64

// keys names what lies in the database. Everything begins with the prefix and the
// hash tag of its partition.
type keys struct {
	prefix string
	tags   [partitions]string // "g:{10}:"
}

// newKeys computes the tags: the smallest numbers in base 36 whose slots fall one
// into each of as many equal ranges, so that the partitions spread evenly over the
// primaries of a cluster.
func newKeys(prefix string) *keys {
	k := &keys{prefix: prefix}
	for i, left := 0, partitions; left > 0; i++ {
		tag := strconv.FormatInt(int64(i), 36)
		at := int(slot(tag)) * partitions / slots
		if k.tags[at] == "" {
			k.tags[at] = prefix + ":{" + tag + "}:"
			left--
		}
	}
	return k
}

// partition returns where a text belongs: a feed, or a table with its key.
func partition(text string) int {
	h := fnv.New64a()
	_, _ = h.Write([]byte(text))
	return int(h.Sum64() % partitions)
}

// logText is a log's name in a key: the length makes it unambiguous.
func logText(name store.LogName) string {
	return strconv.Itoa(len(name.Feed)) + ":" + name.Feed + name.Path
}

// parseLogText reads what logText wrote.
func parseLogText(text string) (store.LogName, bool) {
	length, rest, ok := strings.Cut(text, ":")
	n, err := strconv.Atoi(length)
	if !ok || err != nil || n < 0 || n > len(rest) || n > store.MaxName || len(rest)-n > store.MaxName || strconv.Itoa(n) != length {
		return store.LogName{}, false
	}
	return store.LogName{Feed: rest[:n], Path: rest[n:]}, true
}

func (k *keys) of(p int, kind, text string) string { return k.tags[p] + kind + ":" + text }

// Of a log.
func (k *keys) meta(p int, log string) string     { return k.of(p, "m", log) } // last position, and more
func (k *keys) stream(p int, log string) string   { return k.of(p, "s", log) } // its records
func (k *keys) redacted(p int, log string) string { return k.of(p, "r", log) } // tombstones
func (k *keys) nonce(p int, log string, n store.Nonce) string {
	sum := sha256.Sum256(append([]byte(log), n[:]...))
	return k.of(p, "n", hex.EncodeToString(sum[:16]))
}

// Of a feed: the pub/sub channel, and how many messages it ever carried.
func (k *keys) live(p int, feed string) string    { return k.of(p, "p", feed) }
func (k *keys) counter(p int, feed string) string { return k.of(p, "f", feed) }

// Of a partition. While wideFlag exists, every message goes to the channel wide too,
// counted in wideCounter. index is a sorted set of logs by the ms they last spoke at.
func (k *keys) wide(p int) string        { return k.tags[p] + "w" }
func (k *keys) wideCounter(p int) string { return k.tags[p] + "wn" }
func (k *keys) wideFlag(p int) string    { return k.tags[p] + "wf" }
func (k *keys) index(p int) string       { return k.tags[p] + "i" }
func (k *keys) probe(p int) string       { return k.tags[p] + "probe" }

// The outbox of a partition holds the copies of its records that wait for the pump;
// wake is where it hears of them. moved says of a log that gets copies how far those
// of each partition have come.
func (k *keys) outbox(p int) string            { return k.tags[p] + "o" }
func (k *keys) wake() string                   { return k.prefix + ":wake" }
func (k *keys) moved(p int, log string) string { return k.of(p, "c", log) }

// Of a table: its rows, their order, and when those with an end expire. Rows of a
// table spread over the partitions by key.
func (k *keys) row(p int, table, key string) string { return k.rows(p, table) + key }

func (k *keys) rows(p int, table string) string {
	return k.of(p, "d", strconv.Itoa(len(table))+":"+table)
}
func (k *keys) order(p int, table string) string    { return k.of(p, "k", table) }
func (k *keys) expiries(p int, table string) string { return k.of(p, "x", table) }

// Outside the partitions: how the key space is laid out, and who pumps.
func (k *keys) config() string { return k.prefix + ":cfg" }
func (k *keys) pump() string   { return k.prefix + ":pump" }

// slots is how many slots a cluster has.
const slots = 16384

// slot is the cluster's hash of a tag: CRC16 (XMODEM) modulo slots.
func slot(tag string) uint16 {
	var crc uint16
	for i := 0; i < len(tag); i++ {
		crc ^= uint16(tag[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc % slots
}
