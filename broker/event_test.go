package broker

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/stretchr/testify/require"
)

// newShapedBench is a bench whose channels ask for the shape of their data.
func newShapedBench(t *testing.T) *bench {
	t.Helper()
	x := newBench(t, func(*Options, *bayeux.Options) {})
	x.stop()
	x.shaped = true
	x.run()
	return x
}

// tell publishes one message as the backend and returns its refusal.
func (x *bench) tell(id, channel, data string) *Error {
	x.t.Helper()
	out := x.b.PublishAll(x.t.Context(), &Identity{App: x.app, Role: RoleServer}, []Publication{{ObjectID: id, Channel: channel, Data: []byte(data)}})
	x.settle()
	return AsError(out[0].Err)
}

func TestShapeEventT10(t *testing.T) {
	o, now := &Object{ID: `a"<b`}, time.Unix(1700, 0)
	good := func(data, want string) {
		t.Helper()
		got, err := shapeEvent(o, []byte(data), now)
		require.NoError(t, err, data)
		require.Equal(t, `{"live_id":"a\"<b",`+want+`}`, string(got))
		require.True(t, json.Valid(got))
	}
	good(`{"event":"broadcasting","state":"start","time":1414659998}`, `"event":"broadcasting","state":"start","time":1414659998`)
	good(`{ "state": "stop", "event":"x" }`, `"state":"stop","event":"x","time":1700`)
	good(`{"event":"x","live_id":"stolen","big":12345678901234567890,"l":[],"f":1.10}`, `"event":"x","big":12345678901234567890,"l":[],"f":1.10,"time":1700`)
	good(`{"event":"x","a\"b":1,"time":0}`, `"event":"x","a\"b":1,"time":0`)
	bad := func(data string, result int) {
		t.Helper()
		_, err := shapeEvent(o, []byte(data), now)
		require.Equal(t, result, AsError(err).Result, data)
	}
	for _, data := range []string{
		`1`, `[]`, `"x"`, `null`, `{}`, `{"state":"start"}`, `{"event":""}`, `{"event":1}`, `{"event":"a\u0000"}`, `{"event":"x","state":"going"}`, `{"event":"x","state":null}`,
		`{"event":"x","time":-1}`, `{"event":"x","time":1.5}`, `{"event":"x","time":"1"}`, `{"event":"x","time":1e400}`, `{"event":"x","time":1099511627776}`,
		`{"event":"x","event":"y"}`, `{"event":"` + strings.Repeat("x", 101) + `"}`, `{"event":"x","d":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`,
	} {
		bad(data, 4000)
	}
	bad(`{"event":"x","more":"`+strings.Repeat("x", maxEvent)+`"}`, 4013)
}

func FuzzShapeEvent(f *testing.F) {
	f.Add(`{"event":"x","state":"start","time":1}`)
	f.Add(`{"live_id":"y","event":"x","a":[1.10]}`)
	f.Fuzz(func(t *testing.T, data string) {
		got, err := shapeEvent(&Object{ID: "o"}, []byte(data), time.Unix(1, 0))
		if err != nil {
			require.Less(t, AsError(err).Result, 5000)
			return
		}
		var e struct {
			LiveID string `json:"live_id"`
		}
		require.NoError(t, json.Unmarshal(got, &e), string(got))
		require.Equal(t, "o", e.LiveID)
		_, ok := catchup.DecodeEvent(got)
		require.True(t, ok, string(got))
	})
}

func TestT10Events(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newShapedBench(t)
		control := x.root("gala", channels.ClassControl)
		p := x.join("")
		require.True(t, p.subscribe(control+"/events").ok())
		require.Nil(t, x.tell("gala", "events", `{"event":"broadcasting","state":"start","time":1414659998}`))
		require.Equal(t, 4000, x.tell("gala", "events", `{"state":"start"}`).Result)
		// Also over Bayeux, with the same rules.
		require.True(t, p.publish(control+"/events", `{"event":"broadcasting","state":"stop","time":1414660067}`, "").ok())
		require.Equal(t, "400:"+control+"/events:Invalid data for this channel", p.publish(control+"/events", `[]`, "").Error)
		require.Equal(t, "413:"+control+"/events:Message too large", p.publish(control+"/events", `{"event":"`+strings.Repeat("x", maxEvent)+`"}`, "").Error)
		require.Contains(t, p.publish(x.root("gala", channels.ClassView)+"/events", `{"event":"x"}`, "").Error, "403:")

		name, public := "New name", false
		_, err := x.b.PatchObject(t.Context(), x.app, "gala", ObjectPatch{Name: &name, Public: &public})
		require.NoError(t, err)
		_, err = x.b.PatchObject(t.Context(), x.app, "gala", ObjectPatch{Name: &name}) // nothing changes: nothing is said
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, on(control+"/events",
			`{"live_id":"gala","event":"broadcasting","state":"start","time":1414659998}`,
			`{"live_id":"gala","event":"broadcasting","state":"stop","time":1414660067}`,
			fmt.Sprintf(`{"live_id":"gala","event":"metadata","changes":{"name":"New name","public":false},"time":%d}`, x.store.Now().Unix()),
		), p.poll())
		require.Equal(t, "404:"+control+"/events/catchup/1h:Catch-up not supported", p.subscribe(control+"/events/catchup/1h").Error)

		spans, truncated, err := x.b.EventLog(t.Context(), x.app, "gala", catchup.Window{Events: []string{"broadcasting"}})
		require.NoError(t, err)
		require.False(t, truncated)
		require.Equal(t, []catchup.Span{{Event: "broadcasting", Start: 1414659998, End: 1414660067}}, spans)
		_, _, err = x.b.EventLog(t.Context(), x.app, "none", catchup.Window{})
		require.Equal(t, ErrNoObject, AsError(err))
	})
}

// TestT10Kept: the log goes back 30 days, or what is configured, and no further.
func TestT10Kept(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		usual, err := newKinds(nil, 1, day, catchup.ViewerKeep{}.WithDefaults())
		require.NoError(t, err)
		require.Equal(t, 30*day+catchup.Grace, usual.reserved["events"].limits.Age)
		x := newBench(t, func(o *Options, _ *bayeux.Options) {
			o.Kinds = map[string]KindOptions{"events": {Retention: time.Hour}}
		})
		log := func() int {
			t.Helper()
			spans, _, err := x.b.EventLog(t.Context(), x.app, "gala", catchup.Window{})
			require.NoError(t, err)
			return len(spans)
		}
		require.Nil(t, x.tell("gala", "events", `{"event":"x","time":1}`))
		time.Sleep(59 * time.Minute)
		require.Equal(t, 1, log())
		time.Sleep(time.Minute + time.Second)
		require.Zero(t, log(), "though the store has it for a little longer")
	})
}

func TestT13Analytics(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newShapedBench(t)
		view, control := x.root("gala", channels.ClassView), x.root("gala", channels.ClassControl)
		p := x.join("")
		require.True(t, p.subscribe(control+"/analytics").ok())
		require.Contains(t, p.subscribe(view+"/analytics").Error, "403:")
		require.Nil(t, x.tell("gala", "analytics", `{"bitrate":2.50}`))
		for _, bad := range []string{`1`, `[]`, `"x"`, `null`, `true`} {
			require.Equal(t, 4000, x.tell("gala", "analytics", bad).Result, bad)
		}
		require.Contains(t, p.publish(control+"/analytics", `{}`, "").Error, "403:", "only the server publishes")
		require.Equal(t, on(control+"/analytics", `{"bitrate":2.50}`), p.poll())
		late := x.join("")
		require.True(t, late.subscribe(control+"/analytics/catchup/24h").ok())
		require.Equal(t, on(control+"/analytics/catchup/24h", `{"bitrate":2.50}`), late.poll())
	})
}
