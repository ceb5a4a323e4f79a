package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"github.com/gobelin-broker/gobelin/store"
)

// refusals are the answers by which Redis says that it did not do something, by
// their first word, with what a caller branches on (store.md §3.7).
var refusals = map[string]error{
	"OOM":         store.ErrFull,
	"READONLY":    store.ErrUnavailable,
	"MISCONF":     store.ErrUnavailable,
	"LOADING":     store.ErrUnavailable,
	"BUSY":        store.ErrUnavailable,
	"NOAUTH":      store.ErrUnavailable,
	"WRONGPASS":   store.ErrUnavailable,
	"NOPERM":      store.ErrUnavailable,
	"NOREPLICAS":  store.ErrUnavailable,
	"MASTERDOWN":  store.ErrUnavailable,
	"CLUSTERDOWN": store.ErrUnavailable,
	"TRYAGAIN":    store.ErrUnavailable,
	"MOVED":       store.ErrUnavailable,
	"ASK":         store.ErrUnavailable,
	"NOSCRIPT":    store.ErrUnavailable,
}

// storeError says of an error of a write what its caller branches on, keeping the
// cause's text. What was refused, or never sent, is store.ErrUnavailable or
// store.ErrFull; of what was sent and not answered nobody knows the outcome, it is
// store.ErrUncertain. Errors of a context, and those that are a store's already,
// pass as they are.
func storeError(err error) error {
	switch {
	case err == nil, isStoreError(err):
		return err
	case errors.Is(err, goredis.ErrClosed):
		return fmt.Errorf("%w: %w", store.ErrClosed, err)
	case unsent(err):
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	word := refusal(err)
	if known := refusals[word]; known != nil {
		return fmt.Errorf("%w: %w", known, err)
	}
	if word != "" || connecting(err) {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return fmt.Errorf("%w: %w", store.ErrUncertain, err)
}

// readError is storeError for what changes nothing: its outcome cannot be in doubt.
func readError(err error) error {
	if e := storeError(err); !errors.Is(e, store.ErrUncertain) {
		return e
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
}

// cause is one word for an error, for a metric's label or a log's field. There are
// few of them, whatever a server answers.
func cause(err error) string {
	switch {
	case err == nil:
		return "none"
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, goredis.ErrClosed), errors.Is(err, store.ErrClosed):
		return "closed"
	case errors.Is(err, goredis.ErrPoolTimeout), errors.Is(err, goredis.ErrPoolExhausted):
		return "pool"
	case connecting(err):
		return "dial"
	}
	if word := refusal(err); refusals[word] != nil {
		return strings.ToLower(word)
	} else if word != "" {
		return "refused"
	}
	var timeout net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		return "timeout"
	}
	return "connection"
}

// refusal returns the first word of an answer that is an error, or "".
func refusal(err error) string {
	var answer goredis.Error
	if !errors.As(err, &answer) || errors.Is(err, goredis.Nil) {
		return ""
	}
	word, _, _ := strings.Cut(answer.Error(), " ")
	return word
}

// unsent reports whether a command was certainly never sent.
func unsent(err error) bool {
	return connecting(err) || errors.Is(err, goredis.ErrPoolTimeout) || errors.Is(err, goredis.ErrPoolExhausted)
}

// connecting reports whether a connection could not even be made.
func connecting(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// passing reports whether an error is of the kind that ends by itself: the server
// starts, a replica is being promoted, slots are on their way.
func passing(err error) bool {
	switch refusal(err) {
	case "READONLY", "LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK", "NOSCRIPT":
		return true
	}
	return unsent(err) || errors.Is(err, store.ErrUnavailable)
}

// moved reports whether a key lies elsewhere in the cluster.
func moved(err error) bool {
	word := refusal(err)
	return word == "MOVED" || word == "ASK"
}

// doubtful reports whether a command may or may not have been done.
func doubtful(err error) bool {
	return err != nil && !unsent(err) && refusal(err) == "" && !isStoreError(err) &&
		!errors.Is(err, goredis.ErrClosed) && !errors.Is(err, goredis.Nil)
}

func isStoreError(err error) bool {
	for _, known := range []error{
		store.ErrUnavailable, store.ErrFull, store.ErrTooLarge, store.ErrUncertain,
		store.ErrClosed, store.ErrNotFound, store.ErrConflict,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}
