package broker

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// Publication is one message to be published from outside a session
// (product.md §9).
type Publication struct {
	// ObjectID is the object; empty: Channel is an open channel.
	ObjectID string
	// Channel is the path below the object's root, such as "chat" or "a/b"; for
	// an open channel the whole name, such as "/demo/x".
	Channel string
	// Data is any JSON, as it was sent; the broker keeps a copy.
	Data []byte
	// Nonce makes a retry harmless; zero: every attempt is a new message.
	Nonce store.Nonce
}

// Published is the outcome of one Publication.
type Published struct {
	// ID is the message id, the ULID form of its position.
	ID string
	// Time is the store's clock at the append, in ms since 1970.
	Time int64
	// Err, when not nil, says why there is no message: an *Error for the peer,
	// anything else is shown by AsError.
	Err error
}

// PublicationNonce returns the nonce of message index of a request that carried
// an Idempotency-Key: SHA-256 over application, key and index, cut to 16 bytes
// (decided.md 19).
func PublicationNonce(app uint32, key string, index int) store.Nonce {
	var head [12]byte
	binary.BigEndian.PutUint32(head[0:], app)
	binary.BigEndian.PutUint32(head[4:], uint32(len(key)))
	binary.BigEndian.PutUint32(head[8:], uint32(index))
	h := sha256.New()
	h.Write(head[:])
	h.Write([]byte(key))
	return store.Nonce(h.Sum(nil)[:16])
}

// idempotencyAge is how long an Idempotency-Key is bound to the body it came
// with (decided.md 19).
const idempotencyAge = 24 * time.Hour

// tableAttempt holds the body hash of each Idempotency-Key: key
// "<app>/<hex of SHA-256 of the key>", so that a peer's text never is a key.
const tableAttempt = "attempt"

// errOtherBody refuses an Idempotency-Key that came with another body before.
var errOtherBody = &Error{Result: 4000, Text: "Idempotency-Key was used with another request within 24 hours"}

// attempts binds Idempotency-Keys to request bodies. It has no state of its own.
type attempts struct {
	table store.Table
}

// remember binds key to a body hash for 24 hours, or compares with what it is
// bound to: nil when it is the same, errOtherBody when not, else the store's
// error.
func (a attempts) remember(ctx context.Context, app uint32, key string, body [32]byte) error {
	hash := sha256.Sum256([]byte(key))
	name := strconv.FormatUint(uint64(app), 10) + "/" + hex.EncodeToString(hash[:])
	// Twice: the binding found by the first Put may expire before the Get.
	for range 2 {
		absent := uint64(0)
		_, err := a.table.Put(ctx, tableAttempt, name, store.Put{Data: body[:], TTL: idempotencyAge, IfVersion: &absent})
		if err == nil {
			return nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return fmt.Errorf("broker: idempotency key: %w", err)
		}
		v, err := a.table.Get(ctx, tableAttempt, name)
		switch {
		case errors.Is(err, store.ErrNotFound):
			continue
		case err != nil:
			return fmt.Errorf("broker: idempotency key: %w", err)
		case string(v.Data) != string(body[:]):
			return errOtherBody
		default:
			return nil
		}
	}
	return fmt.Errorf("broker: idempotency key: %w", store.ErrUnavailable)
}
