package broker

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// comment publishes a comment of a viewer and returns its id.
func (x *bench) comment(id, text string) string {
	x.t.Helper()
	who := &Identity{App: x.app, Role: RoleViewer, ChannelID: id, Name: "Ernest"}
	c, err := x.b.Comment(x.t.Context(), who, id, CommentDraft{Content: text})
	require.NoError(x.t, err)
	x.settle()
	return c.ID
}

// heardComments returns what a peer hears of comments: "<sub-path> <id> <promoted_p or deleted>".
func (p *peer) heardComments(root string) []string {
	p.x.t.Helper()
	p.poll0()
	var got []string
	for _, d := range p.inbox {
		var c struct {
			ID       string `json:"comment_id"`
			Promoted int    `json:"promoted_p"`
			Deleted  int    `json:"deleted_p"`
			HTML     string `json:"html"`
		}
		require.NoError(p.x.t, json.Unmarshal(d.Data, &c))
		what := fmt.Sprint(c.Promoted)
		if c.Deleted == 1 {
			what = "deleted"
		} else if c.HTML != "" {
			what = "html"
		}
		got = append(got, d.Channel[len(root)+1:]+" "+c.ID+" "+what)
	}
	p.inbox = nil
	return got
}

// poll0 connects until a poll brings nothing.
func (p *peer) poll0() {
	for had := -1; had != len(p.inbox); {
		had = len(p.inbox)
		require.True(p.x.t, p.x.post(p, p.message("/meta/connect", `,"connectionType":"long-polling","advice":{"timeout":100}`))[0].ok())
	}
}

func TestT9Promote(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 2)
		x := nodes[0]
		root := x.root("gala", channels.ClassView)
		p := nodes[1].join("")
		require.True(t, p.subscribe(root+"/all_json", root+"/all_html", root+"/promoted_json", root+"/promoted_html").ok())
		one, two := x.comment("gala", "one"), x.comment("gala", "<two>")
		require.ElementsMatch(t, []string{"all_json " + one + " 0", "all_html " + one + " html", "all_json " + two + " 0", "all_html " + two + " html"}, p.heardComments(root))

		// Both nodes at once, several times: it is promoted once.
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				n := nodes[i%2]
				c, err := n.b.Promote(t.Context(), n.app, "gala", two)
				if assert.NoError(t, err) {
					assert.Contains(t, string(c.JSON), `"promoted_p":1`)
					assert.Contains(t, string(c.JSON), `"content":"&lt;two&gt;"`)
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		want := []string{"promoted_json " + two + " 1", "promoted_html " + two + " html"}
		require.ElementsMatch(t, want, p.heardComments(root))
		_, err := x.b.Promote(t.Context(), x.app, "gala", two)
		require.NoError(t, err)
		time.Sleep(time.Minute)
		require.Empty(t, p.heardComments(root), "a repeat is a no-op")

		late := x.join("")
		require.True(t, late.subscribe(root+"/promoted_json/catchup/1h").ok())
		require.Equal(t, []string{"promoted_json/catchup/1h " + two + " 1"}, late.heardComments(root))
	})
}

func TestT16Withdraw(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 2)
		x, y := nodes[0], nodes[1]
		root := x.root("gala", channels.ClassView)
		one, two, three := x.comment("gala", "one"), x.comment("gala", "two"), x.comment("gala", "three")
		_, err := x.b.Promote(t.Context(), x.app, "gala", two)
		require.NoError(t, err)
		p := y.join("")
		require.True(t, p.subscribe(root+"/all_json", root+"/all_html", root+"/promoted_json", root+"/promoted_html").ok())

		require.NoError(t, x.b.Withdraw(t.Context(), x.app, "gala", one))
		synctest.Wait()
		require.Equal(t, []string{"all_json " + one + " deleted"}, p.heardComments(root), "it was not promoted")
		require.NoError(t, y.b.Withdraw(t.Context(), y.app, "gala", two))
		synctest.Wait()
		require.ElementsMatch(t, []string{"all_json " + two + " deleted", "promoted_json " + two + " deleted"}, p.heardComments(root))

		for _, n := range nodes { // a repeat is a no-op, wherever
			for _, id := range []string{one, two} {
				require.NoError(t, n.b.Withdraw(t.Context(), n.app, "gala", id))
				_, err := n.b.Promote(t.Context(), n.app, "gala", id)
				require.Equal(t, 4004, AsError(err).Result, "what is withdrawn stays so")
			}
		}
		synctest.Wait()
		require.Empty(t, p.heardComments(root))

		late := y.join("")
		for _, path := range []string{"all_json", "all_html", "promoted_json", "promoted_html"} {
			require.True(t, late.subscribe(root+"/"+path+"/catchup/1h").ok())
		}
		require.ElementsMatch(t, []string{
			"all_json/catchup/1h " + three + " 0", "all_html/catchup/1h " + three + " html",
			"all_json/catchup/1h " + one + " deleted", "all_json/catchup/1h " + two + " deleted",
			"promoted_json/catchup/1h " + two + " deleted",
		}, late.heardComments(root))
	})
}

func TestT16Unknown(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		id := x.comment("gala", "one")
		x.root("other", channels.ClassView)
		for _, bad := range []string{"", "x", "01HZX3J8Q4V5W6X7Y8Z9ABCDEF", string(id[:25]), "0" + id, "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", fmt.Sprintf("%s%c", id[:25], id[25]^1)} {
			require.Equal(t, 4004, AsError(x.b.Withdraw(t.Context(), x.app, "gala", bad)).Result, bad)
			_, err := x.b.Promote(t.Context(), x.app, "gala", bad)
			require.Equal(t, 4004, AsError(err).Result, bad)
		}
		require.Equal(t, 4004, AsError(x.b.Withdraw(t.Context(), x.app, "other", id)).Result, "another object's")
		require.Equal(t, ErrNoObject, AsError(x.b.Withdraw(t.Context(), x.app, "none", id)))
		_, err := x.b.Promote(t.Context(), x.app, "none", id)
		require.Equal(t, ErrNoObject, AsError(err))

		// What has expired is not there any more.
		time.Sleep(25 * time.Hour)
		_, err = x.b.Promote(t.Context(), x.app, "gala", id)
		require.Equal(t, 4004, AsError(err).Result)
		require.Equal(t, 4004, AsError(x.b.Withdraw(t.Context(), x.app, "gala", id)).Result)
	})
}

// TestT16Race: whatever comes first of a promotion and a withdrawal, nothing of the
// comment is left.
func TestT16Race(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 2)
		x, y := nodes[0], nodes[1]
		x.root("gala", channels.ClassView)
		for i := range 40 {
			id := x.comment("gala", "one")
			var wg sync.WaitGroup
			wg.Go(func() {
				_, err := y.b.Promote(t.Context(), y.app, "gala", id)
				if err != nil {
					assert.Equal(t, 4004, AsError(err).Result)
				}
			})
			wg.Go(func() { assert.NoError(t, x.b.Withdraw(t.Context(), x.app, "gala", id)) })
			wg.Wait()
			synctest.Wait()
			require.NoError(t, y.b.Withdraw(t.Context(), y.app, "gala", id))
			require.Zero(t, left(t, x, id), "round %d", i)
		}
	})
}

// TestT16PromotionOvertaken: the withdrawal came between the row and the message of a
// promotion.
func TestT16PromotionOvertaken(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		root := x.root("gala", channels.ClassView)
		id := x.comment("gala", "one")
		j, err := x.b.judge(t.Context(), x.app, "gala", id)
		require.NoError(t, err)
		require.NoError(t, j.decide(t.Context(), func(m *moderation) error { m.Promoted = x.store.Now().UnixMilli(); return nil }))
		require.NoError(t, x.b.Withdraw(t.Context(), x.app, "gala", id))
		at, err := j.say("promote", said{promotedJSON, []byte(`{"comment_id":"` + id + `","promoted_p":1}`), false}, said{promotedHTML, []byte(`{"comment_id":"` + id + `","html":"x"}`), false})
		require.NoError(t, err)
		require.Equal(t, 2, left(t, x, id))
		require.Equal(t, 4004, AsError(j.overtaken(t.Context(), at)).Result)
		require.Zero(t, left(t, x, id))
		late := x.join("")
		require.True(t, late.subscribe(root+"/promoted_json/catchup/1h").ok())
		got := late.heardComments(root)
		require.Equal(t, "promoted_json/catchup/1h "+id+" deleted", got[len(got)-1], "the last that is heard of it")
	})
}

// TestModerationHalfDone: what a node left half done, the next request finishes.
func TestModerationHalfDone(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		root := x.root("gala", channels.ClassView)
		p := x.join("")
		require.True(t, p.subscribe(root+"/promoted_json").ok())
		one, two := x.comment("gala", "one"), x.comment("gala", "two")
		at := x.store.Now().UnixMilli()
		j, err := x.b.judge(t.Context(), x.app, "gala", one)
		require.NoError(t, err)
		require.NoError(t, j.decide(t.Context(), func(m *moderation) error { m.Promoted = at; return nil }))
		_, err = x.b.Promote(t.Context(), x.app, "gala", one)
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, []string{"promoted_json " + one + " 1"}, p.heardComments(root))

		j, err = x.b.judge(t.Context(), x.app, "gala", two)
		require.NoError(t, err)
		require.NoError(t, j.decide(t.Context(), func(m *moderation) error { m.Withdrawn = at; return nil }))
		require.Equal(t, 2, left(t, x, two))
		require.NoError(t, x.b.Withdraw(t.Context(), x.app, "gala", two))
		require.Zero(t, left(t, x, two))
		require.NoError(t, j.load(t.Context()))
		require.True(t, j.row.Done)
	})
}

// left counts the forms of a comment that can still be read.
func left(t *testing.T, x *bench, id string) (n int) {
	t.Helper()
	j, err := x.b.judge(t.Context(), x.app, "gala", id)
	require.NoError(t, err)
	for _, path := range []string{allJSON, allHTML, promotedJSON, promotedHTML} {
		log, limits := j.log(path)
		page, err := x.store.Read(t.Context(), log, store.Range{Limits: limits}, 10_000, 1<<20)
		require.NoError(t, err)
		for _, e := range page.Entries {
			if _, is := j.is(e); is {
				n++
			}
			_, err := catchup.Decode(e)
			require.NoError(t, err)
		}
	}
	return n
}
