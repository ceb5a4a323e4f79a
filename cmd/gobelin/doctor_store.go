package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gobelin-broker/gobelin/store/disk"
	"github.com/gobelin-broker/gobelin/store/redis"
)

// How fast a disk must be with fsync: a publish waits for one, many share it.
const (
	fsyncTries = 20
	fsyncSlow  = 20 * time.Millisecond
	fsyncBad   = 200 * time.Millisecond
)

// Clocks of two machines: tokens and signatures are judged by the one, ages by the other.
const skewDoubtful = 500 * time.Millisecond

func (d *doctor) store(ctx context.Context) {
	switch d.conf.Store.kind() {
	case kindDisk:
		d.folder(string(d.conf.Store))
	case kindRedis:
		d.redis(ctx)
	case kindMemory:
		d.find("store", doubtful, "memory: everything is gone at the end", "name a folder or a Redis in store")
	default:
		d.find("store", unexamined, "the option store is wrong", "")
	}
}

// folder looks at the place of an embedded store, or at where it would be made.
func (d *doctor) folder(path string) {
	place := path
	for {
		if info, err := os.Stat(place); err == nil {
			if !info.IsDir() {
				d.find("store", wrongly, place+" is not a folder", "name another in store, or move it away")
				return
			}
			break
		}
		place = filepath.Dir(place)
	}
	d.space(place)
	d.fsync(path, place)
}

func (d *doctor) space(place string) {
	free, total, err := disk.Space(place)
	if err != nil || total == 0 {
		d.find("disk space", unexamined, "this file system does not tell", "")
		return
	}
	floor := uint64(d.conf.DiskFloor)
	found := fmt.Sprintf("%s of %s free in %s; below %v (disk.floor) nothing more is taken", bytesInWords(int64(free)), bytesInWords(int64(total)), place, d.conf.DiskFloor)
	advice := "make room, move store to a larger disk, or keep less (channels.retention, limits.history)"
	switch {
	case free <= floor:
		d.find("disk space", wrongly, found, advice)
	case free < 4*floor:
		d.find("disk space", doubtful, found, advice)
	default:
		d.find("disk space", fine, found, "")
	}
}

// fsync measures what a publish waits for at least.
func (d *doctor) fsync(path, place string) {
	took, err := timeFsync(place)
	if err != nil {
		d.find("store", wrongly, fmt.Sprintf("nothing can be written in %s: %v", place, cause(err)), "give the user who runs gobelin the right to write there, or name another folder in store")
		return
	}
	d.find("store", fine, path+" can be written", "")
	median, worst := took[len(took)/2], took[len(took)-1]
	found := fmt.Sprintf("fsync takes %v, at most %v", showMicros(median.Microseconds()), showMicros(worst.Microseconds()))
	advice := "each acknowledgement waits for one: use a local SSD rather than a network disk or a shared one"
	switch {
	case median > fsyncBad:
		d.find("disk speed", wrongly, found, advice)
	case median > fsyncSlow:
		d.find("disk speed", doubtful, found, advice)
	default:
		d.find("disk speed", fine, found, "")
	}
}

// timeFsync writes a little and has it on the disk, some times, and returns how long each
// took, in order of length.
func timeFsync(folder string) ([]time.Duration, error) {
	f, err := os.CreateTemp(folder, ".doctor-")
	if err != nil {
		return nil, err
	}
	defer func() {
		_ = f.Close()
		_ = os.Remove(f.Name())
	}()
	var took []time.Duration
	for range fsyncTries {
		begun := time.Now()
		if _, err := f.Write(make([]byte, 4<<10)); err != nil {
			return nil, err
		}
		if err := f.Sync(); err != nil {
			return nil, err
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	return took, nil
}

// redis opens it as a node would and looks at what it says of itself.
func (d *doctor) redis(ctx context.Context) {
	log, err := newLogger("error", d.conf.LogFormat, d.errs)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, checkWait)
	defer cancel()
	facts, err := d.conf.redisFacts(ctx, log)
	if err != nil {
		d.find("redis", wrongly, words(err), "no node would start on it: mend what it says, and see store in gobelin config")
		return
	}
	d.redisFacts(facts)
}

func (d *doctor) redisFacts(f redis.Facts) {
	d.find("redis", fine, fmt.Sprintf("%s, %s, %s, %s", f.Version, f.Kind, count(f.Primaries, "primary"), count(f.Replicas, "replica")), "")
	switch f.Persistence {
	case "none":
		d.find("persistence", wrongly, "Redis keeps nothing on its disk: a restart of it loses everything", "set appendonly yes (appendfsync everysec loses at most a second, always nothing)")
	case "snapshots":
		d.find("persistence", doubtful, "Redis saves snapshots alone: a crash of it loses what came since the last", "set appendonly yes")
	default:
		d.find("persistence", fine, f.Persistence, "")
	}
	if f.Replicas == 0 {
		d.find("replicas", doubtful, "there is none that could take over", "add one and use Sentinel or Cluster, unless a restart of Redis may stop the nodes")
	}
	if f.Policy == "noeviction" {
		d.find("eviction", fine, f.Policy, "")
	} else {
		d.find("eviction", doubtful, f.Policy+": Redis may drop history and sessions when it is full", "set maxmemory-policy noeviction: a full store then refuses (507) and loses nothing")
	}
	switch {
	case f.MaxMemory == 0:
		d.find("memory", doubtful, bytesInWords(f.UsedMemory)+" used, no maxmemory: a full machine ends Redis", "set maxmemory to about three quarters of the machine's")
	case f.UsedMemory > f.MaxMemory/10*9:
		d.find("memory", wrongly, fmt.Sprintf("%s of %s used", bytesInWords(f.UsedMemory), bytesInWords(f.MaxMemory)), "raise maxmemory, or keep less (channels.retention, limits.history)")
	default:
		d.find("memory", fine, fmt.Sprintf("%s of %s used", bytesInWords(f.UsedMemory), bytesInWords(f.MaxMemory)), "")
	}
	v := fine
	if f.Skew.Abs() > skewDoubtful {
		v = doubtful
	}
	d.find("clock", v, fmt.Sprintf("Redis's clock is %v off this machine's", f.Skew.Round(time.Millisecond)), "run chrony or another NTP client on both: tokens are judged by the one clock, ages by the other")
}
