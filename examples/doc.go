// Package examples shows: pages and programs that a user reads, runs and copies.
//
//	try/          the page of `gobelin dev` at /try: a late joiner, watched by counters
//	live-page/    one HTML file with the stock Faye client: past, then future
//	comments/     an evening of comments with curl: promoted, withdrawn, the log
//	poll/         viewers vote by accumulating; the broadcaster's page folds the votes
//	dashboard/    one HTML file on shared data: a snapshot, changes, merges
//	publishers/   backends that publish: curl, Node, Go, PHP
//	stream-consumer/  programs that read an event stream
//	viewer-log/   how many viewers there were, asked from PHP; a CDN's counts imported
//	migrating/    clients of Faye, CometD and Salesforce's streaming, with a new address
//	go-clients/   other people's Go clients, tested in a module of their own
//	conformance/  black-box tests of any Bayeux server that Faye clients talk to
//	nodes/        two nodes on Redis, and more: a guide
//	deploy/       systemd, an image, a Helm chart
//	grafana/      Prometheus, alerts and a dashboard
//	proxy/        nginx, HAProxy and Caddy before nodes
//	e2e/          real browsers and real Faye clients against the real binary
//
// The way of the data of /try, all of it in the browser:
//
//	ticker ─► /demo/ticks ─► live subscription ──┐
//	                └─ history ─► catch-up ──────┴─► one list, one set of counters
//
// A tick is the JSON object {"n": 17, "run": "k3v9…"}: n rises by one from tick to
// tick of a run, run is a text that is new whenever the ticker starts. The page
// finds duplicates, gaps and disorder from these two alone; other members are
// shown and otherwise passed over, and a message without both is listed but not
// counted.
//
// The package holds files, no state and no goroutine. Caveats: the page loads
// the client from <mount>/client.js with the mount /faye, so a broker with
// another mount shows it a missing script, and says so.
package examples
