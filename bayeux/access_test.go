package bayeux

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// The access log has one line for each session, without its id, and is off otherwise.
func TestAccessLog(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	in(t, Options{Access: zap.New(core)}, func(t *testing.T, w *world) {
		w.Run("open a\n" + hello("a") + "open b\n" + hello("b") + `
			a> {"channel":"/meta/disconnect","clientId":"${a}"}
			a< {"successful":true}
		`)
		require.Equal(t, 1, logs.Len())
		line := logs.All()[0].ContextMap()
		require.Equal(t, "disconnect", line["reason"])
		require.Equal(t, "long-polling", line["transport"])
		require.EqualValues(t, 0, line["delivered"])
		require.ElementsMatch(t, []string{"address", "transport", "origin", "lived", "reason", "queued", "delivered"}, keys(line))
		time.Sleep(2 * time.Minute)
		require.Equal(t, 2, logs.Len())
		line = logs.All()[1].ContextMap()
		require.Equal(t, "expired", line["reason"])
		require.GreaterOrEqual(t, line["lived"], 90*time.Second)
	})
}

func keys(m map[string]any) (all []string) {
	for k := range m {
		all = append(all, k)
	}
	return all
}

// Where the ack extension is off, who asks for it is not granted it.
func TestNoAck(t *testing.T) {
	const shake = `{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"],"ext":{"ack":true}}`
	asked := func(o Options) (body string) {
		in(t, o, func(t *testing.T, w *world) { _, body = w.ask(t, "POST", "/faye", shake, typeJSON) })
		return body
	}
	require.Contains(t, asked(Options{}), `"ack":true`)
	require.NotContains(t, asked(Options{NoAck: true}), `"ack"`)
}
