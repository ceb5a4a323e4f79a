package broker

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/store"
	"go.uber.org/zap"
)

// Letters between nodes.
const (
	// answerIn is how long a node waits for another's answer (decided.md 17).
	answerIn = time.Second
	// obeyIn is within what time one carries out what it is asked for, so that it can
	// still answer that the session is busy.
	obeyIn = 750 * time.Millisecond
	// mailEvery is how often a node looks into its mailbox though nothing was announced:
	// of a letter and its answer both announcements may be lost, and a node that does not
	// answer within answerIn is taken for dead.
	mailEvery = 100 * time.Millisecond
	// carriedAtOnce bounds the letters a node works on at the same time.
	carriedAtOnce = 256
	// forwardedAtOnce bounds those that it waits for because of clients' messages, and
	// mostCarried such a message in bytes: together what a flood of them can make the
	// store hold for mailLimits.
	forwardedAtOnce = 256
	mostCarried     = 256 << 10
	// letterLife is how long after its call a letter is still worth carrying out.
	letterLife = 5 * time.Second
)

// mailLimits are those of a node's mailbox: what clients send may hold their tokens, so
// it is kept for no longer than somebody waits for it.
var mailLimits = store.Limits{Age: 2 * letterLife, Length: 100_000}

func mailbox(node string) store.LogName { return store.LogName{Feed: "@node/" + node, Path: "mail"} }

// What a letter asks for, and how it is answered.
const (
	letterRelease = "release" // let another node have a session
	letterMoved   = "moved"   // another node has taken a session, or so it seems
	letterCarry   = "carry"   // carry out a message of a session
	letterRecall  = "recall"  // write again what the store may have lost of a session
	letterDone    = "done"
	letterUnknown = "unknown" // the session is not here
	letterBusy    = "busy"    // it is being taken up here just now
	letterLate    = "late"    // a newer connect than what it is asked for has come here
)

// letter is what one node writes to another. A session is named by the key of its
// record, since a clientId is a secret.
type letter struct {
	Kind    string          `json:"kind"`
	From    string          `json:"from"`
	Call    uint64          `json:"call"`
	Sent    int64           `json:"sent"` // ms of the store's clock
	Key     string          `json:"key,omitempty"`
	Connect bayeux.Ordinal  `json:"connect,omitzero"` // for which the session is to be let go
	Message json.RawMessage `json:"message,omitempty"`
	Errand  string          `json:"errand,omitempty"` // which message that is, or for which the session is to be let go
	Ext     json.RawMessage `json:"ext,omitempty"`
	Refusal *refusal        `json:"refusal,omitempty"`
}

// refusal is a bayeux.Error on its way.
type refusal struct {
	Code   int            `json:"code"`
	Args   []string       `json:"args,omitempty"`
	Text   string         `json:"text"`
	Advice *bayeux.Advice `json:"advice,omitempty"`
}

// errNoAnswer: a node did not answer in time. errDeaf: perhaps it did, but this node does not
// read what it is sent.
var (
	errNoAnswer = errors.New("broker: another node did not answer")
	errDeaf     = errors.New("broker: this node does not read its mail")
)

// mail is this node's correspondence.
type mail struct {
	b        *Broker
	slots    chan struct{}
	forwards chan struct{}  // messages of clients that wait for another node
	wg       sync.WaitGroup // letters being carried out
	errands  atomic.Uint64  // that this node has had
	// looked is when the last look into the mailbox began that came to its end.
	looked atomic.Pointer[time.Time]

	// mu guards what follows.
	mu    sync.Mutex
	calls map[uint64]chan letter
	last  uint64
	// taken are the letters taken in since turned, and before those the ones of a
	// letterLife before: a mailbox that the store has set back is read again.
	taken, before map[call]struct{}
	turned        time.Time
}

// call names a letter that wants an answer.
type call struct {
	from   string
	number uint64
}

// takenMost bounds each of the two sets of letters taken in, to about 5 MiB.
const takenMost = 50_000

func newMail(b *Broker) *mail {
	return &mail{b: b, slots: make(chan struct{}, carriedAtOnce), forwards: make(chan struct{}, forwardedAtOnce), calls: map[uint64]chan letter{}}
}

// inbox follows this node's mailbox, from its first letter on. Where letters may have
// been lost, one of them may have been that another node has a session.
func (m *mail) inbox() *follower {
	began := false
	return &follower{
		store: m.b.opt.Store, log: mailbox(m.b.nodes.id), limits: mailLimits, logger: m.b.log, after: &store.Position{}, every: mailEvery,
		entry: func(ctx context.Context, e store.Entry) { m.open(ctx, e.Data) },
		sees: func(yes bool) {
			if yes && began {
				m.b.doubts.Add(1)
				m.b.deaf.Store(true)
			}
			began = true
		},
		looked: func(began time.Time) { m.looked.Store(&began) },
	}
}

// hears reports whether this node has looked into its mailbox within the last d. One that
// has not, since it or the store is slow, may not know what others have asked it for, nor
// how they have answered.
func (m *mail) hears(d time.Duration) bool {
	at := m.looked.Load()
	return !m.b.opt.Store.Shared() || at != nil && time.Since(*at) < d
}

func (m *mail) send(to string, l letter) error {
	l.From, l.Sent = m.b.nodes.id, m.b.opt.Store.Now().UnixMilli()
	data, err := json.Marshal(l)
	if err != nil {
		return err
	}
	sent := make(chan error, 1)
	m.b.opt.Store.Submit(mailbox(to), mailLimits, []store.Record{{Data: data}}, func(_ store.Appended, err error) { sent <- err })
	return <-sent
}

// tell writes to another node and waits for nothing.
func (m *mail) tell(to string, l letter) {
	l.From, l.Sent = m.b.nodes.id, m.b.opt.Store.Now().UnixMilli()
	data, err := json.Marshal(l)
	if err != nil {
		m.b.log.Error("a letter to another node", zap.Error(err))
		return
	}
	m.b.opt.Store.Submit(mailbox(to), mailLimits, []store.Record{{Data: data}}, func(_ store.Appended, err error) {
		if err != nil {
			m.b.log.Debug("another node was not told", zap.Error(err))
		}
	})
}

// ask writes to another node and waits for its answer. errNoAnswer when it does not
// come in time. A node that has not read its own mail lately does not say that of another: it
// waits for as long again, and then returns errDeaf.
func (m *mail) ask(ctx context.Context, to string, l letter) (letter, error) {
	answer := make(chan letter, 1)
	m.mu.Lock()
	m.last++
	l.Call = m.last
	m.calls[l.Call] = answer
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.calls, l.Call)
	}()
	if err := m.send(to, l); err != nil {
		return letter{}, err
	}
	late := time.NewTimer(answerIn)
	defer late.Stop()
	for again := false; ; again = true {
		select {
		case a := <-answer:
			return a, nil
		case <-ctx.Done():
			return letter{}, ctx.Err()
		case <-late.C:
		}
		switch {
		case m.hears(answerIn / 2):
			m.b.metrics.unanswered.Inc()
			return letter{}, errNoAnswer
		case again:
			m.b.metrics.unanswered.Inc()
			return letter{}, errDeaf
		}
		late.Reset(answerIn)
	}
}

// open takes a letter in: an answer goes to who asked, all else is carried out beside.
func (m *mail) open(ctx context.Context, data []byte) {
	var l letter
	if err := json.Unmarshal(data, &l); err != nil {
		m.b.log.Error("a letter of another node that cannot be read", zap.Error(err))
		return
	}
	if m.b.opt.Store.Now().UnixMilli()-l.Sent < answerIn.Milliseconds() { // not one that lay there
		m.b.nodes.heard(l.From)
	}
	switch l.Kind {
	case letterDone, letterUnknown, letterBusy, letterLate:
		m.mu.Lock()
		answer := m.calls[l.Call]
		m.mu.Unlock()
		if answer != nil {
			select {
			case answer <- l:
			default: // answered twice: the log was read again
			}
		}
		return
	}
	if age := m.b.opt.Store.Now().UnixMilli() - l.Sent; age > letterLife.Milliseconds() {
		// Who asked has long done without, and may have taken the session.
		if s, _ := m.b.subscriberOf(l.Key); s == nil || l.Kind == letterCarry {
			return
		}
		l.Kind = letterMoved
	}
	if m.again(&l) {
		return
	}
	select {
	case m.slots <- struct{}{}:
	default:
		m.b.metrics.refused("letter").Inc()
		m.tell(l.From, letter{Kind: letterBusy, Call: l.Call})
		return
	}
	m.wg.Go(func() {
		defer func() { <-m.slots }()
		m.answer(ctx, l)
	})
}

// again reports whether a letter was taken in before, and notes it. To let a session go
// twice does no harm, but a subscribe that is carried out twice brings its past twice.
func (m *mail) again(l *letter) bool {
	if l.Call == 0 {
		return false
	}
	c := call{l.From, l.Call}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.taken == nil || len(m.taken) >= takenMost || time.Since(m.turned) > letterLife {
		m.taken, m.before, m.turned = make(map[call]struct{}), m.taken, time.Now()
	}
	_, now := m.taken[c]
	_, before := m.before[c]
	m.taken[c] = struct{}{}
	return now || before
}

// answer carries out what a letter asks for.
func (m *mail) answer(ctx context.Context, l letter) {
	ctx, cancel := context.WithTimeout(ctx, obeyIn)
	defer cancel()
	reply := letter{Kind: letterUnknown, Call: l.Call}
	sub, taking := m.b.subscriberOf(l.Key)
	switch {
	case l.Kind == letterRecall:
		reply.Kind = m.recall(ctx, l.Key)
	case l.Kind == letterMoved:
		if sub != nil && !taking {
			if err := m.b.verify(ctx, sub); err != nil {
				sub.sure.Store(^uint64(0)) // it is looked for when its client comes
			}
		}
		return
	case taking:
		reply.Kind = letterBusy
	case sub == nil:
		if m.b.overdue.has(l.Key) {
			reply.Kind = letterBusy
			_ = m.b.overdue.settle(ctx, l.Key) // who asks looks at the record again
		}
	case l.Kind == letterRelease && l.Errand != "":
		reply.Kind = letterLate // only a connect takes a session from where it lives
	case l.Kind == letterRelease:
		// The record is written by Close, before Release returns. A session that is
		// ending by itself is gone in a moment.
		switch _, err := sub.session.Release(ctx, l.Connect); {
		case err == nil:
			m.b.metrics.released.Inc()
			reply.Kind = letterDone
		case errors.Is(err, bayeux.ErrLate):
			reply.Kind = letterLate
		default:
			reply.Kind = letterBusy
		}
	case l.Kind == letterCarry:
		reply = m.carry(ctx, sub, l)
	}
	if err := m.send(l.From, reply); err != nil && ctx.Err() == nil {
		m.b.log.Warn("another node was not answered", zap.Error(err))
	}
}

func (m *mail) carry(ctx context.Context, sub *subscriber, l letter) letter {
	reply := letter{Kind: letterDone, Call: l.Call}
	msg, err := bayeux.ParseForwarded(l.Message)
	if err == nil {
		msg.Errand = l.Errand
		reply.Ext, err = sub.session.Carry(ctx, msg)
	}
	var e *bayeux.Error
	switch {
	case err == nil:
	case ctx.Err() != nil:
		reply.Kind = letterBusy // it was undone
	case errors.Is(err, bayeux.ErrNoSession):
		reply.Kind = letterUnknown
	case errors.As(err, &e):
		reply.Refusal = &refusal{Code: e.Code, Args: e.Args, Text: e.Text, Advice: e.Advice}
	default:
		m.b.log.Error("a forwarded message failed", zap.Error(err))
		reply.Refusal = &refusal{Code: 500, Text: "Internal server error"}
	}
	return reply
}

// error gives back what the peer is to hear.
func (r *refusal) error() error {
	return &bayeux.Error{Code: r.Code, Args: r.Args, Text: r.Text, Advice: r.Advice}
}
