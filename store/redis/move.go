package redis

import (
	"context"
	"encoding/binary"
	"errors"

	goredis "github.com/redis/go-redis/v9"

	"github.com/gobelin-broker/gobelin/store"
)

// send has the copies put into their logs. What is refused waits.
func (p *pump) send(ctx context.Context, moves []*move) (worst error) {
	if len(moves) == 0 {
		return nil
	}
	pipe := p.s.client.Pipeline()
	commands := make([]*goredis.Cmd, len(moves))
	for i, m := range moves {
		keys, args := p.command(m)
		all := []any{"evalsha", moveScript.Hash(), len(keys)}
		for _, k := range keys {
			all = append(all, k)
		}
		commands[i] = goredis.NewCmd(ctx, append(all, args...)...)
		_ = pipe.Process(ctx, commands[i])
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	for i, m := range moves {
		answer, err := commands[i].Text()
		if refusal(err) == "NOSCRIPT" {
			keys, args := p.command(m)
			var got any
			got, err = p.s.run(ctx, moveScript, keys, args...)
			answer, _ = got.(string)
		} else {
			p.s.judge(ctx, err)
		}
		if err == nil {
			err = p.land(m, answer)
		}
		if err != nil {
			worst = err
		}
	}
	if p.s.options.Ack == ackReplica {
		if err := p.s.replicated(ctx); err != nil { // until then they are not taken for moved
			for _, m := range moves {
				m.outcome = ""
			}
			return err
		}
	}
	return worst
}

// land notes what became of a move.
func (p *pump) land(m *move, answer string) error {
	switch {
	case len(answer) == len(store.Position{}):
		m.outcome = "p"
	case answer == "m", answer == "r":
		m.outcome = answer
	case len(answer) == 7 && answer[0] == 'f':
		p.floor = max(p.floor, int64(binary.BigEndian.Uint64([]byte("\x00\x00"+answer[1:]))))
		p.fence = 0
		return errFenced
	default:
		return errEntry
	}
	return nil
}

// errFenced: another pump has a newer lease.
var errFenced = errors.New("another pump is at work")

// command returns the keys and arguments of move.lua.
func (p *pump) command(m *move) (keys []string, args []any) {
	s, at := p.s, partition(m.to.Feed)
	lengths := make([]byte, 0, 4*len(m.copies))
	own := append48([]byte{byte(m.part)}, p.fence)
	data := make([]any, len(m.copies))
	biggest := 0
	for i := range m.copies {
		w := &m.copies[i]
		data[i] = w.place + w.data
		size := len(w.place) + len(w.data)
		lengths = binary.BigEndian.AppendUint32(lengths, uint32(size))
		biggest = max(biggest, size)
		id, _ := parseStreamID(w.id, 0) // the server's own
		own = append48(append48(own, id.MS()), int64(id.N()))
	}
	c := &call{log: m.to, limits: m.limits}
	args = append(args, c.settings(s, biggest, 0), s.keys.live(at, m.to.Feed), short(m.to.Feed)+short(m.to.Path), lengths, "")
	args = append(append(args, data...), own)
	return append(s.appendKeys(at, m.to), s.keys.moved(at, logText(m.to))), args
}

// clear takes what has been moved out of the outboxes. It returns those in which
// something is left.
func (p *pump) clear(ctx context.Context, moves []*move) (left []int, worst error) {
	moved := make(map[int][]*waiting)
	var parts []int
	for _, m := range moves {
		if _, there := moved[m.part]; !there {
			moved[m.part] = nil
			parts = append(parts, m.part)
		}
		if m.outcome == "p" || m.outcome == "m" {
			for i := range m.copies {
				moved[m.part] = append(moved[m.part], &m.copies[i])
			}
		}
	}
	for _, part := range parts {
		if len(moved[part]) == 0 {
			left = append(left, part)
			continue
		}
		last := moved[part][0]
		args := []any{""}
		for _, w := range moved[part] {
			args = append(args, w.id)
			if newer(w.id, last.id) {
				last = w
			}
		}
		args[0] = last.place
		got, err := p.s.run(ctx, movedScript, []string{p.s.keys.outbox(part)}, append(args, last.id)...)
		if err != nil {
			worst = err
		}
		if err != nil || got != int64(0) {
			left = append(left, part)
		}
	}
	return left, worst
}

// newer compares ids of one stream.
func newer(a, b string) bool {
	x, _ := parseStreamID(a, 0)
	y, _ := parseStreamID(b, 0)
	return y.Before(x)
}
