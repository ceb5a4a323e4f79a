package disk

import (
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// class is a retention class: how wide the time buckets of a record are and how
// long they stay (store.md §2.6). A bucket goes with one range delete.
type class byte

const forever class = 0xFF // one bucket, deleted log by log

// slack lets a log be kept a little longer than a round time without falling into
// the next class: histories are, so that a replay finds what was counted.
const slack = 10 * time.Minute

var classes = [...]struct{ age, width time.Duration }{
	{time.Hour + slack, 8 * time.Minute},
	{6*time.Hour + slack, time.Hour},
	{24*time.Hour + slack, 3 * time.Hour},
	{48*time.Hour + slack, 6 * time.Hour},
	{7*24*time.Hour + slack, 24 * time.Hour},
	{15*24*time.Hour + slack, 2 * 24 * time.Hour},
	{45*24*time.Hour + slack, 5 * 24 * time.Hour},
	{366*24*time.Hour + slack, 31 * 24 * time.Hour},
	{3660*24*time.Hour + slack, 366 * 24 * time.Hour},
}

// classOf returns the smallest class that holds an age limit.
func classOf(l store.Limits) class {
	for c := range classes {
		if l.Age <= classes[c].age {
			return class(c)
		}
	}
	return forever
}

func (c class) known() bool { return int(c) < len(classes) || c == forever }

// bucket returns the bucket of a time in ms.
func (c class) bucket(ms int64) uint32 {
	if c == forever {
		return 0
	}
	return uint32(ms / classes[c].width.Milliseconds())
}

// begin returns the first ms of a bucket.
func (c class) begin(bucket uint32) int64 {
	if c == forever {
		return 0
	}
	return int64(bucket) * classes[c].width.Milliseconds()
}

// spent reports whether no limit of the class shows anything of a bucket any more.
func (c class) spent(bucket uint32, now time.Time) bool {
	return c != forever && c.begin(bucket+1)+classes[c].age.Milliseconds() < now.UnixMilli()
}
