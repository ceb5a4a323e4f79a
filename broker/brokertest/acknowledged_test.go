package brokertest

import (
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestCatchupHasWhatWasAcknowledged: a catch-up without live has everything that was
// acknowledged before it was asked for, also while the fan-out is behind.
func TestCatchupHasWhatWasAcknowledged(t *testing.T) {
	binary := RealBinary(t)
	n, err := NewNode(binary, t.TempDir())
	require.NoError(t, err)
	defer n.Close()
	require.NoError(t, n.Start(t.Context()))
	// Somebody who listens to all keeps the fan-out of each channel at work.
	all := talk(t, n)
	all.ask(t, `"channel":"/meta/subscribe","subscription":"/own/*"`)

	var workers sync.WaitGroup
	for w := range 8 {
		workers.Go(func() {
			for i := range 60 {
				c := talk(t, n)
				c.ask(t, fmt.Sprintf(`"channel":"/own/c%d","data":1`, w))
				m := c.ask(t, fmt.Sprintf(`"channel":"/meta/subscribe","subscription":"/own/c%d/catchup/1h"`, w))
				if m.Ext.Catchup == nil || m.Ext.Catchup.Messages != i+1 {
					t.Errorf("channel %d: %d messages were acknowledged, the catch-up has %+v", w, i+1, m.Ext.Catchup)
				}
				c.post.close()
			}
		})
	}
	workers.Wait()
	all.post.close()
}

// talker is one session that asks and waits.
type talker struct {
	post *poster
	id   string
	next int
}

func talk(t *testing.T, n *Node) *talker {
	t.Helper()
	c := &talker{post: newPoster(straight(n.Address()), 0)}
	ms, _, err := c.post.exchange(t.Context(), handshakeBody("h"), answerTime)
	assert.NoError(t, err)
	c.id, err = handshaken(ms)
	assert.NoError(t, err)
	return c
}

// ask sends one message with these members and returns its answer, zero if there
// is none.
func (c *talker) ask(t *testing.T, members string) message {
	t.Helper()
	c.next++
	body := fmt.Sprintf(`[{%s,"clientId":%q,"id":%q}]`, members, c.id, strconv.Itoa(c.next))
	ms, _, err := c.post.exchange(t.Context(), []byte(body), answerTime)
	if assert.NoError(t, err) && assert.Len(t, ms, 1) {
		assert.False(t, ms[0].failed(), ms[0].Error)
		return ms[0]
	}
	return message{}
}
