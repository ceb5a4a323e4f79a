package browser

import _ "embed"

// ClientJS is the script served at <mount>/client.js (experience.md §5): it
// defines Faye.Client. It must not be changed.
//
//go:embed client.js
var ClientJS []byte

// HistoryJS is the script served at <mount>/history.js (product.md §4): it defines
// GobelinHistory, an extension for any Faye client. It must not be changed.
//
//go:embed history.js
var HistoryJS []byte
