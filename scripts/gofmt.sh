#!/usr/bin/env bash
# Fails with the names of the files that gofmt would change.
set -euo pipefail
cd "$(dirname "$0")/.."
files=$(find . -name '.?*' -prune -o -name '*.go' -print0 | xargs -0 gofmt -l)
[ -z "$files" ] || { printf 'not formatted (gofmt -w):\n%s\n' "$files" >&2; exit 1; }
