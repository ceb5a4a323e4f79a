package chart

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
)

// drawingStyle is the style of the picture, here and in a page.
const drawingStyle = `.ground{fill:#fff}.line{stroke:#ddd;fill:none}text{font:11px system-ui,sans-serif;fill:#555}.n{text-anchor:end;dominant-baseline:middle}` +
	`.at,.none{text-anchor:middle}.none{font-size:14px}.band{fill:#2a78c2;fill-opacity:.25}.one{stroke:#2a78c2;stroke-opacity:.4;stroke-width:3}` +
	`.avg{stroke:#1c5fa3;stroke-width:1.5;fill:none;stroke-linejoin:round}.dot{fill:#1c5fa3}` +
	`@media(prefers-color-scheme:dark){.ground{fill:#16181c}.line{stroke:#33373e}text{fill:#aab}.band{fill:#6cb1f2}.one{stroke:#6cb1f2}.avg{stroke:#8cc4f8}.dot{fill:#8cc4f8}}`

// pageStyle is the style of what is around it.
const pageStyle = `:root{color-scheme:light dark}body{margin:0;padding:.75rem;font:14px system-ui,sans-serif;background:#fff;color:#222}h1{font-size:1rem;margin:0 0 .5rem;overflow-wrap:anywhere}` +
	`svg{display:block;width:100%;height:auto}nav a{color:#1c5fa3;margin-right:.75rem}nav a[aria-current]{color:inherit;text-decoration:none;font-weight:600}` +
	`p{margin:.5rem 0}@media(prefers-color-scheme:dark){body{background:#16181c;color:#dde}nav a{color:#8cc4f8}}`

// Policy is the Content-Security-Policy of pages and pictures: nothing but their own
// style, no script, no request; any page may show them in a frame.
var Policy = "default-src 'none'; style-src " + hashOf(drawingStyle) + " " + hashOf(pageStyle) + "; base-uri 'none'; form-action 'none'; frame-ancestors *"

func hashOf(style string) string {
	sum := sha256.Sum256([]byte(style))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// Link leads to another chart of the same object.
type Link struct {
	// Text is what it is called, Target a relative URL; Current: it is this one.
	Text, Target string
	Current      bool
}

// Refresh is after how many seconds a page asks for itself again.
const Refresh = 60

var pageTemplate = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex">
{{with .Refresh}}<meta http-equiv="refresh" content="{{.}}">
{{end}}<title>{{.Heading}}</title>
<style>` + pageStyle + `</style>
<h1>{{.Heading}}</h1>
{{.Drawing}}<p>{{.Summary}}</p>
{{with .Links}}<nav aria-label="Span">{{range .}}<a href="{{.Target}}"{{if .Current}} aria-current="page"{{end}}>{{.Text}}</a>{{end}}</nav>
{{end}}</html>
`))

// page is what the template shows.
type page struct {
	Heading, Summary string
	Drawing          template.HTML
	Links            []Link
	Refresh          int
}

// Page returns a whole page with the chart and links to others; it asks for itself
// again each Refresh seconds.
func Page(c Chart, links []Link) ([]byte, error) {
	return write(page{
		Heading: c.Heading(), Summary: c.Summary(), Links: links, Refresh: Refresh,
		Drawing: template.HTML(Draw(c)), //nolint:gosec // all text in it is escaped there
	})
}

// Notice returns a page that says why there is no chart.
func Notice(heading, text string) ([]byte, error) {
	return write(page{Heading: heading, Summary: text})
}

func write(p page) ([]byte, error) {
	var b bytes.Buffer
	err := pageTemplate.Execute(&b, p)
	return b.Bytes(), err
}
