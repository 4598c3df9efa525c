# Perigee: what can be made. "make" alone prints this list.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
TOOL    := go tool -modfile=.ci/tools.mod
SOURCES := *.go agent bundle cmd convergence ground models testbed

GOTEST    ?= go test
FUZZTIME  ?= 60s
BENCH     ?= .
ONLY      ?=
PROFILE   ?=
DEMO_KILL ?=
CUTS      ?= 30
SEED      ?= $(shell date +%s)

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: build
build: ## build the programs into bin/
	go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/ ./cmd/...

.PHONY: test
test: ## run the tests, in random order (GOTEST=what runs them)
	$(GOTEST) -shuffle=on ./...

.PHONY: test-power
test-power: ## cut the power of disks under two daemons (root; CUTS=30, SEED=the time)
	@[[ $$(id -u) == 0 ]] || { echo 'test-power mounts disks: run it as root'; exit 1; }
	@command -v mkfs.ext4 e2fsck unshare >/dev/null || { echo 'test-power needs mkfs.ext4, e2fsck and unshare: install e2fsprogs and util-linux'; exit 1; }
	# In namespaces of its own, so that no mount and no process outlives it.
	unshare --mount --pid --fork --kill-child --mount-proc \
		go test -count=1 -v -timeout 3h -run '^TestPowerCuts$$' ./testbed/powercut -cuts '$(CUTS)' -seed '$(SEED)'

SEEDS     ?= 2000
SEED_BASE ?= 1

.PHONY: test-sim
test-sim: ## simulate SEEDS random worlds (default 2000) from seed SEED_BASE (default 1) on
	SEEDS=$(SEEDS) SEED_BASE=$(SEED_BASE) go test -count=1 -timeout 1h -run '^TestSimulation$$' ./bundle/core

.PHONY: test-links
test-links: ## run the suite of the links in full: a million bundles, one of a gigabyte, every place to break
	LINK_TESTS=full go test -count=1 -timeout 1h ./convergence/...

.PHONY: test-wire
test-wire: ## have tshark dissect captured sessions and the bundles in them (Debian: tshark)
	@command -v tshark >/dev/null || { echo 'test-wire needs tshark: apt-get install tshark'; exit 1; }
	WIRE_TESTS=1 go test -count=1 -v ./testbed/wire

.PHONY: race
race: ## run the tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 go test -race -shuffle=on ./...

.PHONY: lint
lint: ## check the source; builds the linters the first time, which takes minutes
	go mod verify
	go mod tidy -diff
	go vet ./...
	@unformatted=$$($(TOOL) gofumpt -l $(SOURCES)); \
	if [[ -n $$unformatted ]]; then printf 'not formatted, run "make fmt":\n%s\n' "$$unformatted"; exit 1; fi
	$(TOOL) golangci-lint run ./...

.PHONY: fmt
fmt: ## format the source
	$(TOOL) gofumpt -w $(SOURCES)

.PHONY: bench
bench: build ## measure against the bars (ONLY=prefix, PROFILE=folder); results go to out/bench.json
	@mkdir -p out
	go build -o out/bench ./testbed/bench
	out/bench --only '$(ONLY)' $(if $(PROFILE),--profile '$(PROFILE)')

.PHONY: bench-learning
bench-learning: ## measure inference and learning (ONLY=prefix; a C compiler, npm once); results go to out/learning.json
	@mkdir -p out
	CGO_ENABLED=1 go build -tags ort -o out/bench-learning ./testbed/bench
	out/bench-learning --suite learning --out out/learning.json --only '$(ONLY)'

.PHONY: assets
assets: ## fetch with npm what the demonstration and the slower tests need: networks, pictures, onnxruntime
	go run ./testbed/fetch

.PHONY: onnxruntime
onnxruntime: assets ## test with onnxruntime (needs a C compiler)
	CGO_ENABLED=1 go test -count=1 -tags ort ./models/ort ./cmd/perigeed

.PHONY: microbench
microbench: ## run the benchmarks of single functions (BENCH=regexp); the output also goes to out/microbench.txt
	@mkdir -p out
	go test -run '^$$' -bench '$(BENCH)' -benchmem ./... | tee out/microbench.txt

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (default 60s) each
	@targets=$$(go test -list '^Fuzz' ./... | awk '/^Fuzz/ { t[n++] = $$1 } /^ok/ { for (i = 0; i < n; i++) print $$2, t[i]; n = 0 }'); \
	[[ -n $$targets ]] || { echo 'found no fuzz target'; exit 1; }; \
	while read -r package target; do \
		echo "$$package $$target"; \
		go test -run '^$$' -fuzz "^$$target\$$" -fuzztime '$(FUZZTIME)' "$$package" </dev/null; \
	done <<<"$$targets"

.PHONY: demo
demo: build ## turn the learning loop once between two daemons; DEMO_KILL=1 also kills the satellite three times
	bin/perigee lab run $(if $(filter-out 0,$(DEMO_KILL)),--kill 3 )testbed/scenarios/first-light.toml

.PHONY: man
man: build ## write the manual pages into out/man/man1
	bin/perigee man out/man/man1

.PHONY: completions
completions: build ## write the shell completions into out/completions
	@mkdir -p out/completions
	for shell in bash zsh fish; do bin/perigee completion $$shell > out/completions/perigee.$$shell; done

.PHONY: clean
clean: ## remove what was made; what was fetched stays in .cache/
	rm -rf bin out
