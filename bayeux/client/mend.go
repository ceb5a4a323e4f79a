package client

import (
	"strconv"
	"time"
)

// mendMargin is what is asked for beyond the time away, for messages that were on
// their way when the session was lost.
const mendMargin = time.Minute

// maxKept bounds the channels remembered to have a history.
const maxKept = 4096

// mendLocked returns subscribes for what the live channels missed between two
// sessions: a catch-up of the time away. Patterns are left out, channels
// without a history, and those with a catch-up or a replay id, which bring it anyway.
func (c *Client) mendLocked() []*call {
	c.mended = map[string]string{}
	if c.generation == 1 {
		c.contact = time.Now()
		return nil
	}
	replayed := map[string]bool{}
	for _, s := range c.subs {
		if isCatchUp(s.channel) {
			replayed[baseChannel(s.channel)] = true
		}
	}
	away := time.Since(c.contact) + mendMargin
	interval := "/catchup/" + strconv.FormatInt(int64(away/time.Second)+1, 10) + "s"
	var queue []*call
	for _, s := range c.subs {
		_, kept := c.kept[s.channel]
		name := s.channel + interval
		if !kept || isCatchUp(s.channel) || c.replaysLocked(s.channel) || replayed[s.channel] || c.mended[name] != "" || len(c.byChannel[name]) > 0 {
			continue
		}
		c.mended[name] = s.channel
		k := newCall(metaSubscribe)
		k.subscription, k.auto = name, true
		c.registerLocked(k)
		queue = append(queue, k)
	}
	return queue
}

// noteArrived notes which channels have a history, and gives what came to mend a live
// channel that channel's name.
func (c *Client) noteArrived(items []item) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range items {
		m := &items[i].message
		if live := c.mended[m.Channel]; live != "" {
			m.Channel, items[i].mended = live, true
			continue
		}
		c.contact = time.Now()
		c.noteReplayLocked(m)
		if _, known := c.kept[m.Channel]; !known && m.History.ID != "" && len(c.kept) < maxKept {
			c.kept[m.Channel] = struct{}{}
		}
	}
}

// misses reports whether a message that came to mend a channel is for s: behind
// the first it was given, since before that it was perhaps not subscribed.
func (s *Subscription) misses(channel, id string) bool {
	return s.channel == channel && s.first != "" && id > s.first
}
