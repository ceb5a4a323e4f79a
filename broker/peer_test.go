package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store/memory"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// bench is a broker with everything real but the network and the disk: requests
// go straight to the Bayeux server, inside a bubble.
type bench struct {
	t      testing.TB
	b      *Broker
	server *bayeux.Server
	store  *memory.Store
	app    *Application
	ring   *channels.Keyring

	options Options
	wire    bayeux.Options
	end     func()
	shaped  bool // kinds ask for the shape of their data
}

// newBench starts one; everything of it has ended when the test has. open, when
// not nil, changes the options before.
func newBench(t testing.TB, change func(*Options, *bayeux.Options)) *bench {
	t.Helper()
	log := zap.NewNop()
	s := memory.New(memory.Options{Log: log})
	ring, err := channels.NewKeyring(bytes.Repeat([]byte{0x11}, 32), []channels.RootKey{{Secret: bytes.Repeat([]byte{7}, 32), Sign: true}}, nil)
	require.NoError(t, err)
	all, err := channels.ParsePattern("/open/**")
	require.NoError(t, err)
	mute, err := channels.ParsePattern("/mute/**")
	require.NoError(t, err)
	o := Options{
		Store: s, Keyring: ring, Logger: log, AutoCreate: true, ForwardExt: []string{"binary"},
		Accounts: []Account{{Apps: []Application{{ID: 12, Name: "demo", AppKey: "demo-app-key", TokenSecret: "demo-token-secret-0123456789abcdef"}}}},
		Open: []OpenPrefix{
			{Pattern: all, Publish: "anyone", History: time.Hour},
			{Pattern: mute, Publish: "session"},
		},
	}
	bo := bayeux.Options{Logger: log}
	if change != nil {
		change(&o, &bo)
	}
	x := &bench{t: t, store: s, ring: ring, options: o, wire: bo}
	x.run()
	t.Cleanup(func() {
		x.stop()
		require.NoError(t, s.Close())
	})
	return x
}

// run starts a broker and a server over the store.
func (x *bench) run() {
	x.t.Helper()
	b, err := New(x.options)
	require.NoError(x.t, err)
	if !x.shaped { // most tests say numbers, on whatever channel has the rights they need
		for _, k := range b.kinds.rows() {
			k.shape = nil
		}
	}
	x.b, x.server, x.app = b, bayeux.NewServer(b, x.wire), b.tokens.application("demo")
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	x.end = func() {
		cancel()
		require.NoError(x.t, <-ended)
	}
}

// stop ends both in order.
func (x *bench) stop() {
	x.t.Helper()
	ctx, done := context.WithTimeout(context.Background(), 20*time.Second)
	defer done()
	require.NoError(x.t, x.server.Shutdown(ctx))
	x.end()
}

// inBubble runs f in a bubble of its own, cleanups included.
func inBubble(t *testing.T, f func(t *testing.T)) { t.Helper(); synctest.Test(t, f) }

// root makes an object and returns its root of a class, with the slash.
func (x *bench) root(id string, class channels.Class) string {
	x.t.Helper()
	o, err := x.b.objects.ensure(context.Background(), x.app, id)
	require.NoError(x.t, err)
	return "/" + x.ring.Root(o.OID, class, time.Now())
}

// say publishes to an object as its backend does, and lets it reach all queues.
func (x *bench) say(id, channel string, data ...any) {
	x.t.Helper()
	who := &Identity{App: x.app, Role: RoleServer}
	for _, d := range data {
		text, err := json.Marshal(d)
		require.NoError(x.t, err)
		out := x.b.PublishAll(context.Background(), who, []Publication{{ObjectID: id, Channel: channel, Data: text}})
		require.NoError(x.t, out[0].Err)
	}
	x.settle()
}

// settle waits until everybody rests, where that can be told.
func (x *bench) settle() {
	if _, bubble := x.t.(*testing.T); bubble {
		synctest.Wait()
	}
}

// reply is what comes back, decoded.
type reply struct {
	Channel      string          `json:"channel"`
	Successful   *bool           `json:"successful"`
	Error        string          `json:"error"`
	ClientID     string          `json:"clientId"`
	ID           json.RawMessage `json:"id"`
	Data         json.RawMessage `json:"data"`
	Subscription json.RawMessage `json:"subscription"`
	Ext          struct {
		Catchup *struct {
			Messages  int
			Truncated bool
		}
		History struct {
			ID     string
			TS     int64
			Replay bool
			Last   string
		}
		Observed int64
		Data     *struct {
			Version uint64
			ConfNum string `json:"conf_num"`
		}
		Trace, Binary json.RawMessage
		Ack           json.RawMessage
	} `json:"ext"`
	Advice map[string]any `json:"advice"`
}

func (r reply) ok() bool { return r.Successful != nil && *r.Successful }

// peer is one session over long-polling.
type peer struct {
	x     *bench
	id    string
	n     int
	inbox []reply // deliveries, in the order of arrival
}

// post sends a batch and returns the replies; deliveries go to the inbox.
func (x *bench) post(p *peer, messages ...string) []reply {
	x.t.Helper()
	body := "[" + strings.Join(messages, ",") + "]"
	req := httptest.NewRequest(http.MethodPost, "/faye", strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	x.server.ServeHTTP(rec, req)
	if rec.Code != http.StatusServiceUnavailable { // of a connect that is to be sent again
		require.Equal(x.t, 200, rec.Code, rec.Body.String())
	}
	var all, replies []reply
	require.NoError(x.t, json.Unmarshal(rec.Body.Bytes(), &all), rec.Body.String())
	for _, r := range all {
		if r.Successful == nil {
			require.NotNil(x.t, p, "a delivery to nobody")
			p.inbox = append(p.inbox, r)
			continue
		}
		replies = append(replies, r)
	}
	return replies
}

// join handshakes; ext may be "" or a JSON object.
func (x *bench) join(ext string) *peer {
	x.t.Helper()
	p := &peer{x: x}
	r := x.post(p, `{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"]`+with(ext)+`}`)
	require.True(x.t, r[0].ok(), r[0].Error)
	p.id = r[0].ClientID
	return p
}

func with(ext string) string {
	if ext == "" {
		return ""
	}
	return `,"ext":` + ext
}

func (p *peer) message(channel, more string) string {
	p.n++
	return fmt.Sprintf(`{"channel":%q,"clientId":%q,"id":"%d"%s}`, channel, p.id, p.n, more)
}

// subscribe asks for one name, or for a list in one message.
func (p *peer) subscribe(names ...string) reply {
	p.x.t.Helper()
	var what any = names
	if len(names) == 1 {
		what = names[0]
	}
	text, _ := json.Marshal(what)
	return p.x.post(p, p.message("/meta/subscribe", `,"subscription":`+string(text)))[0]
}

func (p *peer) unsubscribe(name string) {
	p.x.t.Helper()
	require.True(p.x.t, p.x.post(p, p.message("/meta/unsubscribe", fmt.Sprintf(`,"subscription":%q`, name)))[0].ok())
}

func (p *peer) publish(channel, data, ext string) reply {
	p.x.t.Helper()
	r := p.x.post(p, p.message(channel, `,"data":`+data+with(ext)))[0]
	p.x.settle()
	return r
}

// poll connects until a poll brings nothing, and returns the inbox's data as
// "channel data", emptying it.
func (p *peer) poll() []string {
	p.x.t.Helper()
	for {
		had := len(p.inbox)
		r := p.x.post(p, p.message("/meta/connect", `,"connectionType":"long-polling","advice":{"timeout":100}`))
		require.True(p.x.t, r[0].ok(), r[0].Error)
		if len(p.inbox) == had {
			break
		}
	}
	var got []string
	for _, d := range p.inbox {
		got = append(got, d.Channel+" "+string(d.Data))
	}
	p.inbox = nil
	return got
}

// on prefixes each datum with a channel.
func on(channel string, data ...any) []string {
	var all []string
	for _, d := range data {
		all = append(all, fmt.Sprint(channel, " ", d))
	}
	return all
}

func numbers(from, to int) []any {
	var all []any
	for n := from; n <= to; n++ {
		all = append(all, n)
	}
	return all
}
