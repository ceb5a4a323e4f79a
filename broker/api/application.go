package api

import (
	"net/http"

	"github.com/gobelin-broker/gobelin/broker"
)

// applicationRoutes suspend an application and take that back (product.md E21). They
// alone work while it is suspended.
var applicationRoutes = []route{
	{path: "/v1/application/suspend", form: v1Form, suspended: true, methods: map[string]handler{http.MethodPost: suspendApplication}},
	{path: "/v1/application/resume", form: v1Form, suspended: true, methods: map[string]handler{http.MethodPost: resumeApplication}},
}

// applicationView says how an application is.
type applicationView struct {
	Result      int    `json:"result"`
	Application string `json:"application"`
	Suspended   bool   `json:"suspended"`
	Since       int64  `json:"since,omitempty"` // ms since 1970
}

// suspendApplication: POST /v1/application/suspend. One that is suspended stays so
// since it was.
func suspendApplication(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	if err := atLeast(broker.RoleServer, who, ""); err != nil {
		return reply{}, err
	}
	since, err := a.service.Suspend(r.Context(), who.App)
	if err != nil {
		return reply{}, err
	}
	return reply{http.StatusOK, applicationView{Application: who.App.Name, Suspended: true, Since: since}}, nil
}

// resumeApplication: POST /v1/application/resume.
func resumeApplication(a *api, r *http.Request, who *broker.Identity) (reply, error) {
	if err := atLeast(broker.RoleServer, who, ""); err != nil {
		return reply{}, err
	}
	if err := a.service.ResumeApplication(r.Context(), who.App); err != nil {
		return reply{}, err
	}
	return reply{http.StatusOK, applicationView{Application: who.App.Name}}, nil
}
