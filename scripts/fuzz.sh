#!/usr/bin/env bash
# Runs each fuzz target of the module for $FUZZTIME, one at a time.
set -euo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT

fuzz() { go test -run='^$' -fuzz="^$2\$" -fuzztime="${FUZZTIME:-3s}" -timeout 0 "$1" >"$log" 2>&1; }

# stopped_late: the time was over while a worker was busy, which go test up to 1.26 may call a failure (golang/go#75804).
# A real finding always writes its input.
stopped_late() { grep -q 'context deadline exceeded' "$log" && ! grep -q 'Failing input written' "$log"; }

targets=$(grep -rnoE --include='*_test.go' --exclude-dir='.?*' '^func Fuzz[A-Za-z0-9_]*' . |
	sed -E 's|^(.*)/[^/]*:[0-9]+:func (.*)$|\1 \2|' | sort -u)
[ -n "$targets" ] || { echo "no fuzz target"; exit 0; }
while read -r folder name; do
	tries=3
	until fuzz "$folder" "$name"; do
		tries=$((tries - 1))
		if ! stopped_late || [ "$tries" = 0 ]; then
			cat "$log" >&2
			echo "FAIL: $name in $folder" >&2
			exit 1
		fi
		echo "$folder $name: stopped late (golang/go#75804), once more"
	done
	printf '%s\t%s: %s\n' "$(tail -n 1 "$log" | cut -f 1)" "$folder $name" "$(grep -oE 'execs: [0-9]+' "$log" | tail -n 1)"
done <<<"$targets"
