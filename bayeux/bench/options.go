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
	Fanout   = "fanout"   // one publishes, all receive
	Channels = "channels" // the same in many channels at once, each with its own
	LongPoll = "longpoll" // fanout over long-polling
	Rooms    = "rooms"    // many talk in rooms that they share
	Publish  = "publish"  // many publish, nobody receives
	CatchUp  = "catchup"  // many read the same past at once
	Herd     = "herd"     // the same beside an audience that hears what goes on
	Idle     = "idle"     // many are there, nothing happens
	Storm    = "storm"    // all are cut off at once and come back
)

// Scenarios are all of them, in the order in which they are told.
func Scenarios() []string {
	return []string{Fanout, Channels, LongPoll, Rooms, Publish, CatchUp, Herd, Idle, Storm}
}

// Options says what to measure. The fields behind Progress count only in the
// scenarios that their comments name; Run takes none of them as a default.
type Options struct {
	// Scenario is one of the constants above.
	Scenario string
	// URL is the Bayeux endpoint: http, https, ws or wss.
	URL string
	// Transport is WebSocket or LongPolling; to publish also API, which is no Bayeux.
	Transport string
	// Token goes into ext.token of each handshake; "" sends none.
	Token channels.Secret
	// Channel is what the channels used begin with; their next segment is random.
	Channel string
	// PID is the server's process, looked at with its descendants; 0: none.
	PID int
	// Progress is called about once a second from a goroutine of Run, if not nil.
	Progress func(Progress)

	// Duration is how long is measured (fanout, channels, longpoll, rooms, publish),
	// listened before the others come (herd, storm), or waited (idle).
	Duration time.Duration
	// WarmUp goes before Duration and does not count (all but idle and catchup).
	WarmUp time.Duration
	// Wait is how long those who were cut off are waited for (storm).
	Wait time.Duration
	// Size is the JSON of one message in bytes, at least MinSize (all but idle).
	Size int
	// Subs is how many sessions receive (fanout, longpoll; channels: in each), are
	// there (idle), or are the audience (herd, storm; there 0 is none).
	Subs int
	// Window is how many messages are under way at once, in each channel (fanout,
	// channels, longpoll). 0: Rate counts.
	Window int
	// Rate is messages per second, whatever comes of them (fanout, channels, longpoll,
	// rooms; herd and storm: those of the audience).
	Rate float64
	// Channels is how many there are (channels).
	Channels int
	// Conns is how many sessions publish (publish), read the past (catchup, herd), talk
	// (rooms) or are cut off (storm).
	Conns int
	// Rooms is how many there are, Each in how many of them a client is, Batch how many
	// messages it sends at once (rooms).
	Rooms, Each, Batch int
	// InFlight is how many publishes of one session wait for an answer; over all
	// but a WebSocket they share a request (publish).
	InFlight int
	// Messages is how much past there is to read (catchup, herd).
	Messages int
	// Since is the interval to read, such as 1h (catchup, herd).
	Since string
	// Fresh lets those who come back shake hands anew instead of resuming (storm).
	Fresh bool
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
	v := &validation{o: o}
	v.shared()
	switch o.Scenario {
	case Fanout, Channels, LongPoll:
		v.fanout()
	case Idle:
		v.within("subs", o.Subs, 1, maxSessions)
	case Publish:
		v.within("conns", o.Conns, 1, maxPublishers)
		v.within("inflight", o.InFlight, 1, maxInFlight)
	case CatchUp:
		v.past()
	case Herd:
		v.past()
		v.audience(1)
	case Storm:
		v.within("clients", o.Conns, 1, maxSessions)
		v.long("wait", o.Wait, time.Millisecond)
		v.audience(0)
	case Rooms:
		v.rooms()
	default:
		v.fault("there is no scenario %q", o.Scenario)
	}
	if len(v.faults) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrOptions, errors.Join(v.faults...))
}

// validation collects what is wrong.
type validation struct {
	o      *Options
	faults []error
}

func (v *validation) fault(format string, args ...any) {
	v.faults = append(v.faults, fmt.Errorf(format, args...))
}

func (v *validation) within(name string, n, low, high int) {
	if n < low || n > high {
		v.fault("%s must be from %d to %d, is %d", name, low, high, n)
	}
}

func (v *validation) long(name string, d, low time.Duration) {
	if d < low || d > 24*time.Hour {
		v.fault("%s must be from %v to 24h, is %v", name, low, d)
	}
}

func (v *validation) rate(low float64) {
	if r := v.o.Rate; !(r >= low && r <= 1e6) {
		v.fault("rate must be from %v to 1000000, is %v", low, r)
	}
}

// shared checks what all scenarios have.
func (v *validation) shared() {
	o := v.o
	switch o.Transport {
	case WebSocket, LongPolling:
	case API:
		if o.Scenario != Publish {
			v.fault("transport %s can only publish", API)
		}
	default:
		v.fault("transport must be %s or %s, or to publish %s, is %q", WebSocket, LongPolling, API, o.Transport)
	}
	if strings.ContainsAny(o.Token.Reveal(), "\r\n") {
		v.fault("token must be one line")
	}
	if _, err := channels.Parse(o.Channel); err != nil {
		v.fault("channel: %w", err)
	}
	if o.PID < 0 {
		v.fault("pid must be positive, is %d", o.PID)
	}
	if o.Scenario != Idle {
		v.within("size", o.Size, MinSize, MaxSize)
	}
	if o.Scenario != CatchUp {
		v.long("duration", o.Duration, time.Millisecond)
		v.long("warm-up", o.WarmUp, 0)
	}
}

func (v *validation) fanout() {
	o := v.o
	v.within("subs", o.Subs, 1, maxSessions)
	v.within("window", o.Window, 0, maxInFlight)
	if (o.Window == 0) == (o.Rate == 0) {
		v.fault("one of window and rate must be given")
	}
	v.rate(0)
	if o.Scenario == Channels {
		v.within("channels", o.Channels, 1, maxPublishers)
		v.within("channels times subs", o.Channels*o.Subs, 1, maxSessions)
		v.within("channels times window", o.Channels*o.Window, 0, maxSessions)
	}
}

func (v *validation) past() {
	v.within("clients", v.o.Conns, 1, maxSessions)
	v.within("messages", v.o.Messages, 1, 100_000_000)
	if v.o.Since == "" || strings.Contains(v.o.Since, "/") {
		v.fault("since must be an interval such as 1h, is %q", v.o.Since)
	}
}

// audience checks those who hear what goes on beside; least is how many at least.
func (v *validation) audience(least int) {
	v.within("subs", v.o.Subs, least, maxSessions)
	if v.o.Subs > 0 {
		v.rate(leastRate)
	}
}

// leastRate is the slowest clock of messages.
const leastRate = 0.01

func (v *validation) rooms() {
	o := v.o
	v.within("clients", o.Conns, 1, maxPublishers)
	v.within("rooms", o.Rooms, 1, 10_000)
	v.within("each", o.Each, 1, max(1, o.Rooms))
	v.within("batch", o.Batch, 1, batchMost)
	v.within("clients times each", o.Conns*o.Each, 0, maxPublishers)
	v.rate(leastRate)
}

// connections is how many files a run opens at most.
func (o *Options) connections() int {
	n := 1 // the publisher's
	switch o.Scenario {
	case Fanout, LongPoll, Idle:
		n += o.Subs
	case Channels:
		n += o.Channels * o.Subs
	case Publish, CatchUp, Rooms:
		n += o.Conns
	case Herd, Storm:
		n += o.Subs + o.Conns + 1
	}
	if o.Transport == LongPolling {
		n *= 2
	}
	return n
}

// spareFiles are for all else than connections.
const spareFiles = 64
