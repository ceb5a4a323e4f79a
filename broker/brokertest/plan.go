package brokertest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// want is one name in a subscribe.
type want struct {
	channel  string
	interval string // "": live
	drop     bool   // unsubscribe
}

// everyChannel is the pattern of all channels of a run.
const everyChannel = "/torture/*"

func (w want) name() string {
	if w.interval == "" {
		return w.channel
	}
	return w.channel + catchupWord + w.interval
}

// plan chooses what is subscribed, in which order and in how many messages
// (security.md R16).
func (j *joiner) plan() [][]want {
	var steps [][]want
	intervals := []string{"1h", "1h", "3s"}
	for _, c := range j.rng.Perm(len(j.run.channels))[:1+j.rng.IntN(min(2, len(j.run.channels)))] {
		live := want{channel: j.run.channels[c]}
		past := want{channel: live.channel, interval: intervals[j.rng.IntN(len(intervals))]}
		switch j.rng.IntN(9) {
		case 0: // live first
			steps = append(steps, []want{live}, []want{past})
		case 1: // catch-up first
			steps = append(steps, []want{past}, []want{live})
		case 2: // one list
			steps = append(steps, []want{past, live, {}})
		case 3: // one list, the other way round
			steps = append(steps, []want{live, past, {}})
		case 4: // one batch
			pair := []want{live, past}
			j.rng.Shuffle(2, func(a, b int) { pair[a], pair[b] = pair[b], pair[a] })
			steps = append(steps, pair)
		case 5:
			steps = append(steps, []want{live})
		case 6: // dropped, and taken again: what was said meanwhile comes, too
			drop := live
			drop.drop = true
			steps = append(steps, []want{live}, []want{past}, []want{drop}, []want{live})
		case 7: // all of them, by one pattern
			j.wild = true
			return [][]want{{{channel: everyChannel}}}
		default:
			steps = append(steps, []want{past})
		}
	}
	return steps
}

// subscribe prepares the next step's messages.
func (j *joiner) subscribe() {
	wants := j.steps[j.step]
	list := len(wants) == 3 // the empty third marks one message for both
	wants = wants[:min(2, len(wants))]
	r := &request{id: fmt.Sprintf("s%d", j.step), due: map[string][]int{}}
	groups := [][]want{wants}
	if !list {
		groups = slices.Collect(slices.Chunk(wants, 1))
	}
	b := []byte{'['}
	asked := j.run.now()
	for g, group := range groups {
		id, verb := fmt.Sprintf("%s.%d", r.id, g), "subscribe"
		var names []string
		var takes []int
		for _, w := range group {
			names = append(names, strconv.Quote(w.name()))
			if w.drop {
				verb = "unsubscribe"
				for _, i := range j.takesOf(want{channel: w.channel}, asked) {
					j.s.Takes[i].Dropped = true
				}
				continue
			}
			takes = append(takes, j.takesOf(w, asked+time.Duration(g))...)
		}
		r.due[id], r.takes = takes, append(r.takes, takes...)
		if g > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `{"channel":"/meta/%s","clientId":%q,"subscription":[%s],"id":%q}`, verb, j.clientID, strings.Join(names, ","), id)
	}
	r.body = append(b, ']')
	j.pending = r
}

// takesOf notes that something is asked for, and returns where: the same place if
// it was asked for before.
func (j *joiner) takesOf(w want, asked time.Duration) []int {
	if w.channel == everyChannel {
		var all []int
		for _, name := range j.run.channels {
			i := j.takesOf(want{channel: name}, asked)[0]
			j.s.Takes[i].Pattern = true
			all = append(all, i)
		}
		return all
	}
	t := Take{Channel: w.channel, Announced: -1, Asked: asked}
	if w.interval != "" {
		t.Interval, _ = time.ParseDuration(w.interval) // of a plan
	}
	i := slices.IndexFunc(j.s.Takes, func(o Take) bool { return o.Channel == t.Channel && o.Interval == t.Interval })
	if i < 0 {
		i = len(j.s.Takes)
		j.s.Takes = append(j.s.Takes, t)
	}
	return []int{i}
}

func (j *joiner) sendStep(ctx context.Context) {
	r := j.pending
	for _, i := range r.takes {
		j.s.Takes[i].Tries++
	}
	r.until = time.Now().Add(j.run.patience)
	j.run.trace(j.s.Name, "asks %s", r.body)
	if j.socket != nil {
		if j.socket.send(r.body) != nil {
			j.broken()
		}
		return
	}
	to := j.asks
	j.run.tasks.Go(func() {
		ms, node, err := j.post.exchange(ctx, r.body, j.run.patience)
		to <- polled{ms, node, err, r}
	})
}

// subscribed notes the answer to one message of the step.
func (j *joiner) subscribed(m *message, at time.Duration) {
	r := j.pending
	if r == nil {
		return
	}
	takes, due := r.due[m.ID]
	if !due {
		return
	}
	if m.failed() {
		if !strings.HasPrefix(m.Error, "50") {
			j.run.trouble("%s: %s: %s", j.s.Name, m.Channel, m.Error)
		}
		for _, i := range takes {
			j.s.Takes[i].Refused = true
		}
		r.until = time.Time{}
		j.backOff()
		return
	}
	delete(r.due, m.ID)
	for _, i := range takes {
		t := &j.s.Takes[i]
		if t.Answered == 0 {
			t.Answered = at
		}
		if t.Interval > 0 && m.Ext.Catchup != nil {
			t.Announced = m.Ext.Catchup.Messages
		}
	}
	if len(r.due) == 0 {
		j.pending = nil
		j.step++
		j.stepAt = time.Now().Add(time.Duration(j.rng.Int64N(int64(500 * time.Millisecond))))
	}
}
