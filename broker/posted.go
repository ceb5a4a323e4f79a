package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gobelin-broker/gobelin/broker/exact"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/store"
)

// maxRecordText bounds type and id of a record that a backend posts, in bytes.
const maxRecordText = 200

// RecordPost is a record that a backend posts (product.md V8, V10).
type RecordPost struct {
	// Data is the record, or {"connection":{…}}; the broker may keep the slice.
	Data []byte
	// Nonce makes a retry harmless; zero: every attempt is a new record.
	Nonce store.Nonce
}

// PostedRecord is the outcome of a RecordPost.
type PostedRecord struct {
	ID   string // the record's id, as streams show it; "" of a connection event
	Time int64  // the store's clock, in ms since 1970
}

// PostRecords takes records into the log of the account of who, in order, all or none.
// Errors: *Error with 4000 for a record that cannot be one, 4003 where the account has
// no streams, 4013, and the store's.
func (b *Broker) PostRecords(ctx context.Context, who *Identity, posts []RecordPost) ([]PostedRecord, error) {
	a := b.accounts.byApp[who.App.ID]
	if a == nil {
		return nil, &Error{Result: 4003, Text: "records: this account has no stream_token, so nobody could read them; set accounts.stream_token"}
	}
	records := make([]store.Record, len(posts))
	out := make([]PostedRecord, len(posts))
	for i, p := range posts {
		data, id, err := b.checkRecord(p.Data)
		var refusal *Error
		if errors.As(err, &refusal) {
			b.metrics.refused("records").Inc()
			text := refusal.Text
			if len(posts) > 1 {
				text = fmt.Sprintf("record %d: %s", i, text)
			}
			return nil, &Error{Result: refusal.Result, Text: text}
		}
		records[i], out[i].ID = store.Record{Data: data, Nonce: p.Nonce}, id
	}
	at, err := b.keepRecords(ctx, a, records)
	if err != nil {
		return nil, err
	}
	for i, p := range at.Positions {
		out[i].Time = p.MS()
	}
	return out, nil
}

// checkRecord makes the stored form of a record, and returns its id.
func (b *Broker) checkRecord(text []byte) (data []byte, id string, err error) {
	text = bytes.Trim(text, " \t\r\n")
	if len(text) > b.limits().Message {
		return nil, "", &Error{Result: 4013, Text: fmt.Sprintf("a record is at most %d bytes", b.limits().Message)}
	}
	all, err := exact.Members(text, b.limits().Depth)
	if err != nil {
		return nil, "", &Error{Result: 4000, Text: "a record must be a JSON object without duplicate members"}
	}
	members := map[string][]byte{}
	for _, m := range all {
		members[m.Name] = m.Value
	}
	if c, is := members["connection"]; is {
		return checkConnection(text, c, len(all), b.limits().Depth)
	}
	p := catchup.PostedRecord{Text: text}
	if p.Type, err = recordText(members, "type"); err != nil {
		return nil, "", err
	}
	if p.Type == "" {
		return nil, "", &Error{Result: 4000, Text: "type is required, or connection"}
	}
	if id, err = recordText(members, "id"); err != nil {
		return nil, "", err
	}
	if id == "" {
		if _, empty := members["id"]; empty {
			return nil, "", &Error{Result: 4000, Text: "id must not be empty; leave it out for one made of type, log_id, source and user"}
		}
		id = naturalID(p.Type, text, members)
		p.ID = id
	}
	if raw, there := members["created_at"]; there {
		p.HasCreated = true
		if s, err := exact.Text(raw); err == nil {
			p.Created, _ = time.Parse(time.RFC3339, s) // dates are not validated
		}
	}
	_, p.HasChecksum = members["checksum"]
	_, p.HasVersion = members["version"]
	return p.Encode(), id, nil
}

// recordText returns a member that is a text, "" where there is none.
func recordText(members map[string][]byte, name string) (string, error) {
	raw, there := members[name]
	if !there {
		return "", nil
	}
	s, err := exact.Text(raw)
	if err != nil || len(s) > maxRecordText || !plain(s) {
		return "", &Error{Result: 4000, Text: fmt.Sprintf("%s must be a string of at most %d bytes without control characters", name, maxRecordText)}
	}
	return s, nil
}

// naturalID is made of what a record says it is about; of all of it, where it has no
// log_id.
func naturalID(kind string, text []byte, members map[string][]byte) string {
	if _, there := members["log_id"]; !there {
		return catchup.NaturalID(kind, catchup.Checksum(text))
	}
	about := []byte{'{'}
	for _, name := range []string{"log_id", "source", "user"} {
		if raw, there := members[name]; there {
			about = append(append(append(about, `"`+name+`":`...), raw...), ',')
		}
	}
	about[len(about)-1] = '}'
	return catchup.NaturalID(kind, catchup.Checksum(about))
}

// checkConnection makes the stored form of a connection event.
func checkConnection(text, connection []byte, members, depth int) (data []byte, id string, err error) {
	if members > 1 {
		return nil, "", &Error{Result: 4000, Text: "a connection event has no members beside connection"}
	}
	all, err := exact.Members(connection, depth)
	if err != nil {
		return nil, "", &Error{Result: 4000, Text: "connection must be a JSON object without duplicate members"}
	}
	for _, m := range all {
		if m.Name != "type" {
			continue
		}
		if kind, err := exact.Text(m.Value); err == nil && (kind == "create" || kind == "delete") {
			return catchup.EncodeConnection(kind, text), "", nil
		}
	}
	return nil, "", &Error{Result: 4000, Text: `connection.type must be "create" or "delete"`}
}
