#!/usr/bin/env bash
# Every test named TestSim…, in whatever package, with $SIM_SEEDS seeds.
set -euo pipefail
cd "$(dirname "$0")/.."
packages=$({ grep -rlE --include='*_test.go' --exclude-dir='.?*' '^func TestSim' . || true; } | xargs -r -n1 dirname | sort -u)
[ -n "$packages" ] || { echo "no test is named TestSim…"; exit 0; }
# shellcheck disable=SC2086 # a list of folders
FANFARE_SIM_SEEDS=${SIM_SEEDS:-10000} go test -timeout 0 -run '^TestSim' $packages
