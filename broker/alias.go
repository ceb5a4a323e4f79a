package broker

import (
	"encoding/hex"
	"fmt"
	"time"

	"github.com/gobelin-broker/gobelin/channels"
)

// maxAliases bounds the older oids of an object that work at the same time: each
// makes one more encoding of every message. More resets with grace are refused.
const maxAliases = 8

// alias is an oid from before a reset, good until its grace is over
// (security.md §1.8).
type alias struct {
	oid   channels.OID
	until time.Time
}

// aliasRecord is an alias as it is stored.
type aliasRecord struct {
	OID   string `json:"oid"`
	Until int64  `json:"until"` // ms since 1970
}

func (a alias) record() aliasRecord {
	return aliasRecord{OID: a.oid.String(), Until: a.until.UnixMilli()}
}

func (r aliasRecord) alias() (alias, error) {
	oid, err := parseOID(r.OID)
	return alias{oid: oid, until: time.UnixMilli(r.Until)}, err
}

// holds reports whether a root with this oid leads to o at now: the current one,
// or one whose grace is not over.
func (o *Object) holds(oid channels.OID, now time.Time) bool {
	if o.deleted {
		return false
	}
	if o.OID == oid {
		return true
	}
	for _, a := range o.aliases {
		if a.oid == oid && now.Before(a.until) {
			return true
		}
	}
	return false
}

// oids returns every oid that leads to o at now, the current one first.
func (o *Object) oids(now time.Time) []channels.OID {
	if o.deleted {
		return nil
	}
	all := []channels.OID{o.OID}
	for _, a := range o.aliases {
		if now.Before(a.until) {
			all = append(all, a.oid)
		}
	}
	return all
}

// reset returns o with another oid, the n-th; the old one goes on until until, or
// ends now if that is not after now: then those still in grace end as well, for
// somebody who resets without grace wants no older link to work.
func (o *Object) reset(oid channels.OID, n uint16, now, until time.Time) (*Object, error) {
	next := *o
	next.OID, next.N, next.aliases = oid, n, nil
	if !until.After(now) {
		return &next, nil
	}
	for _, a := range o.aliases {
		if now.Before(a.until) {
			next.aliases = append(next.aliases, a)
		}
	}
	if len(next.aliases) >= maxAliases {
		return nil, &Error{Result: 4000, Text: fmt.Sprintf("%d older roots are still in grace; reset without grace ends them", maxAliases)}
	}
	next.aliases = append(next.aliases, alias{oid: o.OID, until: until})
	return &next, nil
}

// parseOID reads the 16 digits of OID.String.
func parseOID(s string) (oid channels.OID, err error) {
	if len(s) != 2*len(oid) {
		return oid, fmt.Errorf("broker: object record: oid of %d digits", len(s))
	}
	if _, err = hex.Decode(oid[:], []byte(s)); err != nil {
		return oid, fmt.Errorf("broker: object record: oid: %w", err)
	}
	return oid, nil
}
