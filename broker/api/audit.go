package api

import (
	"net/http"
	"strings"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/channels"
	"go.uber.org/zap"
)

// audited names what the methods of a route do, where that goes into the audit log:
// what is done to objects, comments, tokens and connections by those who may.
type audited map[string]string

// record writes one line of the audit log: who did what to which object, and how it
// ended. It never holds a root, a token or a whole connection id, whose first 8 digits
// tell them apart.
func (a *api) record(rt route, r *http.Request, who *broker.Identity, status int) {
	action := rt.audit[r.Method]
	if action == "" && who != nil && who.RoleName == broker.OperatorRole && r.Method != http.MethodGet && r.Method != http.MethodHead {
		action = r.Method + " " + rt.path // whatever the operator changes
	}
	if action == "" {
		return
	}
	fields := []zap.Field{
		zap.String("action", action), zap.Int("status", status), zap.String("address", a.ClientAddr(r)),
		zap.String("object", named(r.PathValue("id"))),
	}
	for name, value := range map[string]string{"comment": r.PathValue("comment"), "connection": r.PathValue("connection")} {
		if value != "" {
			fields = append(fields, zap.String(name, first8(value)))
		}
	}
	if who == nil {
		a.Audit.Warn("refused", append(fields, zap.String("role", "none"))...)
		return
	}
	fields = append(fields, zap.String("app", who.App.Name), zap.String("role", who.RoleName))
	for name, value := range map[string]string{"user_id": who.UserID, "user_ref": who.UserRef} {
		if value != "" {
			fields = append(fields, zap.String(name, value))
		}
	}
	if who.JTI != "" {
		fields = append(fields, zap.String("jti", first8(who.JTI)))
	}
	if status >= http.StatusBadRequest {
		a.Audit.Warn("refused", fields...)
		return
	}
	a.Audit.Info("done", fields...)
}

// named is an object's id as it is written down: what was sent for one may be a root
// or a token, and then only its beginning is.
func named(id string) string {
	if channels.IsRoot(strings.TrimPrefix(id, "/")) || strings.HasPrefix(id, "eyJ") {
		return first8(id)
	}
	return clip(id)
}

// first8 cuts a name that is, or may be, a secret.
func first8(s string) string { return s[:min(len(s), 8)] }
