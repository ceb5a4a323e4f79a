package bench

import (
	"context"
	"fmt"
)

// idle: many sessions with a subscription each, and nothing happens. What they cost
// is the server's memory.
func (r *run) idle(ctx context.Context) error {
	r.report.Unit = "connections"
	r.report.Setting = fmt.Sprintf("%d sessions, one subscription each, %v", r.o.Subs, r.o.Duration)
	err := r.join(ctx, r.o.Subs, func(ctx context.Context, i int, s *session) error {
		if _, err := s.subscribe(ctx, fmt.Sprintf("%s/idle/%d", r.base, i)); err != nil {
			return err
		}
		r.listen(s, func(*seen) {})
		return nil
	})
	if err != nil {
		return err
	}
	r.start()
	rest(ctx, r.o.Duration)
	r.end()
	r.close()
	r.window.count1 = r.window.count0 + r.joined.Load()
	return nil
}
