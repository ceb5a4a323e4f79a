package brokertest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// A machine that has more to do than it can lets a node miss its lease, or leave letters
// unanswered, though nobody has killed it or cut it off. It says so, or others do, and what
// it had handed out may come again from them, as the README's Caveats say: it is a Loss like
// those that the nemesis brings about.
const (
	// lapsed is how long before a node says that it was not heard, or is again, others may
	// have taken its sessions; takenFor is how long they may after one says that another
	// does not answer: until that is heard again.
	lapsed   = 4 * time.Second
	takenFor = 2 * time.Second
)

// nodeName is what node n calls itself.
func nodeName(n int) string { return fmt.Sprintf("node%d", n) }

// takenForDead returns the losses that the nodes' logs tell of and nothing else explains.
func (r *run) takenForDead() ([]Loss, error) {
	if !r.fleet.many() {
		return nil, nil
	}
	var all []Loss
	for n, one := range r.fleet.doors {
		f, err := os.Open(one.node.log.Name())
		if err != nil {
			return nil, fmt.Errorf("brokertest: taken: %w", err)
		}
		told, err := lossesTold(f, n, len(r.fleet.doors), r.start)
		_ = f.Close()
		if err != nil {
			return nil, fmt.Errorf("brokertest: taken: %w", err)
		}
		all = append(all, told...)
	}
	return unexplained(all, r.losses), nil
}

// lossesTold reads the log of node self, one of many, from when a run started on.
func lossesTold(log io.Reader, self, many int, start time.Time) (all []Loss, err error) {
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		text := lines.Text()
		ours := strings.Contains(text, "this node cannot say that it lives") || strings.Contains(text, "this node is heard again")
		if !ours && !strings.Contains(text, "another node does not answer") {
			continue
		}
		var line struct {
			TS    time.Time
			Other string
		}
		if json.Unmarshal([]byte(text), &line) != nil {
			continue // the last one before a kill
		}
		at := line.TS.Sub(start)
		if ours {
			all = append(all, Loss{Node: self, From: at - lapsed, To: at})
		}
		for n := range many {
			if !ours && line.Other == nodeName(n) {
				all = append(all, Loss{Node: n, From: at, To: at + takenFor})
			}
		}
	}
	return all, lines.Err()
}

// unexplained returns losses without those that overlap with known ones of the same node,
// and those that overlap with each other as one: each allows a message to come again once.
func unexplained(told, known []Loss) (rest []Loss) {
	overlap := func(a, b Loss) bool {
		return (a.Node == b.Node || b.Node == everyNode) && a.From <= b.To && b.From <= a.To
	}
	slices.SortFunc(told, func(a, b Loss) int { return int(a.From - b.From) })
	for _, l := range told {
		if i := slices.IndexFunc(rest, func(o Loss) bool { return overlap(l, o) }); i >= 0 {
			rest[i].To = max(rest[i].To, l.To)
			continue
		}
		rest = append(rest, l)
	}
	return slices.DeleteFunc(rest, func(l Loss) bool {
		return slices.ContainsFunc(known, func(k Loss) bool { return overlap(l, k) })
	})
}
