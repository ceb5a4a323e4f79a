package main

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// progressEvery is how often a terminal shows how far long work is.
const progressEvery = 200 * time.Millisecond

// showWhile tells a terminal how far work is, in its own words, until stop is called.
func showWhile(w io.Writer, work fmt.Stringer) (stop func()) {
	if !isTerminal(w) {
		return func() {}
	}
	end := make(chan struct{})
	var shown sync.WaitGroup
	shown.Go(func() {
		beat := time.NewTicker(progressEvery)
		defer beat.Stop()
		for {
			fmt.Fprintf(w, "\r\x1b[K%s", work)
			select {
			case <-beat.C:
			case <-end:
				clearLine(w)
				return
			}
		}
	})
	return func() {
		close(end)
		shown.Wait()
	}
}

// meter shows how many bytes have gone.
type meter struct {
	doing string
	begun time.Time
	bytes atomic.Int64
	stop  func()
}

func startMeter(w io.Writer, doing string) *meter {
	m := &meter{doing: doing, begun: time.Now()}
	m.stop = showWhile(w, m)
	return m
}

func (m *meter) add(n int) { m.bytes.Add(int64(n)) }

func (m *meter) String() string {
	n := m.bytes.Load()
	return fmt.Sprintf("%s: %s, %s/s", m.doing, bytesInWords(n), bytesInWords(int64(float64(n)/max(time.Since(m.begun).Seconds(), 0.001))))
}

// stopwatch shows for how long something has been going on.
type stopwatch struct {
	doing string
	begun time.Time
	stop  func()
}

func newStopwatch(w io.Writer, doing string) *stopwatch {
	s := &stopwatch{doing: doing, begun: time.Now()}
	s.stop = showWhile(w, s)
	return s
}

func (s *stopwatch) String() string {
	return fmt.Sprintf("%s: %v", s.doing, time.Since(s.begun).Round(time.Second))
}
