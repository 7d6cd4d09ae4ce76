#!/usr/bin/env bash
# go test -race on all packages. Tests named TestSim… are left to scripts/sim.sh: they are one goroutine and ten thousand seeds. Those of $alone
# are one goroutine that works hard for its own: they run without the detector, which has nothing to find there and takes five times as long.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/missing.sh
alone='TestViews|TestErasedBytes|TestDamagedMiddlePage|TestDamagedFirstPage'
if [ "$(go env CGO_ENABLED)" != 1 ] || ! command -v "$(go env CC)" >/dev/null; then
	go test -timeout 10m -skip '^TestSim' ./...
	missing "the race detector: no C compiler; the tests ran without it"
fi
# One package more than there are cores, since those that watch processes wait most of the time.
#
# SQLite as C made into Go is full of pointer arithmetic, and its memory is none that our goroutines share: checking each step of it, and watching
# each of its words, made its suites eight times as slow. Only these two packages may be left unwatched: a generic type of the standard library
# that is compiled into an unwatched package (sync.Map into modernc.org/libc) is what others are linked with too, and gives false alarms.
go test -race -gcflags='modernc.org/...=-d=checkptr=0' -gcflags='modernc.org/sqlite/lib=-race=false' -gcflags='modernc.org/memory=-race=false' \
	-p $(($(nproc) + 1)) -timeout 10m -skip "^(TestSim|($alone)\$)" ./...
# shellcheck disable=SC2046 # a list of folders
go test -timeout 10m -run "^($alone)\$" $(grep -rlE --include='*_test.go' --exclude-dir='.?*' "^func ($alone)\(" . | xargs -n1 dirname | sort -u)
