package bayeux

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The model of an outbox: two lists. Whatever happens, order is kept and nothing is
// lost but what evict says.
func TestOutboxAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &Limits{Queue: rapid.IntRange(60, 400).Draw(t, "bytes"), QueueMessages: rapid.IntRange(1, 12).Draw(t, "messages")}
		var o outbox
		var queue, under []*Delivery
		var batches []uint32
		var batch uint32
		by := link(&stream{})
		next := 0
		fresh := func() *Delivery {
			next++
			return NewDelivery(DeliveryFields{
				Channel: "/x", ID: fmt.Sprint(next), Data: make([]byte, rapid.IntRange(1, 80).Draw(t, "size")), Kept: rapid.Bool().Draw(t, "kept"),
			})
		}
		bytes := func(ds []*Delivery) (n int) {
			for _, d := range ds {
				n += d.Size()
			}
			return n
		}
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				d := fresh()
				if o.fits(d, l) {
					o.push(d)
					queue = append(queue, d)
				}
			},
			"evict": func(t *rapid.T) {
				d := fresh()
				if o.fits(d, l) {
					return
				}
				dropped := o.evict(d, l)
				// The oldest that are not kept, and no more of them than needed.
				over := func() bool {
					return len(queue) > 0 && (len(queue) >= l.QueueMessages || bytes(queue)+d.Size() > l.Queue)
				}
				for i := 0; i < len(queue) && over(); {
					if queue[i].kept {
						i++
						continue
					}
					queue = slices.Delete(slices.Clone(queue), i, i+1)
					dropped--
				}
				if dropped != 0 {
					t.Fatalf("%d too many were dropped", dropped)
				}
				if o.fits(d, l) == over() {
					t.Fatal("room, and no room")
				}
			},
			"take": func(t *rapid.T) {
				batch++
				most := rapid.IntRange(1, 300).Draw(t, "most")
				for _, d := range o.take(nil, by, batch, most, 1<<30, l) {
					if d != queue[0] {
						t.Fatal("out of order")
					}
					queue, under, batches = queue[1:], append(under, d), append(batches, batch)
				}
				if len(queue) > 0 && len(under) == 0 {
					t.Fatal("nothing was taken")
				}
				if len(under) > max(1, l.QueueMessages) || len(under) > 1 && bytes(under) > l.Queue {
					t.Fatal("beyond the window")
				}
			},
			"arrived": func(t *rapid.T) {
				upTo := rapid.Uint32Range(0, batch).Draw(t, "up to")
				o.arrived(upTo)
				for len(batches) > 0 && batches[0] <= upTo {
					batches, under = batches[1:], under[1:]
				}
			},
			"put back": func(t *rapid.T) {
				if n := o.putBack(); n != len(under) {
					t.Fatalf("%d put back, not %d", n, len(under))
				}
				queue = append(slices.Clone(under), queue...)
				under, batches = nil, nil
			},
			"": func(t *rapid.T) {
				if !slices.Equal(o.queue.live(), queue) || o.bytes != bytes(queue) {
					t.Fatal("the queue is another")
				}
				if len(o.sent) != len(under) || o.sentBytes != bytes(under) {
					t.Fatal("what is under way is another")
				}
				if n, ok := o.room(l); ok && (n < 1 || n > pageMessages) {
					t.Fatalf("room for %d", n)
				}
			},
		})
	})
}

// BenchmarkOutbox has 64 deliveries queued, taken at once, and acknowledged.
func BenchmarkOutbox(b *testing.B) {
	var o outbox
	l, d, by := testLimits(), delivery(128), &sink{}
	var ds []*Delivery
	b.ReportAllocs()
	for b.Loop() {
		for range 64 {
			o.push(d)
		}
		ds = o.take(ds[:0], by, 1, frameJoin, 64, l)
		o.arrived(1)
	}
	if len(ds) != 64 {
		b.Fatal(len(ds))
	}
}
