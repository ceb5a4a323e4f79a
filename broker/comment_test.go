package broker

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/require"
)

var (
	commentID = ulid.MustParse("01HZX3J8Q4V5W6X7Y8Z9ABCDEF")
	commentAt = time.Date(2026, 2, 28, 23, 59, 59, 999e6, time.FixedZone("", -3600))
	liveShow  = &Object{App: &demoApp, ID: "show-7", Type: TypeLive}
)

func TestCommentExact(t *testing.T) {
	who := &Identity{App: &demoApp, Role: RoleViewer, UserID: "u1", OpaqueUserID: "O", Name: "Ernest"}
	c, err := newComment(liveShow, who, CommentDraft{Content: "first <b>!\n\"&'", Type: "chat", Name: "Admin"}, commentID, commentAt)
	require.NoError(t, err)
	require.Equal(t, commentID.String(), c.ID)
	require.Equal(t, `{"comment_id":"01HZX3J8Q4V5W6X7Y8Z9ABCDEF","object_id":"show-7","object_type":"live","comment_type":"chat",`+
		`"user_id":"u1","name":"Ernest","content":"first &lt;b&gt;!\n&#34;&amp;&#39;","content_text":"first <b>!\n\"&'",`+
		`"creation_date_ansi":"2026-03-01 00:59:59","promoted_p":0}`, string(c.JSON))
	require.Equal(t, `{"comment_id":"01HZX3J8Q4V5W6X7Y8Z9ABCDEF","html":"<div class=\"comment comment-chat\" id=\"comment-01HZX3J8Q4V5W6X7Y8Z9ABCDEF\">`+
		`<span class=\"comment-name\">Ernest</span> <span class=\"comment-content\">first &lt;b&gt;!<br>&#34;&amp;&#39;</span></div>"}`, string(c.HTML))
}

func TestCommentName(t *testing.T) {
	name := func(who *Identity, draft, want string) {
		t.Helper()
		c, err := newComment(liveShow, who, CommentDraft{Content: "x", Name: draft}, commentID, commentAt)
		require.NoError(t, err)
		var got commentObject
		require.NoError(t, json.Unmarshal(c.JSON, &got))
		require.Equal(t, want, got.Name)
		require.Equal(t, "comment", got.CommentType)
	}
	name(&Identity{Role: RoleViewer, Name: "token"}, "draft", "token")
	name(&Identity{Role: RoleBroadcaster, Name: "token"}, "draft", "token")
	name(&Identity{Role: RoleViewer}, "draft", "draft")
	name(&Identity{Role: RoleAdmin, Name: "token"}, "draft", "draft")
	name(&Identity{Role: RoleAdmin, Name: "token"}, "", "token")
	name(&Identity{Role: RoleServer}, "draft", "draft")
	name(nil, "", "")
}

func TestCommentRefused(t *testing.T) {
	refused := func(d CommentDraft, good bool) {
		t.Helper()
		_, err := newComment(liveShow, nil, d, commentID, commentAt)
		if good {
			require.NoError(t, err)
			return
		}
		var refusal *Error
		require.ErrorAs(t, err, &refusal)
		require.Equal(t, 4000, refusal.Result)
	}
	refused(CommentDraft{}, false)
	refused(CommentDraft{Content: strings.Repeat("é", 4096)}, true)
	refused(CommentDraft{Content: strings.Repeat("é", 4097)}, false)
	refused(CommentDraft{Content: "\xff"}, false)
	refused(CommentDraft{Content: "a\x00b"}, false)
	refused(CommentDraft{Content: "a\tb\r\nc"}, true)
	refused(CommentDraft{Content: "a\u0085b"}, false)
	refused(CommentDraft{Content: "x", Name: strings.Repeat("é", 200)}, true)
	refused(CommentDraft{Content: "x", Name: strings.Repeat("é", 201)}, false)
	refused(CommentDraft{Content: "x", Name: "a\nb"}, false)
	refused(CommentDraft{Content: "x", Type: "question"}, true)
	refused(CommentDraft{Content: "x", Type: "Chat"}, false)
}
