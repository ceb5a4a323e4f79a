package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLocationKind(t *testing.T) {
	f := func(in location, want string) {
		t.Helper()
		require.Equal(t, want, in.kind(), "%q", in.reveal())
	}
	f("./data", kindDisk)
	f("/var/lib/gobelin", kindDisk)
	f("redis", kindDisk) // a folder of that name
	f("memory:", kindMemory)
	f("redis://h", kindRedis)
	f("rediss://h:1/2", kindRedis)
	f("redis+sentinel://a,b/m", kindRedis)
	f("redis+cluster://a:1,b:2", kindRedis)
	f("memory", "")
	f("http://h", "")
	f("redis:/h", "")
	f("", "")
}

// Whatever is wrong with a location, nothing after its scheme that may be a
// password is printed.
func TestLocationHidesPasswords(t *testing.T) {
	f := func(in location, want string) {
		t.Helper()
		require.Equal(t, want, in.String())
		for _, shown := range []string{in.fault(), fmt.Sprintf("%s|%v|%q|%#v", in, in, in, in)} {
			require.NotContains(t, shown, "sesame")
			require.NotContains(t, shown, "ses")
		}
	}
	f("redis://127.0.0.1:6379", "redis://127.0.0.1:6379")
	f("redis://:sesame@h:1/2", "redis://:***@h:1/2")
	f("rediss://ann:sesame@h", "rediss://ann:***@h")
	f("redis://sesame@h", "redis://***@h")
	f("redis://ann:ses@me@h", "redis://ann:***@h")
	f("redis+sentinel://u:sesame@a:1,b:2,[::1]:3/main?db=1&sentinel_password=sesame", "redis+sentinel://u:***@a:1,b:2,[::1]:3/main?db=1&sentinel_password=***")
	f("redis+cluster://u:sesame@a:1,b:2?tls=true", "redis+cluster://u:***@a:1,b:2?tls=true")
	// Characters that should have been escaped.
	f("redis://:ses/ame@h", "redis://***")
	f("redis://:ses?ame@h", "redis://***")
	f("redis://:ses#ame@h", "redis://:***@h")
	f("redis://u:1/sesame@h", "redis://***")
	f("redis://u:1?sesame@h", "redis://***")
	f("redsi://u:sesame@h", "redsi://u:***@h")
	f("redis://:sesame", "redis://***")
	f("redis:/u:sesame@h", "redis:***")
	f("redis:sesame@h", "redis:***")
}

func TestLocationFault(t *testing.T) {
	f := func(in location, want string) {
		t.Helper()
		if want == "" {
			require.Empty(t, in.fault(), "%v", in)
			return
		}
		require.Contains(t, in.fault(), want, "%v", in)
	}
	f("./data", "")
	f("memory:", "")
	f("redis://h", "")
	f("redis://u:p@[::1]:6379/3", "")
	f("redis+sentinel://a:26379,b:26379/gobelin?db=0", "")
	f("redis+cluster://a,b,c", "")
	f("", "is empty")
	f("memory", "neither a folder nor memory:")
	f("rediss+cluster://h", "did you mean redis+cluster?")
	f("redis://", "names no host")
	f("redis://a,b", "takes one host, these are 2")
	f("redis+sentinel://a:1", "names no primary")
	f("redis+cluster://a:1/3", "a cluster has one database")
	f("redis://a:1:2", "a host that is none")
}

func TestLocationFromElsewhere(t *testing.T) {
	t.Setenv("GOBELIN_TEST_STORE", "redis://:sesame@h:1")
	path := write(t, "store: env:GOBELIN_TEST_STORE\nkeys: {identity_secret: hex:"+strings.Repeat("1f3a", 16)+", roots: [{kid: 0, secret: hex:"+strings.Repeat("2f4b", 16)+", sign: true}]}\n")
	c, _, fs := load(source{path: path})
	require.NoError(t, fs.err())
	require.Equal(t, "redis://:sesame@h:1", c.Store.reveal())
	require.Equal(t, "redis://:***@h:1", showValue(&c.Store))
	var b strings.Builder
	printOptions(&b, c, options, false)
	fmt.Fprint(&b, exposure(c))
	require.NotContains(t, b.String(), "sesame")
}

func TestRedisOptions(t *testing.T) {
	require.ElementsMatch(t, []string{
		`keys: ` + keysOnRedis,
		`file:2: redis.prefix: "{a}" must be 1 to 32 letters, digits, dots, dashes or underscores`,
		`file:2: redis.publish_timeout: must be at least 100ms, is 1ms`,
		`file:3: durability.ack: "replicas" is none of stored, fsync, replica; did you mean replica?`,
		`file:4: node.id: must be of printable ASCII without spaces and colons`,
		`file:4: node.advertise: is not a URL such as http://10.0.0.5:8001`,
	}, told(t, `store: redis://127.0.0.1:6379
redis: {prefix: "{a}", publish_timeout: 1ms}
durability: {ack: replicas}
node: {id: "a b", advertise: "10.0.0.5:8001"}
`))
	require.Equal(t, []string{`file:1: durability.ack: a folder is always fsynced before an acknowledgement: leave it out, or say fsync`},
		told(t, "durability: {ack: stored}\n"))
	require.Equal(t, []string{`file:2: durability.ack: memory: keeps nothing beyond the end: leave it out`},
		told(t, "store: \"memory:\"\ndurability: {ack: replica}\n"))
	require.Empty(t, told(t, "durability: {ack: fsync}\n"))
}

// dev on Redis has its secrets in a folder, which two nodes may make at once.
func TestSecretsOfTwoDevNodes(t *testing.T) {
	folder := t.TempDir()
	done := make(chan *config)
	const nodes = 8
	for range nodes {
		c := testConfig(t)
		c.Store, c.secrets = "redis://127.0.0.1:1", folder
		go func() {
			err := c.completeKeys(true)
			if err == nil {
				_, err = c.completeDevAccount(true)
			}
			assert.NoError(t, err)
			done <- c
		}()
	}
	var first *config
	for range nodes {
		c := <-done
		require.NotEmpty(t, c.apps())
		if first == nil {
			first = c
		}
		require.Equal(t, first.Keys.IdentitySecret.Reveal(), c.Keys.IdentitySecret.Reveal())
		require.Equal(t, first.apps()[0].AppKey.Reveal(), c.apps()[0].AppKey.Reveal())
	}
	c := testConfig(t)
	c.Store = "redis://127.0.0.1:1"
	require.ErrorContains(t, c.completeKeys(true), keysOnRedis)
}

func FuzzLocation(f *testing.F) {
	f.Add("redis", "u", "p", "h:1", "/0", "db=1")
	f.Add("redis+sentinel", "", "p@:/?#", "a,b", "/m", "sentinel_password=x")
	f.Fuzz(func(t *testing.T, scheme, user, password, hosts, path, query string) {
		const mark = "SesameOpenUp"
		l := location(scheme + "://" + user + ":" + mark + password + mark + "@" + hosts + path + "?" + query)
		if strings.Contains(scheme+user+hosts+path+query, mark) {
			return
		}
		if strings.Contains(l.String()+l.fault(), mark) {
			t.Fatalf("%q is shown as %q, %q", string(l), l, l.fault())
		}
	})
}
