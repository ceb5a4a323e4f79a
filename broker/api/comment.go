package api

import (
	"encoding/json"
	"net/http"

	"github.com/gobelin-broker/gobelin/broker"
)

// commentRoutes are the comments (product.md §5.3, T8, T9, T16).
var commentRoutes = []route{
	{path: "/v1/objects/{id}/comments", form: v1Form, methods: map[string]handler{http.MethodPost: createComment}},
	{
		path: "/v1/objects/{id}/comments/{comment}", form: v1Form, methods: map[string]handler{http.MethodDelete: withdrawComment},
		audit: audited{http.MethodDelete: "comment.withdraw"},
	},
	{
		path: "/v1/objects/{id}/comments/{comment}/promote", form: v1Form, methods: map[string]handler{http.MethodPost: promoteComment},
		audit: audited{http.MethodPost: "comment.promote"},
	},
}

// createComment: POST /v1/objects/{id}/comments {"content","name","comment_type"},
// for the own object from viewer up. 201 with the comment object.
func createComment(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	id := r.PathValue("id")
	if err := atLeast(broker.RoleViewer, who, id); err != nil {
		return reply{}, err
	}
	body, err := a.readBody(r)
	if err != nil {
		return reply{}, err
	}
	// Who writes and where is in the credential and the path (security.md §4.3, 38).
	f, err := a.object(body, []string{"content", "name", "comment_type"}, []string{"user_id", "object_id"})
	if err != nil {
		return reply{}, err
	}
	var draft broker.CommentDraft
	if err := f.texts(map[string]*string{"content": &draft.Content, "name": &draft.Name, "comment_type": &draft.Type}); err != nil {
		return reply{}, err
	}
	if err := a.chargePublish(r, who, 1); err != nil {
		return reply{}, err
	}
	c, err := a.service.Comment(r.Context(), who, id, draft)
	if err != nil {
		return reply{}, err
	}
	return commentReply(http.StatusCreated, c), nil
}

// commentReply answers with a comment object.
func commentReply(status int, c *broker.Comment) reply {
	return reply{status, struct {
		Result  int             `json:"result"`
		Comment json.RawMessage `json:"comment"`
	}{0, c.JSON}}
}

// promoteComment: POST /v1/objects/{id}/comments/{comment}/promote, from moderator up
// (product.md T9). 200 with the comment as it was promoted, also the second time.
func promoteComment(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	id := r.PathValue("id")
	if err := atLeast(broker.RoleModerator, who, id); err != nil {
		return reply{}, err
	}
	if err := a.chargePublish(r, who, 1); err != nil {
		return reply{}, err
	}
	c, err := a.service.Promote(r.Context(), who.App, id, r.PathValue("comment"))
	if err != nil {
		return reply{}, err
	}
	return commentReply(http.StatusOK, c), nil
}

// withdrawComment: DELETE /v1/objects/{id}/comments/{comment}, from moderator up
// (product.md T16). 200, also the second time.
func withdrawComment(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	id := r.PathValue("id")
	if err := atLeast(broker.RoleModerator, who, id); err != nil {
		return reply{}, err
	}
	if err := a.chargePublish(r, who, 1); err != nil {
		return reply{}, err
	}
	if err := a.service.Withdraw(r.Context(), who.App, id, r.PathValue("comment")); err != nil {
		return reply{}, err
	}
	return done, nil
}
