package bench

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/channels"
)

// The scenarios.
const (
	Fanout  = "fanout"  // one publishes, all receive
	Idle    = "idle"    // many are there, nothing happens
	Publish = "publish" // many publish, nobody receives
	CatchUp = "catchup" // many read the same past at once
	Rooms   = "rooms"   // many talk in rooms that they share
)

// Options says what to measure. The fields behind Progress count only in the
// scenarios that their comments name; Run takes none of them as a default.
type Options struct {
	// Scenario is one of the constants above.
	Scenario string
	// URL is the Bayeux endpoint: http, https, ws or wss.
	URL string
	// Transport is WebSocket or LongPolling.
	Transport string
	// Token goes into ext.token of each handshake; "" sends none.
	Token string
	// Channel is what the channels used begin with; their next segment is random.
	Channel string
	// PID is the server's process, looked at with its descendants; 0: none.
	PID int
	// Progress is called about once a second from a goroutine of Run, if not nil.
	Progress func(Progress)

	// Duration is how long is measured (fanout, publish, rooms) or waited (idle).
	Duration time.Duration
	// WarmUp goes before Duration and does not count (fanout, publish, rooms).
	WarmUp time.Duration
	// Size is the JSON of one message in bytes, at least MinSize (all but idle).
	Size int
	// Subs is how many sessions receive (fanout) or are there (idle).
	Subs int
	// Window is how many messages are under way at once (fanout). 0: Rate counts.
	Window int
	// Rate is messages per second, whatever comes of them (fanout, rooms).
	Rate float64
	// Conns is how many sessions publish (publish), read (catchup) or talk (rooms).
	Conns int
	// Rooms is how many there are, Each in how many of them a client is, Batch how many
	// messages it sends at once (rooms).
	Rooms, Each, Batch int
	// InFlight is how many publishes of one session wait for an answer; over
	// long-polling they share a request (publish).
	InFlight int
	// Messages is how much past there is to read (catchup).
	Messages int
	// Since is the interval to read, such as 1h (catchup).
	Since string
}

// Bounds of what one generator is asked for.
const (
	maxSessions = 1_000_000
	maxInFlight = 100_000
	// MinSize and MaxSize bound Options.Size: a mark must fit, and a piece of a
	// frame must not be all padding.
	MinSize = minSize
	MaxSize = 1 << 20
)

// ErrOptions is wrapped by what Run returns for options that cannot be meant.
var ErrOptions = errors.New("bench: options")

// validate returns all that is wrong at once.
func (o *Options) validate() error {
	var faults []error
	within := func(name string, v, low, high int) {
		if v < low || v > high {
			faults = append(faults, fmt.Errorf("%s must be from %d to %d, is %d", name, low, high, v))
		}
	}
	long := func(name string, d, low time.Duration) {
		if d < low || d > 24*time.Hour {
			faults = append(faults, fmt.Errorf("%s must be from %v to 24h, is %v", name, low, d))
		}
	}
	if o.Transport != WebSocket && o.Transport != LongPolling {
		faults = append(faults, fmt.Errorf("transport must be %s or %s, is %q", WebSocket, LongPolling, o.Transport))
	}
	if _, err := channels.Parse(o.Channel); err != nil {
		faults = append(faults, fmt.Errorf("channel: %w", err))
	}
	if o.PID < 0 {
		faults = append(faults, fmt.Errorf("pid must be positive, is %d", o.PID))
	}
	if o.Scenario != Idle {
		within("size", o.Size, MinSize, MaxSize)
	}
	if o.Scenario != CatchUp {
		long("duration", o.Duration, time.Millisecond)
		long("warm-up", o.WarmUp, 0)
	}
	switch o.Scenario {
	case Fanout:
		within("subs", o.Subs, 1, maxSessions)
		within("window", o.Window, 0, maxInFlight)
		if (o.Window == 0) == (o.Rate == 0) {
			faults = append(faults, errors.New("one of window and rate must be given"))
		}
		if o.Rate < 0 || o.Rate > 1e6 {
			faults = append(faults, fmt.Errorf("rate must be from 0 to 1000000, is %v", o.Rate))
		}
	case Idle:
		within("subs", o.Subs, 1, maxSessions)
	case Publish:
		within("conns", o.Conns, 1, maxPublishers)
		within("inflight", o.InFlight, 1, maxInFlight)
	case CatchUp:
		within("clients", o.Conns, 1, maxSessions)
		within("messages", o.Messages, 1, 100_000_000)
		if o.Since == "" || strings.Contains(o.Since, "/") {
			faults = append(faults, fmt.Errorf("since must be an interval such as 1h, is %q", o.Since))
		}
	case Rooms:
		within("clients", o.Conns, 1, maxPublishers)
		within("rooms", o.Rooms, 1, 10_000)
		within("each", o.Each, 1, max(1, o.Rooms))
		within("batch", o.Batch, 1, batchMost)
		if o.Conns*o.Each > maxPublishers {
			faults = append(faults, fmt.Errorf("clients times each must be at most %d, is %d", maxPublishers, o.Conns*o.Each))
		}
		if o.Rate <= 0 || o.Rate > 1e6 {
			faults = append(faults, fmt.Errorf("rate must be above 0 and at most 1000000, is %v", o.Rate))
		}
	default:
		faults = append(faults, fmt.Errorf("there is no scenario %q", o.Scenario))
	}
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrOptions, errors.Join(faults...))
}

// connections is how many files a run opens at most.
func (o *Options) connections() int {
	n := 1 // the publisher's
	switch o.Scenario {
	case Fanout, Idle:
		n += o.Subs
	case Publish, CatchUp, Rooms:
		n += o.Conns
	}
	if o.Transport == LongPolling {
		n *= 2
	}
	return n
}

// spareFiles are for all else than connections.
const spareFiles = 64
