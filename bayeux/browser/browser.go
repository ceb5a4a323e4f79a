package browser

import (
	"bytes"
	_ "embed"
	"strings"
)

// The sources of the scripts, in pieces that know each other by name.
var (
	//go:embed error.js
	errorJS string
	//go:embed events.js
	eventsJS string
	//go:embed seen.js
	seenJS string
	//go:embed subscription.js
	subscriptionJS string
	//go:embed transport.js
	transportJS string
	//go:embed client.js
	clientJS string
	//go:embed history.js
	historyJS string
)

// ClientJS returns the script served at <mount>/client.js (experience.md §5): it
// defines Faye.Client, in Node as a CommonJS module.
func ClientJS() []byte {
	return script("Gobelin's browser client, with the interface of the Faye client: new Faye.Client(url).", "Faye", client())
}

// ClientMJS returns the same as an ES module, served at <mount>/client.mjs. It
// defines nothing outside of itself.
func ClientMJS() []byte {
	return []byte("/*! Gobelin's browser client: import { Client } from './client.mjs' */\nconst root = globalThis\n" +
		client() + "export const VERSION = Faye.VERSION\nexport { Client, FayeError as Error, Subscription }\nexport default Faye\n")
}

// HistoryJS returns the script served at <mount>/history.js (product.md §4): it defines
// GobelinHistory, an extension for any Faye client.
func HistoryJS() []byte {
	return script("Gobelin: client.addExtension(new GobelinHistory())", "GobelinHistory", served(seenJS, historyJS))
}

func client() string {
	return served(errorJS, eventsJS, seenJS, subscriptionJS, transportJS, clientJS) +
		"const Faye = { VERSION: 'gobelin', Client, Error: FayeError, Subscription, Seen, logger: {} }\n"
}

// script wraps pieces so that a page sees one name of them.
func script(what, name, body string) []byte {
	return []byte("/*! " + what + " */\n(function (root) {\n'use strict'\n" + body +
		"if (typeof module === 'object' && module.exports) module.exports = " + name + "\nelse root." + name + " = " + name + "\n})(globalThis)\n")
}

// served joins pieces as they are sent: without indentation, empty lines and lines that
// are only comment. No text of them goes over a line's end.
func served(pieces ...string) string {
	var b bytes.Buffer
	for _, piece := range pieces {
		for line := range strings.Lines(piece) {
			line = strings.TrimSpace(line)
			if line != "" && !strings.HasPrefix(line, "//") {
				b.WriteString(line)
				b.WriteByte('\n')
			}
		}
	}
	return b.String()
}
