package broker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/oklog/ulid/v2"
)

// CommentDraft is what a request says of a comment (product.md §5.3, T8).
type CommentDraft struct {
	// Content is the text, 1 to 4,096 characters.
	Content string
	// Name is shown where the credential has none, or is an admin's; at most 200
	// characters.
	Name string
	// Type is "comment", "chat" or "question"; empty: "comment".
	Type string
}

// Bounds of a comment, in characters.
const (
	maxCommentContent = 4096
	maxCommentName    = 200
)

// Comment is a comment once taken. It is immutable; both forms are encoded once.
type Comment struct {
	ID string
	// JSON is the comment object of product.md §5.3, for all_json.
	JSON []byte
	// HTML is {"comment_id","html"} for all_html; everything a peer wrote in it
	// is escaped.
	HTML []byte
}

// commentObject is the comment object, its fields in the order of product.md §5.3.
type commentObject struct {
	CommentID        string `json:"comment_id"`
	ObjectID         string `json:"object_id"`
	ObjectType       string `json:"object_type"`
	CommentType      string `json:"comment_type"`
	UserID           string `json:"user_id"`
	Name             string `json:"name"`
	Content          string `json:"content"`
	ContentText      string `json:"content_text"`
	CreationDateANSI string `json:"creation_date_ansi"`
	PromotedP        int    `json:"promoted_p"`
}

// newComment makes the comment of a draft: id is its id, at the store's clock.
// user_id comes from the credential alone, and so does the name, except where the
// credential has none or is an admin's (security.md §4.3, 38). Errors are *Error
// with result 4000.
func newComment(o *Object, who *Identity, draft CommentDraft, id ulid.ULID, at time.Time) (*Comment, error) {
	kind, err := draft.check()
	if err != nil {
		return nil, err
	}
	c := commentObject{
		CommentID: id.String(), ObjectID: o.ID, ObjectType: o.Type, CommentType: kind,
		Name: draft.Name, Content: html.EscapeString(draft.Content), ContentText: draft.Content,
		CreationDateANSI: at.UTC().Format(time.DateTime),
	}
	if who != nil {
		c.UserID = who.UserID
		if who.Name != "" && (who.Role < RoleAdmin || draft.Name == "") {
			c.Name = who.Name
		}
	}
	return c.encode()
}

// encode makes both forms of a comment.
func (c commentObject) encode() (*Comment, error) {
	body, err := encodeText(c)
	if err != nil {
		return nil, fmt.Errorf("broker: comment: %w", err)
	}
	page, err := encodeText(struct {
		CommentID string `json:"comment_id"`
		HTML      string `json:"html"`
	}{c.CommentID, c.html()})
	if err != nil {
		return nil, fmt.Errorf("broker: comment: %w", err)
	}
	return &Comment{ID: c.CommentID, JSON: body, HTML: page}, nil
}

// check returns the comment's type, or what is wrong with the draft.
func (d CommentDraft) check() (kind string, err error) {
	switch {
	case !utf8.ValidString(d.Content) || strings.ContainsFunc(d.Content, unprintable):
		return "", &Error{Result: 4000, Text: "content must be UTF-8 without control characters other than tab and line ends"}
	case d.Content == "" || utf8.RuneCountInString(d.Content) > maxCommentContent:
		return "", &Error{Result: 4000, Text: fmt.Sprintf("content must be 1 to %d characters", maxCommentContent)}
	case !plain(d.Name) || utf8.RuneCountInString(d.Name) > maxCommentName:
		return "", &Error{Result: 4000, Text: fmt.Sprintf("name must be at most %d characters without control characters", maxCommentName)}
	}
	switch d.Type {
	case "":
		return "comment", nil
	case "comment", "chat", "question":
		return d.Type, nil
	}
	return "", &Error{Result: 4000, Text: `comment_type must be "comment", "chat" or "question"`}
}

// unprintable reports the control characters that no text needs.
func unprintable(r rune) bool {
	return (r < 0x20 && r != '\t' && r != '\n' && r != '\r') || (r >= 0x7f && r < 0xa0)
}

// html returns the comment as a fragment a page can insert as it is.
func (c commentObject) html() string {
	var b strings.Builder
	b.WriteString(`<div class="comment comment-` + c.CommentType + `" id="comment-` + c.CommentID + `">`)
	if c.Name != "" {
		b.WriteString(`<span class="comment-name">` + html.EscapeString(c.Name) + `</span> `)
	}
	lines := strings.NewReplacer("\r\n", "<br>", "\n", "<br>", "\r", "<br>").Replace(c.Content)
	b.WriteString(`<span class="comment-content">` + lines + `</span></div>`)
	return b.String()
}

// encodeText encodes without \u003c for "<": it is JSON for programs, and half
// the size for a page's text.
func encodeText(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
