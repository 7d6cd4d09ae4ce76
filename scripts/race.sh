#!/usr/bin/env bash
# go test -race on all packages. Tests named TestSim… are left to scripts/sim.sh: they are one goroutine and ten thousand seeds.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/missing.sh
if [ "$(go env CGO_ENABLED)" != 1 ] || ! command -v "$(go env CC)" >/dev/null; then
	go test -timeout 10m -skip '^TestSim' ./...
	missing "the race detector: no C compiler; the tests ran without it"
fi
# SQLite as C made into Go is full of pointer arithmetic: checking each step of it made its suites four times as slow.
go test -race -gcflags='modernc.org/...=-d=checkptr=0' -timeout 10m -skip '^TestSim' ./...
