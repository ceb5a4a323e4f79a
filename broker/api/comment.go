package api

import (
	"encoding/json"
	"net/http"

	"github.com/gobelin-broker/gobelin/broker"
)

// commentRoutes are the comments (product.md §5.3, T8).
var commentRoutes = []route{
	{path: "/v1/objects/{id}/comments", form: v1Form, methods: map[string]handler{http.MethodPost: createComment}},
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
	if err := a.chargePublish(r, 1); err != nil {
		return reply{}, err
	}
	c, err := a.service.Comment(r.Context(), who, id, draft)
	if err != nil {
		return reply{}, err
	}
	return reply{http.StatusCreated, struct {
		Result  int             `json:"result"`
		Comment json.RawMessage `json:"comment"`
	}{0, c.JSON}}, nil
}
