package redis

import (
	"bufio"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/storetest"
	"github.com/stretchr/testify/require"
)

// hostileNames look like keys, patterns, scripts and protocol.
var hostileNames = []string{
	"plain", "", "*", "?", "[a-z]", "{x}", "{}", "}{", "a:b", ":", "\x00", "\r\nFLUSHALL\r\n", "*1\r\n$8\r\nFLUSHALL\r\n", "' redis.call('FLUSHALL') '", "\"..redis.call('FLUSHALL')..\"",
	"]] redis.call('FLUSHALL') --", "KEYS[1]", "%s%n", "../..", "é\u202e", "\xff\xfe", "hostile:{0}:m:5:plain", "outside", strings.Repeat("x", store.MaxName),
}

// TestThreat50NamesStayData: whatever logs, tables and keys are called, Redis is sent
// the same commands and scripts as for good names, keys stay below the prefix, and no
// two names mean one thing.
func TestThreat50NamesStayData(t *testing.T) {
	r := storetest.StartRedis(t)
	look := direct(t, r)
	require.NoError(t, look.Set(ctx, "outside", "still here", 0).Err())
	s := openPrefix(t, "redis://"+r.Addr, "hostile")
	use(t, s, "good", "name") // loads the scripts

	conn, err := net.Dial("tcp", r.Addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	_, err = conn.Write([]byte("MONITOR\r\n"))
	require.NoError(t, err)
	lines := bufio.NewReader(conn)
	said, err := lines.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "+OK\r\n", said)
	use(t, s, "good", "again")
	require.NoError(t, look.Echo(ctx, "good names end").Err())
	for i, name := range hostileNames {
		use(t, s, name, "path")
		use(t, s, "feed", name)
		use(t, s, name, hostileNames[(i+1)%len(hostileNames)])
	}
	require.NoError(t, look.Echo(ctx, "the end of the test").Err())
	var seen []string
	for len(seen) == 0 || !strings.Contains(seen[len(seen)-1], "the end of the test") {
		line, err := lines.ReadString('\n')
		require.NoError(t, err)
		seen = append(seen, line)
	}

	commands := commandsOf(t, seen)
	require.NotEmpty(t, commands[0])
	for command := range commands[1] {
		require.True(t, commands[0][command], "%s is sent for bad names alone", command)
	}
	all, err := look.Keys(ctx, "*").Result()
	require.NoError(t, err)
	for _, key := range all {
		require.True(t, key == "outside" || regexp.MustCompile(`^hostile:(\{[0-9a-z]+\}:|[a-z]+$)`).MatchString(key), "%q", key)
	}
	require.Equal(t, "still here", look.Get(ctx, "outside").Val())
}

// use writes and reads a log and a row by the two names, and finds there what was
// written by them and nothing else.
func use(t *testing.T, s *Store, first, second string) {
	t.Helper()
	log, limits := store.LogName{Feed: first, Path: second}, store.Limits{Age: time.Hour}
	data := fmt.Appendf(nil, "%q %q", first, second)
	_, err := storetest.Append(s, log, limits, store.Record{Data: data, Nonce: store.Nonce{1}})
	require.NoError(t, err, "%q", log)
	for _, e := range readAll(t, s, log) {
		require.Equal(t, string(data), string(e.Data))
	}
	_, err = s.Head(ctx, log, limits)
	require.NoError(t, err)
	table := "table" + first[:min(len(first), 200)]
	_, err = s.Put(ctx, table, second, store.Put{Data: data})
	require.NoError(t, err)
	got, err := s.Get(ctx, table, second)
	require.NoError(t, err)
	require.Equal(t, string(data), string(got.Data))
	require.NoError(t, s.Remove(ctx, table, second, nil))
}

// commandsOf returns the commands, with the names of scripts, that were sent before and
// after the good names ended; arguments do not count.
func commandsOf(t *testing.T, lines []string) (all [2]map[string]bool) {
	t.Helper()
	all = [2]map[string]bool{{}, {}}
	part := 0
	for _, line := range lines {
		words := regexp.MustCompile(`"((?:[^"\\]|\\.)*)"`).FindAllStringSubmatch(line, 3)
		if len(words) == 0 {
			continue
		}
		command := strings.ToLower(words[0][1])
		if slices.Contains([]string{"eval", "evalsha", "script"}, command) {
			command += " " + words[1][1]
		}
		switch {
		case strings.Contains(line, "good names end"):
			part = 1
		case command == "echo", command == "client", command == "ping", command == "hello", command == "info": // anybody's, at any time
		default:
			all[part][command] = true
		}
	}
	return all
}
