package bench

import (
	"context"
	"fmt"
)

// fanout: one publishes to a channel that all are subscribed to; in channels there
// are many of them, each with subscribers of its own. In a closed loop a message is
// followed by another when all have it; in an open one a clock says when.
func (r *run) fanout(ctx context.Context) error {
	size := "window " + fmt.Sprint(r.o.Window)
	if r.o.Rate > 0 {
		size = fmt.Sprintf("%g messages/s", r.o.Rate)
	}
	r.report.Unit = "deliveries"
	r.report.Setting = fmt.Sprintf("%d subscribers, %s, %d bytes", r.o.Subs, size, r.o.Size)
	names := []string{r.base + "/fanout"}
	if r.o.Scenario == Channels {
		r.report.Setting = fmt.Sprintf("%d channels, each %s", r.o.Channels, r.report.Setting)
		names = make([]string, r.o.Channels)
		for i := range names {
			names[i] = fmt.Sprintf("%s/fanout/%d", r.base, i)
		}
	}
	loop := newLoop(len(names), r.o.Window, r.o.Subs)
	receivers := make([]*receiver, len(names)*r.o.Subs)
	err := r.join(ctx, len(receivers), func(ctx context.Context, i int, s *session) error {
		channel := i % len(names)
		if _, err := s.subscribe(ctx, names[channel]); err != nil {
			return err
		}
		receivers[i] = &receiver{index: i, publisher: channel, clock: r.clock, late: true, each: loop.arrived}
		r.listen(s, receivers[i].take)
		return nil
	})
	if err != nil {
		return err
	}
	p, err := r.publisher(ctx, names)
	if err != nil {
		return err
	}
	r.during(ctx, func(ctx context.Context) {
		if r.o.Rate > 0 {
			p.open(ctx)
			return
		}
		p.closed(ctx, loop)
	})
	r.drain(r.clock, r.sent.Load()*int64(r.o.Subs))
	r.close()
	r.report.Faults = result(receivers, p.next)
	return nil
}
