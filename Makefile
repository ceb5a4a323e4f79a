# gobelin: `make` lists the targets, CONTRIBUTING.md says more.

GO      ?= go
PKG     ?= ./...
# Those that wait for real servers go first, beside those that need the processors.
SLOW    = ./store/redis ./broker/brokertest ./store/disk ./broker
ARGS    ?=
# go test: the timeout is for one package.
TEST    ?= -race
TIMEOUT ?= 10m
BENCH   ?= .
COUNT   ?= 1
FUZZTIME ?= 10s
SECONDS ?= 300
SEED    ?=

# Tools are pinned here and run through the go command: go.mod is for the product.
GOFUMPT     = mvdan.cc/gofumpt@v0.12.0
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
DEADCODE    = golang.org/x/tools/cmd/deadcode@v0.52.0
GOVULNCHECK = golang.org/x/vuln/cmd/govulncheck@v1.9.0

GOFILES = $$(find . -name node_modules -prune -o -name '*.go' -print)
# Commands that hang end by themselves, where there is coreutils' timeout.
WITHIN  = $$(command -v timeout >/dev/null && echo timeout -k 10 $(1))

.DEFAULT_GOAL := help
.PHONY: help chart go-clients run build release deps go test units allocs format lint conformance e2e screenshots bench fuzz torture soak clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: go ## a broker for development on http://127.0.0.1:8000 (ARGS="--memory" and so on)
	@exec $(GO) run ./cmd/gobelin dev $(ARGS)

# A folder whose git does not answer (no git, no history, another owner) builds
# too, without a version.
build: go ## the static binary ./gobelin
	@version=$$(git describe --tags --always --dirty 2>/dev/null || true); \
	stamp=false; [ -z "$$version" ] || stamp=auto; \
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=$$stamp \
		-ldflags "-s -w $${version:+-X main.version=$$version}" -o gobelin ./cmd/gobelin

# The same commit and the same Go give the same bytes, on any machine.
release: go ## archives for all platforms, checksums and bills of materials in dist/
	@$(GO) run ./cmd/release $(ARGS)

# The least Go is what go.mod says.
go:
	@want=$$(awk '$$1 == "go" { print $$2 }' go.mod); \
	if ! command -v $(GO) >/dev/null 2>&1; then \
		echo "gobelin needs Go $$want or newer and finds none: install it from https://go.dev/dl/ and put its bin folder in PATH" >&2; exit 1; \
	fi; \
	if ! have=$$($(GO) env GOVERSION 2>&1); then \
		echo "gobelin needs Go $$want or newer; the go command says: $$have" >&2; exit 1; \
	fi; \
	have=$${have#go}; have=$${have%%[ -]*}; \
	if [ "$$(printf '%s\n%s\n' "$$want" "$$have" | sort -t. -k1,1n -k2,2n -k3,3n | head -n 1)" != "$$want" ]; then \
		echo "gobelin needs Go $$want or newer, this is $$have: install a newer one from https://go.dev/dl/" >&2; exit 1; \
	fi

deps: go ## what the tests need: C compiler, Node, Chromium, Redis, proxies, npm packages
	@bash .ci/deps

test: deps format units allocs ## everything: format, vet, units, allocations, conformance, browsers
	@$(MAKE) --no-print-directory conformance
	@$(MAKE) --no-print-directory e2e

format: go
	@unformatted=$$(gofmt -l $(GOFILES)); \
	if [ -n "$$unformatted" ]; then echo "not as gofmt writes it (gofmt -w does):" >&2; echo "$$unformatted" >&2; exit 1; fi
	$(GO) vet $(PKG)

# The race detector is written in C; without a compiler the tests run without it.
units: go ## the Go tests (PKG=./channels for one package, TEST=-short, TIMEOUT=10m)
	@flags="$(TEST)"; \
	if ! command -v cc >/dev/null 2>&1 && ! command -v gcc >/dev/null 2>&1 && ! command -v clang >/dev/null 2>&1; then \
		if [ "$(CI)" = true ]; then echo "no C compiler for the race detector" >&2; exit 1; fi; \
		flags=$$(echo "$$flags" | sed 's/-race//'); \
	fi; \
	set -x; $(GO) test $$flags -p 3 -timeout $(TIMEOUT) $(if $(filter ./...,$(PKG)),$(SLOW)) $(PKG)

allocs: go ## what the hot ways allocate, against .ci/allocs.txt (UPDATE=1 writes that)
	@GO="$(GO)" UPDATE="$(UPDATE)" bash .ci/allocs

# Binaries are built with -trimpath, as those of a release, so that both share what is
# compiled. suite runs $(3) in examples/$(1) with the binary built to $$bin; 10 minutes are
# twice what a machine with two processors takes.
define suite
	@if ! command -v node >/dev/null 2>&1 || [ ! -d examples/$(1)/node_modules ]; then \
		echo "skipped: $(2) (make deps says what is missing)" >&2; \
		[ "$(CI)" != true ]; exit $$?; \
	fi; \
	dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && bin=$$dir/gobelin && \
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -o "$$bin" ./cmd/gobelin && \
	cd examples/$(1) && $(3)
endef

conformance: deps ## the conformance suite against the real binary
	$(call suite,conformance,conformance,$(call WITHIN,10m) node run.mjs --set public$(comma)beyond \
		--start-cmd "env GOBELIN_BAYEUX_TIMEOUT={timeout}s $$bin dev --memory --no-demo --listen 127.0.0.1:{port}")

e2e: deps ## real browsers and real Faye clients against the real binary
	$(call suite,e2e,end-to-end tests,GOBELIN="$$bin" $(call WITHIN,10m) npm test)
	@$(MAKE) --no-print-directory go-clients

screenshots: deps ## pictures of every page of the console, into dist/screenshots
	$(call suite,e2e,screenshots,GOBELIN="$$bin" $(call WITHIN,5m) node screenshots.mjs $(CURDIR)/dist/screenshots)

go-clients: go ## other people's Go clients against the real binary
	@cd examples/go-clients && if ! log=$$($(GO) mod download 2>&1); then \
		echo "skipped: other people's Go clients, which could not be downloaded: $$log" | head -n 3 >&2; \
		[ "$(CI)" != true ]; exit $$?; \
	fi; \
	dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && \
	(cd ../.. && CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -o "$$dir/gobelin" ./cmd/gobelin) && \
	GOBELIN="$$dir/gobelin" $(call WITHIN,5m) $(GO) test -count 1 ./...

# Helm is built from its module for this, which takes minutes the first time: make test
# looks at what it has rendered, and says when the chart has changed since.
chart: go ## lints and renders examples/deploy/chart with Helm itself (UPDATE=1 writes rendered/)
	cd examples/deploy/charttest && UPDATE="$(UPDATE)" $(GO) test -count 1 -timeout 30m ./...

comma := ,

lint: format ## gofumpt, staticcheck, deadcode, govulncheck, all pinned
	@unformatted=$$($(GO) run $(GOFUMPT) -l $(GOFILES)); \
	if [ -n "$$unformatted" ]; then echo "not as gofumpt writes it:" >&2; echo "$$unformatted" >&2; exit 1; fi
	$(GO) run $(STATICCHECK) $(PKG)
	@dead=$$($(GO) run $(DEADCODE) -test $(PKG)); \
	if [ -n "$$dead" ]; then echo "called by nobody:" >&2; echo "$$dead" >&2; exit 1; fi
	@if said=$$($(GO) run $(GOVULNCHECK) $(PKG) 2>&1); then :; \
	elif echo "$$said" | grep -q '^Vulnerability #'; then echo "$$said" >&2; exit 1; \
	else echo "skipped: govulncheck, which could not run:" >&2; echo "$$said" | tail -n 2 >&2; fi

bench: go ## benchmarks (PKG=./channels BENCH=Match COUNT=6)
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) $(PKG)

fuzz: go ## each fuzz target for FUZZTIME=10s
	@set -e; for pkg in $$($(GO) list $(PKG)); do \
		for target in $$($(GO) test -list '^Fuzz' "$$pkg" | grep '^Fuzz' || true); do \
			echo "$$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$pkg"; \
		done; \
	done

# Without SEED each run has its own, which it prints; KILLS, JOINERS and RATE
# (publish requests a second) are as in broker/brokertest/torture_test.go. A channel
# keeps 100,000 messages, which is what bounds SECONDS times RATE. SEEDS and MOVES are of
# the simulations.
torture: go ## kill -9 and a broken network, the history checked (SECONDS=300 SEED=1 KILLS=20; NODES=3 STORE=redis, namespaces, sentinel or cluster)
	TORTURE_SECONDS=$(SECONDS) TORTURE_SEED=$(SEED) TORTURE_KILLS=$(or $(KILLS),20) \
		TORTURE_JOINERS=$(or $(JOINERS),200) TORTURE_RATE=$(or $(RATE),120) TORTURE_RACE=$(RACE) \
		$(GO) test -count 1 -v -run '^$(if $(NODES),(TestTorture|TestTortureMany|TestRoundRobin|TestRollingRestart|TestFailover|TestMovingSlots|TestTwoPollers|TestTakeoverRace),(TestTorture|TestHostileLoad))$$' -timeout $$((2 * $(SECONDS) + 600))s ./broker/brokertest
	TORTURE_CUTS=$(or $(CUTS),200) TORTURE_SEED=$(SEED) TORTURE_KILLS=$(or $(KILLS),20) \
		$(GO) test -count 1 -v -run '^(TestAckO|TestPollsWhosePeersReset)' -timeout 20m ./broker/brokertest
	$(if $(NODES),MINUTES=$(or $(MINUTES),3) $(GO) test -count 1 -v -run TestMinutesOnRedis -timeout 15m ./broker/brokertest)
	GOBELIN_SEEDS=$(or $(SEEDS),10000) $(GO) test -count 1 -run Simulation -timeout 30m ./broker
	GOBELIN_SEEDS=$(or $(MOVES),500) $(GO) test -race -count 1 -run TestMovesAtRandom -timeout 60m ./broker
	STORE_ROUNDS=$(or $(ROUNDS),50) $(GO) test -count 1 -run 'Kill|PowerLoss' -timeout 30m ./store/disk

# On Redis; STORE=disk is without. What grows, it says by how much an hour.
soak: go ## people come and go for MINUTES=30; nothing may grow (GUESTS=30 SEED=1 STORE=disk)
	SOAK_MINUTES=$(or $(MINUTES),30) SOAK_SEED=$(SEED) SOAK_GUESTS=$(GUESTS) $(GO) test -count 1 -v -run '^TestSoak$$' \
		-timeout $$(($(or $(MINUTES),30) + 15))m ./broker/brokertest

clean: ## removes what was built; npm packages and dev's .gobelin stay
	rm -rf gobelin dist
	find . -name node_modules -prune -o -type f \( -name '*.test' -o -name '*.prof' \) -exec rm -f {} +
