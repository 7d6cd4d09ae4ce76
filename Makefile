# What the project is checked and built with. `make test` is the whole of it, the same on a laptop and in CI (.ci/run).
# Each step is a target of its own. CI=true turns a missing server or tool into a failure.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:

export SCRATCH ?= $(CURDIR)/.scratch
export SIM_SEEDS ?= 10000
export FUZZTIME ?= 3s
export FUZZ_CORPUS ?=

# What scripts/servers.sh unpacks is found first, then what the system has (Debian keeps smtp-sink in /usr/sbin).
export PATH := $(SCRATCH)/servers/bin:$(PATH):/usr/sbin

TOOL := go tool -modfile=tools/go.mod
ROWS ?=

.PHONY: help test check servers fmt vet staticcheck race sim fuzz vuln check-generated soak bench build clean

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 26

test: servers check ## installs what the tests need, then runs every check (under 15 minutes on two cores)
	@echo "make test: all checks passed"

check: fmt vet staticcheck check-generated race sim fuzz vuln ## every check, with the servers that are there

servers: ## fetches what the tests talk to: databases, brokers, smtp-sink, chromium; below $(SCRATCH) or as packages (root)
	@scripts/servers.sh

fmt: ## gofmt
	@echo "== gofmt"; scripts/gofmt.sh

vet: ## go vet
	@echo "== go vet"; go vet ./...

staticcheck: ## staticcheck, from tools/go.mod
	@echo "== staticcheck"; $(TOOL) staticcheck ./...

check-generated: ## compares each generated file with what its generator writes now
	@echo "== generated files"; scripts/generated.sh compare

race: ## go test -race on all packages, without the simulator's seeds
	@echo "== go test -race"; scripts/race.sh

sim: ## the simulator, SIM_SEEDS seeds, without -race: it has one goroutine
	@echo "== simulator, $(SIM_SEEDS) seeds"; scripts/sim.sh

fuzz: ## every fuzz target for FUZZTIME
	@echo "== fuzz, $(FUZZTIME) each"; scripts/fuzz.sh

vuln: ## govulncheck, where the network lets it
	@echo "== govulncheck"; scripts/vuln.sh

soak: ## the long run: a million seeds, five minutes for each fuzz target
	@$(MAKE) --no-print-directory sim SIM_SEEDS=1000000
	@$(MAKE) --no-print-directory fuzz FUZZTIME=5m FUZZ_CORPUS=kept

bench: build ## the budgets of the design, each beside its bare loop: make bench ROWS="email pause"
	@bin/fanfare bench $(ROWS)

build: ## one static binary: bin/fanfare
	CGO_ENABLED=0 go build -trimpath -o bin/fanfare ./cmd/fanfare

clean: ## removes what make made
	rm -rf bin "$(SCRATCH)"
