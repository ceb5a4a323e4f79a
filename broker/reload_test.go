package broker

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/stretchr/testify/require"
)

func TestReloadAccounts(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, func(o *Options, _ *bayeux.Options) {
			a := &o.Accounts[0]
			a.CDN, a.StreamToken, a.APIKey, a.APISecret = 158, "an-old-stream-token-of-32-bytes!", "APX", "an-old-api-secret-of-32-bytes!!!"
			o.Sandbox = true
		})
		service := x.b.Service()
		good := func(password string) *Identity {
			id, _ := service.Authorize("Basic " + base64.StdEncoding.EncodeToString([]byte("demo:"+password)))
			return id
		}
		signed := func(key string, secret Secret) error {
			r := SignedRequest{Method: "GET", Target: "/v1/objects"}
			var err error
			r.Header, err = SignRequest(r, key, secret, "", time.Now())
			require.NoError(t, err)
			_, _, err = service.AuthorizeSigned(r)
			return err
		}
		before := x.options.Accounts
		token, err := service.SandboxToken("demo", "gala", "viewer", "")
		require.NoError(t, err)
		listener := x.join(`{"token":"` + token + `"}`)
		require.True(t, listener.subscribe("/open/a").ok())

		// What is part of names cannot change.
		other := func(change func(*Account)) []Account {
			all := slices.Clone(before)
			all[0].Apps = slices.Clone(all[0].Apps)
			change(&all[0])
			return all
		}
		for _, all := range [][]Account{
			nil, append(slices.Clone(before), Account{}),
			other(func(a *Account) { a.CDN++ }), other(func(a *Account) { a.StreamToken = "" }),
			other(func(a *Account) { a.Apps[0].ID++ }), other(func(a *Account) { a.Apps[0].Name = "else" }), other(func(a *Account) { a.Apps = nil }),
		} {
			require.ErrorIs(t, x.b.ReloadAccounts(all), errAccounts)
		}
		require.NotNil(t, good("demo-app-key"))

		require.NoError(t, x.b.ReloadAccounts(other(func(a *Account) {
			a.APIKey, a.APISecret, a.StreamToken = "APY", "a-new-api-secret-of-32-bytes!!!!", "a-new-stream-token-of-32-bytes!!"
			a.Apps[0].AppKey, a.Apps[0].TokenSecret = "a-new-app-key", "a-new-token-secret-of-32-bytes!!"
		})))
		require.Nil(t, good("demo-app-key"))
		id := good("a-new-app-key")
		require.NotNil(t, id)
		require.Same(t, x.app, id.App, "it is the application that others hold")
		require.ErrorIs(t, signed("APX", "an-old-api-secret-of-32-bytes!!!"), errUnauthorized)
		require.ErrorIs(t, signed("APY", "an-old-api-secret-of-32-bytes!!!"), errUnauthorized)
		require.NoError(t, signed("APY", "a-new-api-secret-of-32-bytes!!!!"))
		require.Nil(t, x.b.StreamAccount("an-old-stream-token-of-32-bytes!"))
		require.NotNil(t, x.b.StreamAccount("a-new-stream-token-of-32-bytes!!"))
		_, err = service.Authorize("Bearer " + token)
		require.ErrorIs(t, err, errUnauthorized)
		fresh, err := service.SandboxToken("demo", "gala", "viewer", "")
		require.NoError(t, err)
		_, err = service.Authorize("Bearer " + fresh)
		require.NoError(t, err)
		require.True(t, listener.subscribe("/open/b").ok(), "sessions go on")
	})
}

func TestReloadLimits(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, func(o *Options, _ *bayeux.Options) { o.Limits = Limits{Message: 100, Subscriptions: 1, History: 7} })
		p := x.join("")
		long := `"` + strings.Repeat("x", 200) + `"`
		require.True(t, p.subscribe("/open/a").ok())
		require.Contains(t, p.subscribe("/open/b").Error, "403:1:Too many subscriptions")
		require.Contains(t, p.publish("/open/a", long, "").Error, "413:")
		x.b.ReloadLimits(Limits{Message: 300, Subscriptions: 2, History: 1, Objects: 1, Backlog: 1})
		require.True(t, p.subscribe("/open/b").ok())
		require.True(t, p.publish("/open/a", long, "").ok())
		require.Equal(t, Limits{Message: 300, Subscriptions: 2, History: 7}.withDefaults(), *x.b.limits())
	})
}

// A key comes, signs, and the one before goes: who holds its roots is told in the end.
func TestReloadKeyring(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		root := x.root("gala", channels.ClassView)
		p := x.join("")
		require.True(t, p.subscribe(root+"/chat").ok())
		ring := func(keys ...channels.RootKey) *channels.Keyring {
			k, err := channels.NewKeyring(bytes.Repeat([]byte{0x11}, 32), keys, nil)
			require.NoError(t, err)
			return k
		}
		secret := func(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }
		x.b.ReloadKeyring(ring(channels.RootKey{Secret: secret(7)}, channels.RootKey{KID: 1, Secret: secret(8), Sign: true}))
		o, err := x.b.objects.ensure(t.Context(), x.app, "gala")
		require.NoError(t, err)
		view, _ := x.b.Service().Roots(o)
		require.Equal(t, "/1", view[:2], "the new key signs")
		q := x.join("")
		require.True(t, q.subscribe(view+"/chat").ok())
		require.True(t, x.join("").subscribe(root+"/chat").ok(), "the old one verifies")

		require.NoError(t, x.b.RetireKey(t.Context(), 0))
		x.b.ReloadKeyring(ring(channels.RootKey{KID: 1, Secret: secret(8), Sign: true}))
		x.settle()
		require.Contains(t, x.post(p, p.message("/meta/connect", `,"connectionType":"long-polling"`))[0].Error, "401:")
		require.Contains(t, q.subscribe(root+"/chat").Error, "403:")
		x.say("gala", "chat", 1)
		require.Equal(t, on(view+"/chat", 1), q.poll())
	})
}
