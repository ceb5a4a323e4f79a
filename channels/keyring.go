package channels

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"sync"
	"time"
)

// MinSecret is the length in bytes below which a caller should refuse a secret
// (security.md §1.3). NewKeyring itself takes shorter ones, for sandboxes.
const MinSecret = 32

// MaxKID is the largest key number, and class: both are half a byte.
const MaxKID = 15

// dailyPeriod is the period of ClassDaily unless told otherwise.
const dailyPeriod = 24 * time.Hour

// RootKey is one key that roots are signed with.
type RootKey struct {
	// KID is the key's number, 0 to 15, the first digit of its roots.
	KID uint8
	// Secret is any bytes, MinSecret or more. It is not kept.
	Secret []byte
	// Sign: new roots are signed with this key. Exactly one key of a ring has it;
	// the others still verify.
	Sign bool
}

// Format writes the key's number and "***" for its secret, whatever the verb.
func (k RootKey) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "key %d %s", k.KID, hidden) }

// MarshalText hides the secret from JSON and YAML.
func (k RootKey) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%v", k), nil }

// Keyring signs and verifies roots (security.md §1). It is immutable and safe
// for concurrent use; rotation is a new Keyring.
type Keyring struct {
	identity *mac
	keys     [MaxKID + 1]*mac // by kid; nil: not in the ring
	dummy    *mac             // does the work of a key that is not there
	sign     uint8
	periods  [MaxKID + 1]int64 // by class, seconds; 0: its roots do not expire
}

// Verified is what a good root says.
type Verified struct {
	KID   uint8
	Class Class
	OID   OID
}

// NewKeyring builds a ring. identity hides the ids of objects and does not
// rotate; keys are one that signs and any that still verify. periods gives the
// classes whose roots expire and after how long, in whole seconds; 0 is never,
// and ClassDaily is 24 h if not named. The error lists every fault.
func NewKeyring(identity []byte, keys []RootKey, periods map[Class]time.Duration) (*Keyring, error) {
	k := &Keyring{}
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("channels: keyring: "+format, args...))
	}
	if len(identity) == 0 {
		fault("empty identity secret")
	}
	if len(keys) == 0 {
		fault("no key")
	}
	signing := 0
	for _, key := range keys {
		switch {
		case key.KID > MaxKID:
			fault("key %d: above %d", key.KID, MaxKID)
			continue
		case k.keys[key.KID] != nil:
			fault("key %d: there twice", key.KID)
		case len(key.Secret) == 0:
			fault("key %d: empty secret", key.KID)
		}
		k.keys[key.KID] = newMAC(derive(key.Secret, "gobelin root tag v1"))
		if key.Sign {
			k.sign = key.KID
			signing++
		}
	}
	if len(keys) > 0 && signing != 1 {
		fault("%d keys sign: must be one", signing)
	}
	k.periods[ClassDaily] = int64(dailyPeriod / time.Second)
	for class, period := range periods {
		if class == 0 || class > MaxKID || period < 0 || period%time.Second != 0 {
			fault("%v: period %v: must be whole seconds, of a class from 1 to %d", class, period, MaxKID)
			continue
		}
		k.periods[class] = int64(period / time.Second)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	k.identity = newMAC(derive(identity, "gobelin root oid v1"))
	k.dummy = newMAC(derive(identity, "gobelin root dummy v1"))
	return k, nil
}

// Signing returns the number of the key that signs.
func (k *Keyring) Signing() uint8 { return k.sign }

// OID returns the name of an object inside its roots (security.md §1.3): app is
// the application's number, object its id, n how often its roots were reset.
func (k *Keyring) OID(app uint32, object string, n uint16) OID {
	w := k.identity.take()
	defer k.identity.give(w)
	w.in = binary.BigEndian.AppendUint32(w.in[:0], app)
	w.in = binary.BigEndian.AppendUint16(w.in, n)
	w.in = append(w.in, object...)
	return OID(w.sum()[:len(OID{})])
}

// Root returns the 40 digits of an object's root, without a slash, signed by the
// signing key for the period of class that holds at. It returns "" for a class
// that cannot be (0, or above 15).
func (k *Keyring) Root(oid OID, class Class, at time.Time) string {
	if class == 0 || class > MaxKID {
		return ""
	}
	var raw [rootSize]byte
	raw[0] = k.sign<<4 | byte(class)
	copy(raw[1:], oid[:])
	key := k.keys[k.sign]
	w := key.take()
	defer key.give(w)
	copy(raw[headSize:], w.tag(raw[:headSize], k.period(class, at)))
	return hex.EncodeToString(raw[:])
}

// Expires returns when a root of a class that is made at a time stops working: at the
// end of the period after its own. It is zero for a class that does not expire.
func (k *Keyring) Expires(class Class, at time.Time) time.Time {
	if class > MaxKID || k.periods[class] == 0 {
		return time.Time{}
	}
	return time.Unix((int64(k.period(class, at))+2)*k.periods[class], 0)
}

// Verify checks a segment, without its slash, at a time, in the order of
// security.md §1.5. Every failure gives the same answer after the same work, but
// that of text which cannot be a root (IsRoot). An expiring root is good in its
// own period and the next. Whether class and object are known and what they
// allow, the caller decides, after this.
func (k *Keyring) Verify(root string, at time.Time) (Verified, bool) {
	raw, ok := decode(root)
	if !ok {
		return Verified{}, false
	}
	kid, class := raw[0]>>4, Class(raw[0]&MaxKID)
	key, known := k.keys[kid], 1
	if key == nil {
		key, known = k.dummy, 0
	}
	w := key.take()
	defer key.give(w)
	head, tag := raw[:headSize], raw[headSize:]
	period := k.period(class, at)
	good := subtle.ConstantTimeCompare(tag, w.tag(head, period))
	if k.periods[class] != 0 {
		// The first period has none before it; its own is compared again.
		good |= subtle.ConstantTimeCompare(tag, w.tag(head, max(period, 1)-1))
	}
	if good&known == 0 || class == 0 {
		return Verified{}, false
	}
	return Verified{KID: kid, Class: class, OID: OID(raw[1:headSize])}, true
}

// period returns the number of the period of class that holds at, 0 for a class
// that does not expire.
func (k *Keyring) period(class Class, at time.Time) uint32 {
	length := k.periods[class]
	if length == 0 {
		return 0
	}
	return uint32(max(at.Unix(), 0) / length)
}

// derive makes a key for one purpose out of a secret.
func derive(secret []byte, label string) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(label))
	return h.Sum(nil)
}

// mac is HMAC-SHA256 under one key. Building its state costs more than a tag
// does, so states are kept for use again.
type mac struct{ works sync.Pool }

// work is one state, with room for what goes in and comes out: on the stack both
// would escape through the hash's interface.
type work struct {
	hash hash.Hash
	in   []byte
	out  [sha256.Size]byte
}

func newMAC(key []byte) *mac {
	m := &mac{}
	m.works.New = func() any { return &work{hash: hmac.New(sha256.New, key)} }
	return m
}

func (m *mac) take() *work  { return m.works.Get().(*work) }
func (m *mac) give(w *work) { m.works.Put(w) }

// sum returns the MAC of w.in; it is overwritten by the next.
func (w *work) sum() []byte {
	w.hash.Reset()
	w.hash.Write(w.in)
	return w.hash.Sum(w.out[:0])
}

// tag returns the tag of a root's head in a period (security.md §1.3).
func (w *work) tag(head []byte, period uint32) []byte {
	w.in = append(w.in[:0], head...)
	w.in = binary.BigEndian.AppendUint32(w.in, period)
	return w.sum()[:tagSize]
}
