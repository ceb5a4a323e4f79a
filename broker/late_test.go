package broker

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/stretchr/testify/require"
)

// connect is a message that can be sent more than once.
func (p *peer) connect(hold int) string {
	return p.message("/meta/connect", fmt.Sprintf(`,"connectionType":"long-polling","advice":{"timeout":%d}`, hold))
}

// A connect that its client gave up, and that reaches another node when newer ones have
// come, neither moves the session nor takes anything from it.
func TestALateConnectElsewhere(t *testing.T) {
	for _, nowhere := range []bool{false, true} {
		t.Run(fmt.Sprint("lives nowhere: ", nowhere), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				nodes := newFleet(t, 3)
				p := nodes[0].join("")
				require.True(t, p.subscribe("/open/a").ok())
				old := p.connect(1)
				require.True(t, p.at(nodes[0], old).ok())
				require.True(t, p.connectAt(nodes[1], 1).ok())
				require.True(t, p.publish("/open/a", "1", "").ok())
				synctest.Wait()
				require.True(t, p.connectAt(nodes[1], 1).ok())
				require.Len(t, p.inbox, 1)
				if nowhere {
					s, _ := nodes[1].b.subscriberOf(sessionKey(p.id))
					_, err := s.session.Release(t.Context(), bayeux.Ordinal{})
					require.NoError(t, err)
				}
				for range 2 {
					r := p.at(nodes[2], old)
					require.True(t, r.ok(), r.Error)
				}
				require.Len(t, p.inbox, 1, "what is under way did not come again, nor seems it to have arrived")
				require.Zero(t, nodes[2].server.Sessions())
				require.Equal(t, int64(2), nodes[2].server.Stats().Late)
				p.inbox = nil
				require.True(t, p.publish("/open/a", "2", "").ok())
				require.Equal(t, on("/open/a", 2), p.pollAround(nodes))

				// It is not kept from the session for ever.
				for range 4 {
					require.True(t, p.connectAt(nodes[2], 1).ok())
				}
				p.n = 0
				for range 4 {
					require.True(t, p.connectAt(nodes[0], 1).ok())
				}
				require.Equal(t, 1, nodes[0].server.Sessions())
				time.Sleep(time.Second)
			})
		})
	}
}
