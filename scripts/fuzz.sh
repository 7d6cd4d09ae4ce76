#!/usr/bin/env bash
# Runs each fuzz target of the module for $FUZZTIME, one at a time. A short run begins with the seeds: going through all that former
# runs found interesting would take its three seconds. With FUZZ_CORPUS=kept (make soak) it goes on where the last one ended.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
log=$work/log
corpus=(-args "-test.fuzzcachedir=$work/corpus")
[ "${FUZZ_CORPUS:-}" != kept ] || corpus=()

fuzz() { go test -run='^$' -fuzz="^$2\$" -fuzztime="${FUZZTIME:-3s}" -timeout 0 "$1" "${corpus[@]}" >"$log" 2>&1; }

# stopped_late: the time was over while a worker was busy, which go test up to 1.26 may call a failure (golang/go#75804).
# A real finding always writes its input.
stopped_late() { grep -q 'context deadline exceeded' "$log" && ! grep -q 'Failing input written' "$log"; }

targets=$({ grep -rnoE --include='*_test.go' --exclude-dir='.?*' '^func Fuzz[A-Za-z0-9_]*' . || true; } |
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
	execs=$(grep -oE 'execs: [0-9]+' "$log" | tail -n 1 || true)
	printf '%s\t%s\n' "$(tail -n 1 "$log" | cut -f 1)" "$folder $name: ${execs:-the seeds only, time was over}"
done <<<"$targets"
