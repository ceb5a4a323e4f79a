package redis

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseAddress(t *testing.T) {
	f := func(url string, want address) {
		t.Helper()
		got, err := parseAddress(url)
		require.NoError(t, err, url)
		require.Equal(t, want, got, url)
	}
	f("redis://h", address{kind: kindStandalone, hosts: []string{"h:6379"}})
	f("redis://h/", address{kind: kindStandalone, hosts: []string{"h:6379"}})
	f("redis://127.0.0.1:7000/3", address{kind: kindStandalone, hosts: []string{"127.0.0.1:7000"}, db: 3})
	f("redis://h?db=2", address{kind: kindStandalone, hosts: []string{"h:6379"}, db: 2})
	f("redis://:p%40%2F%3F%25@h", address{kind: kindStandalone, hosts: []string{"h:6379"}, password: "p@/?%"})
	f("redis://u:p:q@h", address{kind: kindStandalone, hosts: []string{"h:6379"}, user: "u", password: "p:q"})
	f("rediss://[::1]:7000", address{kind: kindStandalone, hosts: []string{"[::1]:7000"}, tls: true})
	f("redis://[::1]?tls=true", address{kind: kindStandalone, hosts: []string{"[::1]:6379"}, tls: true})
	f("rediss://h?tls=false", address{kind: kindStandalone, hosts: []string{"h:6379"}, tls: true})
	f("redis+cluster://a:1,b,[::2]:3", address{kind: kindCluster, hosts: []string{"a:1", "b:6379", "[::2]:3"}})
	f("redis+sentinel://u:p@a,b:1/main%20one?db=4&sentinel_user=su&sentinel_password=s%40p&tls=1", address{
		kind: kindSentinel, hosts: []string{"a:26379", "b:1"}, user: "u", password: "p", primary: "main one",
		db: 4, sentinelUser: "su", sentinelPassword: "s@p", tls: true,
	})
}

func TestParseAddressRefuses(t *testing.T) {
	f := func(url, want string) {
		t.Helper()
		_, err := parseAddress(url)
		require.ErrorContains(t, err, want, url)
		require.NotContains(t, err.Error(), "secret", url)
	}
	f("", "want redis://")
	f("h:6379", "want redis://")
	f("http://h", "unknown scheme")
	f("redis://", "host 1")
	f("redis://:6379", "host 1")
	f("redis://h:0", "host 1")
	f("redis://h:65536", "host 1")
	f("redis://h:+1", "host 1")
	f("redis://h:", "host 1")
	f("redis://::1", "host 1")
	f("redis://[h]:1", "host 1")
	f("redis://[::1:1", "host 1")
	f("redis://a b", "host 1")
	f("redis://a,b", "2 hosts")
	f("redis+cluster://a,", "host 2")
	f("redis+cluster://"+strings.Repeat("a,", maxHosts)+"a", "65 hosts")
	f("redis+cluster://a/1", "one database")
	f("redis+cluster://a?db=1", "not known for cluster")
	f("redis+sentinel://a", "no name of the primary")
	f("redis+sentinel://a/b/c", "no name of the primary")
	f("redis://h/x", "database")
	f("redis://h/-1", "database")
	f("redis://h?tls=perhaps", "tls")
	f("redis://h?db=1&db=2", "given twice")
	f("redis://h?sentinel_password=secret", "not known for standalone")
	f("redis://secret@h", "no password")
	f("redis://u:secret%zz@h", "%40")
	f("redis://u:sec@ret:secret@h", "%40")
	f("redis://u:secret/secret@h", "%40")
	f("redis://u:secret?secret@h", "%40")
	f("redis://h?%zz", "%40")
}

func TestExposed(t *testing.T) {
	f := func(url string, want bool) {
		t.Helper()
		a, err := parseAddress(url)
		require.NoError(t, err)
		require.Equal(t, want, a.exposed(), url)
	}
	f("redis://localhost", false)
	f("redis://127.9.9.9", false)
	f("redis://[::1]", false)
	f("redis://10.0.0.1", true)
	f("redis://db.internal", true)
	f("redis://localhost.example.com", true)
	f("rediss://db.internal", false)
	f("redis://:p@db.internal", false)
	f("redis+cluster://localhost,db", true)
	_, err := Open(t.Context(), "redis://db.internal", Options{})
	require.ErrorIs(t, err, errExposed)
}

func FuzzParseAddress(f *testing.F) {
	f.Add("redis://u:secret@h:1/2?tls=true")
	f.Add("redis+sentinel://a,b:1/main?db=4&sentinel_password=p")
	f.Add("redis+cluster://[::1]:7000,b")
	f.Fuzz(func(t *testing.T, url string) {
		a, err := parseAddress(url)
		if err != nil {
			return
		}
		if len(a.hosts) == 0 || len(a.hosts) > maxHosts || a.db < 0 {
			t.Fatalf("%+v", a)
		}
		for _, h := range a.hosts {
			if again, ok := hostPort(h, "1"); !ok || again != h {
				t.Fatalf("%q is not a host and a port", h)
			}
		}
		if (a.primary != "") != (a.kind == kindSentinel) {
			t.Fatalf("%+v", a)
		}
	})
}

// FuzzInfo: whatever answers to INFO, its facts are read or are said to be unknown.
func FuzzInfo(f *testing.F) {
	f.Add("# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nrole:master\r\nused_memory:99999999999999999999\r\naof_enabled:1\r\n")
	f.Add("redis_version\n:\nrole::\nrdb_saves:-1")
	f.Fuzz(func(t *testing.T, text string) {
		one := readInfo(text)
		require.NotEmpty(t, one.Version)
		require.NotEmpty(t, one.Policy)
		require.Contains(t, []string{"aof", "snapshots", "none", unknown}, one.Persistence)
	})
}
