package catchup

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// tableTick holds what each node counted at each sample: tickPrefix, piece and node →
// see encodeTick.
const tableTick = "viewer ticks"

const (
	// tickLife is how long a tick is kept (product.md §8): a minute is closed within.
	tickLife = 2 * time.Minute
	// tickBytes bounds one row of a tick; what is above is cut into pieces.
	tickBytes  = 4 << 20
	tickPieces = 1 << 10
	// tickPage is how many rows are read at once: with thousands of objects each is large.
	tickPage = 16
	// maxTickNode bounds the name of a node.
	maxTickNode = 64
	// tickLayout begins the stored form.
	tickLayout = 1
)

// ViewerCount is what a node counted for one object at one sample.
type ViewerCount struct {
	App uint32
	// URL names the row; objects with the same one add up.
	URL string
	// Object is opaque, at most 64 bytes; Closed names it again.
	Object string
	// Viewers are the sessions that view the object on this node. Arrived are those of
	// them that no tick has counted before.
	Viewers, Arrived uint32
}

const maxTickObject = 64

var errTick = errors.New("catchup: not a stored tick")

// PutTick notes what a node counted at one sample, in one call of the store; with no
// counts, too, since it says that the node was there. at is a whole multiple of the
// sample time. The same again changes nothing; after an error the outcome is unknown.
func (v *Viewers) PutTick(ctx context.Context, node string, at time.Time, counts []ViewerCount) error {
	if node == "" || len(node) > maxTickNode {
		return fmt.Errorf("catchup: put tick: the name of a node has 1 to %d bytes", maxTickNode)
	}
	pieces, err := encodeTick(v.sample, counts)
	if err != nil {
		return fmt.Errorf("catchup: put tick: %w", err)
	}
	// The first piece says how many there are: it is written last, and goes first.
	for i := len(pieces) - 1; i >= 0; i-- {
		life := tickLife
		if i > 0 {
			life += 10 * time.Second
		}
		key := fmt.Sprintf("%s%04x/%s", tickPrefix(at), i, node)
		if _, err := v.store.Put(ctx, tableTick, key, store.Put{Data: pieces[i], TTL: life}); err != nil {
			return fmt.Errorf("catchup: put tick: %w", err)
		}
	}
	return nil
}

// minutePrefix begins the keys of a minute's ticks, tickPrefix those of one tick.
func minutePrefix(at time.Time) string { return fmt.Sprintf("%010d/", at.Unix()/60) }

func tickPrefix(at time.Time) string {
	return fmt.Sprintf("%s%015d/", minutePrefix(at), at.UnixMilli())
}

// encodeTick makes the rows of a tick: layout(1) pieces(2) sample in ms(4), then for each
// count the application, the length of the URL and the URL, the same of the object, the
// viewers and the arrived, all numbers uvarint.
func encodeTick(sample time.Duration, counts []ViewerCount) ([][]byte, error) {
	head := binary.BigEndian.AppendUint32([]byte{tickLayout, 0, 0}, uint32(sample.Milliseconds()))
	pieces := [][]byte{append(make([]byte, 0, len(head)+48*min(len(counts), 1<<14)), head...)}
	for _, c := range counts {
		if err := checkURL(c.URL); err != nil {
			return nil, err
		}
		if len(c.Object) > maxTickObject || c.Arrived > c.Viewers {
			return nil, fmt.Errorf("an object of %d bytes with %d viewers of which %d arrived", len(c.Object), c.Viewers, c.Arrived)
		}
		b := pieces[len(pieces)-1]
		if len(b) > tickBytes {
			b = append([]byte(nil), head...)
			pieces = append(pieces, b)
		}
		b = binary.AppendUvarint(b, uint64(c.App))
		b = append(binary.AppendUvarint(b, uint64(len(c.URL))), c.URL...)
		b = append(binary.AppendUvarint(b, uint64(len(c.Object))), c.Object...)
		b = binary.AppendUvarint(b, uint64(c.Viewers))
		pieces[len(pieces)-1] = binary.AppendUvarint(b, uint64(c.Arrived))
	}
	if len(pieces) > tickPieces {
		return nil, fmt.Errorf("%d objects are more than a tick can hold", len(counts))
	}
	for _, b := range pieces {
		binary.BigEndian.PutUint16(b[1:], uint16(len(pieces)))
	}
	return pieces, nil
}

// rawCount is a ViewerCount as it is stored.
type rawCount struct {
	app              uint32
	url, object      []byte
	viewers, arrived uint32
}

// tickHead is how the rows of a tick begin.
type tickHead struct {
	pieces int
	sample time.Duration
}

const tickHeadSize = 1 + 2 + 4

func decodeTickHead(b []byte) (h tickHead, err error) {
	if len(b) < tickHeadSize || b[0] != tickLayout {
		return h, errTick
	}
	return tickHead{int(binary.BigEndian.Uint16(b[1:])), time.Duration(binary.BigEndian.Uint32(b[3:])) * time.Millisecond}, nil
}

// decodeTick calls do with each count of a row that encodeTick made.
func decodeTick(b []byte, do func(rawCount)) error {
	r := tickReader{b: b[tickHeadSize:]}
	for len(r.b) > 0 {
		c := rawCount{app: r.number(), url: r.text(maxViewerURL), object: r.text(maxTickObject), viewers: r.number(), arrived: r.number()}
		if r.bad || len(c.url) == 0 || c.arrived > c.viewers {
			return errTick
		}
		do(c)
	}
	return nil
}

// tickReader takes numbers and texts off the front of b, until one is bad.
type tickReader struct {
	b   []byte
	bad bool
}

func (r *tickReader) number() uint32 {
	n, w := binary.Uvarint(r.b)
	if w <= 0 || n > 1<<32-1 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[w:]
	return uint32(n)
}

func (r *tickReader) text(most int) []byte {
	n := int(r.number())
	if n > most || n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	text := r.b[:n]
	r.b = r.b[n:]
	return text
}

// Tick returns what all nodes counted at a sample, added up by object, and how many
// nodes wrote it; none: nothing was measured.
func (v *Viewers) Tick(ctx context.Context, at time.Time) (counts []ViewerCount, nodes int, err error) {
	byObject := make(map[string]int)
	err = v.ticks(ctx, tickPrefix(at), func(_ int64, first bool, _ time.Duration) {
		if first {
			nodes++
		}
	}, func(c rawCount) {
		i, there := byObject[string(c.object)]
		if !there {
			i = len(counts)
			byObject[string(c.object)] = i
			counts = append(counts, ViewerCount{App: c.app, URL: string(c.url), Object: string(c.object)})
		}
		counts[i].Viewers = plus(counts[i].Viewers, c.viewers)
		counts[i].Arrived = plus(counts[i].Arrived, c.arrived)
	})
	if err != nil {
		return nil, 0, fmt.Errorf("catchup: tick: %w", err)
	}
	return counts, nodes, nil
}

// ticks walks over stored ticks in the order of time. row is called before the counts of
// a row, with the time of its tick in ms, whether it is the first of its node, and the
// sample time.
func (v *Viewers) ticks(ctx context.Context, prefix string, row func(at int64, first bool, sample time.Duration), count func(rawCount)) error {
	var at int64
	var nodes map[string]int // of the tick: how many pieces each wrote
	for after := ""; ; {
		items, err := v.store.List(ctx, tableTick, prefix, after, tickPage)
		if err != nil {
			return err
		}
		for _, it := range items {
			tick, piece, node, err := parseTickKey(it.Key)
			if err != nil {
				return err
			}
			if tick != at || nodes == nil {
				at, nodes = tick, make(map[string]int)
			}
			if piece > 0 && piece >= nodes[node] {
				continue // its tick was not written whole
			}
			head, err := decodeTickHead(it.Data)
			if err != nil {
				return err
			}
			if piece == 0 {
				nodes[node] = head.pieces
			}
			row(at, piece == 0, head.sample)
			if err := decodeTick(it.Data, count); err != nil {
				return err
			}
		}
		if len(items) < tickPage {
			return nil
		}
		after = items[len(items)-1].Key
	}
}

// parseTickKey reads the key of a row of a tick.
func parseTickKey(key string) (at int64, piece int, node string, err error) {
	parts := strings.SplitN(key, "/", 4)
	if len(parts) != 4 {
		return 0, 0, "", errTick
	}
	at, err = strconv.ParseInt(parts[1], 10, 64)
	p, err2 := strconv.ParseUint(parts[2], 16, 16)
	if err != nil || err2 != nil {
		return 0, 0, "", errTick
	}
	return at, int(p), parts[3], nil
}
