package catchup

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// tableViewed is the index: which URLs have rows on which day, and of which objects, in
// a few rows for each day and application: viewedKey → see viewed.encode. It is written
// once for each URL, object and day.
const tableViewed = "viewed"

const (
	// viewedShards is into how many rows the URLs of a day and application are laid: few
	// enough to read all, and each small enough to write again for a new URL.
	viewedShards = 64
	// maxViewedURLs bounds the URLs of one row. One that finds no room has its minutes, by
	// its exact URL, but neither hours nor days; Closed.Unlisted counts those.
	maxViewedURLs = 8192
	// maxViewedObjects bounds the objects of one URL that are remembered.
	maxViewedObjects = 32
	// maxViewedDays bounds the days that one question may touch.
	maxViewedDays = 400
	// maxViewedKnown bounds what this node remembers of the index.
	maxViewedKnown = 400_000
	viewedPage     = 64
	// viewedWriters is how many rows of the index are written at the same time.
	viewedWriters = 32
	// viewedAttempts is how often a row is written when other nodes were faster.
	viewedAttempts = 16
)

const day = 24 * time.Hour

var errViewed = errors.New("catchup: not a stored index of viewers")

// viewedURL is a URL with the objects that were viewed under it.
type viewedURL struct {
	app     uint32
	url     string
	objects []string
}

func dayOf(t time.Time) int64 { return t.Unix() / int64(day/time.Second) }

func viewedPrefix(day int64, app uint32) string { return fmt.Sprintf("%06d/%08x/", day, app) }

func viewedKey(day int64, u viewedURL) string {
	return fmt.Sprintf("%s%02x", viewedPrefix(day, u.app), viewedShard(u.url))
}

func viewedShard(url string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(url))
	return h.Sum32() % viewedShards
}

// encodeViewed makes a row of the index: for each URL its length and itself, how many
// objects it has, and of each the length and itself, all numbers uvarint.
func encodeViewed(urls []viewedURL) []byte {
	var b []byte
	for _, u := range urls {
		b = append(binary.AppendUvarint(b, uint64(len(u.url))), u.url...)
		b = binary.AppendUvarint(b, uint64(len(u.objects)))
		for _, o := range u.objects {
			b = append(binary.AppendUvarint(b, uint64(len(o))), o...)
		}
	}
	return b
}

// decodeViewed reads what encodeViewed wrote.
func decodeViewed(app uint32, b []byte) (urls []viewedURL, err error) {
	r := tickReader{b: b}
	for len(r.b) > 0 {
		u := viewedURL{app: app, url: string(r.text(maxViewerURL))}
		n := int(r.number())
		for i := 0; i < n && !r.bad && n <= maxViewedObjects; i++ {
			u.objects = append(u.objects, string(r.text(maxTickObject)))
		}
		if r.bad || u.url == "" || n > maxViewedObjects {
			return nil, errViewed
		}
		urls = append(urls, u)
	}
	return urls, nil
}

// viewedRow is a row of the index that is being changed.
type viewedRow struct {
	urls    []viewedURL
	at      map[string]int // of a URL in urls
	changed bool
}

func newViewedRow(urls []viewedURL) *viewedRow {
	r := &viewedRow{urls: urls, at: make(map[string]int, len(urls))}
	for i, u := range urls {
		r.at[u.url] = i
	}
	return r
}

// add adds a URL with its objects; false: there is no room.
func (r *viewedRow) add(u viewedURL) bool {
	i, there := r.at[u.url]
	if !there {
		if i = len(r.urls); i >= maxViewedURLs {
			return false
		}
		r.at[u.url], r.changed = i, true
		r.urls = append(r.urls, viewedURL{app: u.app, url: u.url})
	}
	all := &r.urls[i].objects
	for _, o := range u.objects {
		if len(*all) < maxViewedObjects && !slices.Contains(*all, o) {
			*all, r.changed = append(*all, o), true
		}
	}
	return true
}

// list puts URLs into the index of a day, and returns how many found no room. What this
// node knows to be there costs nothing.
func (v *Viewers) list(ctx context.Context, day int64, urls []viewedURL) (unlisted int, err error) {
	rows := make(map[string][]viewedURL)
	for _, u := range v.unknown(day, urls) {
		key := viewedKey(day, u)
		rows[key] = append(rows[key], u)
	}
	var mu sync.Mutex
	var writing sync.WaitGroup
	turns := make(chan struct{}, viewedWriters)
	for key, some := range rows {
		turns <- struct{}{}
		writing.Go(func() {
			n, e := v.listRow(ctx, key, some)
			mu.Lock()
			unlisted += n
			err = errors.Join(err, e)
			mu.Unlock()
			<-turns
		})
	}
	writing.Wait()
	if err != nil {
		return 0, fmt.Errorf("catchup: index of viewers: %w", err)
	}
	if unlisted == 0 {
		v.learn(day, urls)
	}
	return unlisted, nil
}

// listRow puts URLs into one row of the index.
func (v *Viewers) listRow(ctx context.Context, key string, urls []viewedURL) (unlisted int, err error) {
	for range viewedAttempts {
		row, err := v.store.Get(ctx, tableViewed, key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return 0, err
		}
		there, err := decodeViewed(0, row.Data)
		if err != nil {
			return 0, err
		}
		all := newViewedRow(there)
		unlisted = 0
		for _, u := range urls {
			if !all.add(u) {
				unlisted++
			}
		}
		if !all.changed {
			return unlisted, nil
		}
		_, err = v.store.Put(ctx, tableViewed, key, store.Put{Data: encodeViewed(all.urls), IfVersion: &row.Version})
		if !errors.Is(err, store.ErrConflict) {
			return unlisted, err
		}
	}
	return 0, fmt.Errorf("others write it all the time: %w", store.ErrUnavailable)
}

// knownKey is a URL and object of which the index of a day is known to have a row.
func knownKey(day int64, app uint32, url, object string) string {
	b := binary.BigEndian.AppendUint32(nil, uint32(day))
	b = binary.BigEndian.AppendUint32(b, app)
	return string(append(append(append(b, object...), 0), url...))
}

// unknown returns those that are not known to be in the index.
func (v *Viewers) unknown(day int64, urls []viewedURL) (out []viewedURL) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, u := range urls {
		all := v.known[knownKey(day, u.app, u.url, "")]
		for _, o := range u.objects {
			all = all && v.known[knownKey(day, u.app, u.url, o)]
		}
		if !all {
			out = append(out, u)
		}
	}
	return out
}

// learn notes what is in the index.
func (v *Viewers) learn(day int64, urls []viewedURL) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, u := range urls {
		if len(v.known) > maxViewedKnown {
			clear(v.known)
		}
		v.known[knownKey(day, u.app, u.url, "")] = true
		for _, o := range u.objects {
			v.known[knownKey(day, u.app, u.url, o)] = true
		}
	}
}

// relearn forgets what is known of the store, so that it is looked at again: one may have
// lost its last second.
func (v *Viewers) relearn() {
	v.mu.Lock()
	defer v.mu.Unlock()
	clear(v.known)
	clear(v.imports)
}

// listed returns the index of a day in the order of applications and URLs; of one
// application, or of all if prefix has only the day.
func (v *Viewers) listed(ctx context.Context, prefix string) (urls []viewedURL, err error) {
	for after := ""; ; {
		items, err := v.store.List(ctx, tableViewed, prefix, after, viewedPage)
		if err != nil {
			return nil, err
		}
		for _, it := range items {
			app, err := parseViewedKey(it.Key)
			if err != nil {
				return nil, err
			}
			some, err := decodeViewed(app, it.Data)
			if err != nil {
				return nil, err
			}
			urls = append(urls, some...)
		}
		if len(items) < viewedPage {
			break
		}
		after = items[len(items)-1].Key
	}
	slices.SortFunc(urls, func(a, b viewedURL) int { return cmp.Or(cmp.Compare(a.app, b.app), strings.Compare(a.url, b.url)) })
	return urls, nil
}

func parseViewedKey(key string) (app uint32, err error) {
	_, rest, _ := strings.Cut(key, "/")
	text, _, ok := strings.Cut(rest, "/")
	n, err := strconv.ParseUint(text, 16, 32)
	if !ok || err != nil {
		return 0, errViewed
	}
	return uint32(n), nil
}

// URLs returns the URLs of an application that have rows on the days of UTC that a
// window touches, from from (inclusive) to to (exclusive), in byte order. At most limit
// (at least 1); more says that there are others. A window of more than 400 days is an
// error in words.
func (v *Viewers) URLs(ctx context.Context, app uint32, from, to time.Time, limit int) (urls []string, more bool, err error) {
	if !from.Before(to) {
		return nil, false, nil
	}
	first, last := dayOf(from), dayOf(to.Add(-1))
	if last-first >= maxViewedDays {
		return nil, false, fmt.Errorf("catchup: urls: a window of %d days, at most %d", last-first+1, maxViewedDays)
	}
	seen := make(map[string]bool)
	for d := first; d <= last; d++ {
		some, err := v.listed(ctx, viewedPrefix(d, app))
		if err != nil {
			return nil, false, fmt.Errorf("catchup: urls: %w", err)
		}
		for _, u := range some {
			if !seen[u.url] {
				seen[u.url] = true
				urls = append(urls, u.url)
			}
		}
	}
	slices.Sort(urls)
	if limit = max(limit, 1); len(urls) > limit {
		return urls[:limit], true, nil
	}
	return urls, false, nil
}
