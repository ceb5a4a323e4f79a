package catchup

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// snapshotLook is how many of the newest messages before a seam are looked through
// for the document a snapshot is of: those of one that has ended may stand behind
// those of the next.
const snapshotLook = 64

// Snapshot is a document at a place of its log.
type Snapshot struct {
	// Message is what a subscriber gets (product.md E17).
	Message []byte
	// After is the place: messages after it have greater versions.
	After store.Position
}

// Snapshot returns a document as it was at a position of its log: what the newest
// message up to it says. doc is the document as ReadSettled gave it, after whose
// return the log was not shorter than at. Where the log has nothing up to there, the
// document is doc, or, if its first change came later, nobody had written it yet.
func (d *Documents) Snapshot(ctx context.Context, n DocumentName, doc Document, at store.Position) (Snapshot, error) {
	if !at.IsZero() {
		newest, _, err := Newest(ctx, d.store, n.Log, n.Limits, time.Time{}, at, snapshotLook)
		if err != nil {
			return Snapshot{}, err
		}
		for i := len(newest) - 1; i >= 0; i-- {
			if seen, ok := n.seen(newest[i]); ok {
				return Snapshot{Message: n.snapshot(seen), After: at}, nil
			}
		}
	}
	span := store.Range{After: at, Limits: n.Limits}
	for first := true; ; {
		page, err := d.store.Read(ctx, n.Log, span, snapshotLook, PageBytes)
		if err != nil {
			return Snapshot{}, fmt.Errorf("catchup: snapshot: %w", err)
		}
		for _, e := range page.Entries {
			seen, ok := n.seen(e)
			switch {
			case !ok:
				continue
			case seen.Version > doc.Version:
				return Snapshot{Message: n.snapshot(doc), After: at}, nil
			case first && seen.Version == 1:
				return Snapshot{Message: n.snapshot(Document{}), After: at}, nil
			}
			// What it was at the seam is not kept any more: it is as of a little later.
			first, at = false, e.Position
		}
		if !page.More || len(page.Entries) == 0 {
			return Snapshot{Message: n.snapshot(doc), After: at}, nil
		}
		span.After = page.Entries[len(page.Entries)-1].Position
	}
}

// seen reads version and data of a message; ok is false for one of another document.
func (n DocumentName) seen(e store.Entry) (doc Document, ok bool) {
	m, err := Decode(e)
	if err != nil {
		return Document{}, false
	}
	for _, f := range members(m.Data) {
		switch f.name {
		case "version":
			doc.Version, err = strconv.ParseUint(string(f.value), 10, 64)
			ok = err == nil
		case "data":
			doc.Data = f.value
		case "conf_num":
			if s, err := unquote(f.value); err != nil || s != n.ConfNum {
				return Document{}, false
			}
		}
	}
	return doc, ok
}

func (n DocumentName) snapshot(doc Document) []byte {
	b := append([]byte(`{"scope":"`), n.Scope...)
	b = append(b, `","op":"snapshot","data":`...)
	b = append(b, doc.Object()...)
	b = append(b, `,"version":`...)
	b = strconv.AppendUint(b, doc.Version, 10)
	return n.end(b)
}

// ChangeOf returns what a change's message speaks of: the version, 0 if it is none,
// and the conference, if any.
func ChangeOf(message []byte) (version uint64, confNum string) {
	for _, f := range members(message) {
		switch f.name {
		case "version":
			version, _ = strconv.ParseUint(string(f.value), 10, 64)
		case "conf_num":
			confNum, _ = unquote(f.value)
		}
	}
	return version, confNum
}
