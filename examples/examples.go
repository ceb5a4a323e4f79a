package examples

import "embed"

// Pages holds the files of /try under their paths: try/index.html, try/try.js
// and try/try.css. http.FileServerFS(Pages) at "/try/" serves them, and the page
// at "/try/" itself (experience.md §1.2).
//
//go:embed try/index.html try/try.js try/try.css
var Pages embed.FS

// TryPolicy is the Content-Security-Policy the page works under and should be
// served with: nothing inline, nothing from elsewhere.
const TryPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
