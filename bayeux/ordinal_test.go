package bayeux

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOrdinal(t *testing.T) {
	number := func(id string, want bool) uint64 {
		t.Helper()
		m := &Message{kind: kindConnect, ID: []byte(id)}
		n := m.Ordinal().Number
		require.Equal(t, want, n != 0, id)
		return n
	}
	// Faye counts in base 36, CometD in decimals; both rise.
	last := uint64(0)
	for _, id := range []string{`"1"`, `"9"`, `"a"`, `"z"`, `"10"`, `"1z"`, `"20"`, `"zzzzzz"`, `"zzzzzzz"`, `"zzzzzzzz"`} {
		n := number(id, true)
		require.Greater(t, n, last, id)
		last = n
	}
	last = 0
	for _, id := range []string{`1`, `9`, `10`, `19`, `20`, `99`, `100`, `1000`, `99999999`} {
		n := number(id, true)
		require.Greater(t, n, last, id)
		last = n
	}
	for _, id := range []string{``, `"A"`, `"-1"`, `-1`, `1.5`, `"c12/3"`, `"123456789"`, `"0f8fad5b-d9cb-469f-a165-70867728950e"`} {
		number(id, false)
	}
	require.Zero(t, (&Message{kind: kindSubscribe, ID: []byte(`"1"`)}).Ordinal())
	require.Zero(t, (&Message{kind: kindConnect, ConnectionType: "eventsource", ID: []byte(`"1"`)}).Ordinal())
	require.NotEqual(t, (&Message{kind: kindConnect, ID: []byte(`"1"`)}).Ordinal(), (&Message{kind: kindConnect, ID: []byte(`"1"`), rawAdvice: []byte(`{"timeout":0}`)}).Ordinal())
}

// A connect that its client gave up, and that comes when newer ones have come, is
// answered with nothing: what it took would seem to have arrived.
func TestALateConnect(t *testing.T) {
	for _, transport := range []string{"long-polling", "websocket"} {
		in(t, Options{}, func(t *testing.T, w *world) {
			w.Run("open a\n" + hello("a") + listen("a", "/x") + connects("a", "1") + `
				deliver /x 1
				a< [{"data":1},{"id":"1"}]
				` + connects("a", "2") + `
				open b ` + transport + `
				` + whose("b", "a", "1") + `
				b< {"id":"1","successful":true,"clientId":"${a}","advice":{"reconnect":"retry","interval":0,"timeout":45000}}
				# who waits goes on
				deliver /x 2
				a< [{"data":2},{"id":"2"}]
				# before the next: nothing seems to have arrived
				` + connects("a", "3") + `
				deliver /x 3
				a< [{"data":3},{"id":"3"}]
				` + whose("b", "a", "2") + `
				b< {"id":"2","successful":true,"clientId":"${a}"}
				open c
				` + whose("c", "a", "3") + `
				c< [{"data":3},{"id":"3"}]
			`)
			require.Equal(t, int64(2), w.server.Stats().Late)
		})
	}
}

// The very first connect can be late, too, where its client has counted the handshake.
func TestALateFirstConnect(t *testing.T) {
	f := func(shake, late, next string, isLate bool) {
		t.Helper()
		then := `b< {"id":"` + next + `"}
			a< {"data":2}` // it took the session
		if isLate {
			then = `b< {"data":2}`
		}
		in(t, Options{}, func(t *testing.T, w *world) {
			w.Run("open a websocket\n" + strings.ReplaceAll(hello("a"), `"id":"h"`, `"id":"`+shake+`"`) + listen("a", "/x") + `
				open b websocket
				` + whose("b", "a", next) + `
				deliver /x 1
				b< {"data":1}
				` + connects("a", late) + `
				a< {"id":"` + late + `"}
				deliver /x 2
				` + then + `
			`)
			require.Equal(t, isLate, w.server.Stats().Late == 1)
		})
	}
	f("1", "2", "3", true)
	f("1", "2", "9", true)
	f("h", "2", "3", false) // it is no number of its client's
	f("1", "2", "c1", false)
	f("3", "1", "2", false)
}

// On another server it does not take the session.
func TestALateConnectElsewhere(t *testing.T) {
	across(t, Options{}, func(t *testing.T, w *talk) {
		w.Run("open a\n" + hello("a") + listen("a", "/x") + connects("a", "1") + `
			deliver /x 1
			a< [{"data":1},{"id":"1"}]
			` + connects("a", "2") + `
			at two
			open b
			` + whose("b", "a", "1") + `
			b< {"id":"1","successful":true,"clientId":"${a}","advice":{"reconnect":"retry","interval":0,"timeout":45000}}
			quiet
			deliver /x 2
			a< [{"data":2},{"id":"2"}]
			# the answer is on its way: the late one does not tell that it arrived
			` + whose("b", "a", "1") + `
			b< {"id":"1","successful":true}
			open c
			` + whose("c", "a", "2") + `
			c< [{"data":2},{"id":"2"}]
		`)
		require.Equal(t, 1, w.two.Sessions())
		require.Equal(t, int64(2), w.one.Stats().Late)
		require.Equal(t, int64(2), w.two.Stats().Late)
	})
}

// A copy of the very connect that is held elsewhere takes the session, and that one is
// cut off: answered, it would seem that what the copy brings has arrived.
func TestARepeatedConnectCutsTheFirstElsewhere(t *testing.T) {
	across(t, Options{}, func(t *testing.T, w *talk) {
		w.Run("open a\n" + hello("a") + listen("a", "/x") + connects("a", "1") + `
			at two
			open b
			` + whose("b", "a", "1") + `
			a< closed 0
			deliver /x 1
			b< [{"data":1},{"id":"1"}]
		`)
	})
}

// A copy of a connect that was answered is answered as it was, and with nothing more: it
// may be late, the answer have arrived, and the next connect tells of that.
func TestACopyOfAnAnsweredConnect(t *testing.T) {
	for _, at := range []string{"one", "two"} {
		for _, what := range []string{"with something", "with nothing", "released"} {
			t.Run(what+" at "+at, func(t *testing.T) {
				across(t, Options{}, func(t *testing.T, w *talk) {
					w.Run("open a\n" + hello("a") + listen("a", "/x") + connects("a", "1"))
					got := ""
					switch what {
					case "with something":
						w.Run("deliver /x 1\na< [{\"data\":1},{\"id\":\"1\"}]\n")
						got = `{"data":1},`
					case "with nothing":
						w.Run("wait 45s\na< {\"id\":\"1\",\"successful\":true}\n")
					case "released":
						w.home(w.Value("a")).session.Close(ReasonMoved)
						w.Run("a< {\"id\":\"1\",\"successful\":true}\n")
					}
					w.Run(`
						deliver /x 2
						at ` + at + `
						open b
						` + whose("b", "a", "1") + `
						b< [` + got + `{"id":"1","successful":true}]
						` + whose("b", "a", "2") + `
						b< [{"data":2},{"id":"2"}]
					`)
				})
			})
		}
	}
}

// The page of a client was loaded anew, so that its numbers begin again, or they are none:
// it is served, here and elsewhere.
func TestNumbersThatBeginAnew(t *testing.T) {
	across(t, Options{}, func(t *testing.T, w *talk) {
		w.Begin("open a\n" + hello("a") + listen("a", "/x") + "at two\nopen b\n")
		for n := range 30 {
			w.Run(connects("a", itoa(n+1)) + "deliver /x " + itoa(n) + "\na< [{\"data\":" + itoa(n) + "},{\"id\":\"" + itoa(n+1) + "\"}]\n")
		}
		const late = mostLate/risesLate + 1
		for n := range late {
			w.Run(whose("b", "a", itoa(n+2)) + "b< {\"id\":\"" + itoa(n+2) + "\",\"successful\":true}\n")
		}
		for n := late; n < 30; n++ {
			w.Run(whose("b", "a", itoa(n+2)) + "deliver /x " + itoa(n) + "\nb< [{\"data\":" + itoa(n) + "},{\"id\":\"" + itoa(n+2) + "\"}]\n")
		}
	})
	for _, ids := range []string{"3 1 2", "1 1 1", "one two three", "b a", "9 8 7 6 5 4"} {
		in(t, Options{}, func(t *testing.T, w *world) {
			w.Begin("open a\n" + hello("a") + listen("a", "/x"))
			heard := 0
			for n := range 200 {
				all := strings.Fields(ids)
				w.Begin(connects("a", all[n%len(all)]) + "deliver /x " + itoa(n) + "\nwait 1ms\n")
				for _, m := range w.Take("a") {
					if m["channel"] == "/x" {
						heard++
					}
				}
			}
			require.GreaterOrEqual(t, heard, 100, ids)
		})
	}
}

// What a session left behind says what is late, and counts.
func TestOvertaken(t *testing.T) {
	connect := func(id string) Ordinal { return (&Message{kind: kindConnect, ID: []byte(id)}).Ordinal() }
	left := []byte(`{"newest":7,"rising":true}`)
	for range mostLate - risesLate + 1 { // copies of one
		var late bool
		left, late = Overtaken(left, connect("6"))
		require.True(t, late)
	}
	rising := []byte(`{"newest":100,"rising":true}`)
	for n := 1; ; n++ {
		var late bool
		if rising, late = Overtaken(rising, connect(itoa(n))); !late {
			require.Equal(t, mostLate/risesLate+2, n)
			break
		}
	}
	for _, f := range []struct{ left, id string }{
		{string(left), "6"},
		{`{"newest":7,"rising":true}`, "7"},
		{`{"newest":7,"rising":true}`, "8"},
		{`{"newest":7,"rising":true}`, `"x/y"`},
		{`{"newest":7}`, "6"},
		{`{}`, "6"},
		{``, "6"},
		{`[]`, "6"},
		{`{"newest":7,"rising":true,"late":9999}`, "6"},
	} {
		got, late := Overtaken([]byte(f.left), connect(f.id))
		require.False(t, late, f.left)
		require.Equal(t, f.left, string(got))
	}
	_, late := Overtaken([]byte(`{"newest":7,"rising":true,"late":-9}`), connect("6"))
	require.True(t, late)
}
