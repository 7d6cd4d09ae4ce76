#!/usr/bin/env bash
# Runs each fuzz target of the module for $FUZZTIME, as many side by side as there are cores, each on one. A short run begins with the seeds:
# going through all that former runs found interesting would take its three seconds. With FUZZ_CORPUS=kept (make soak) it goes on where the
# last one ended.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export work FUZZTIME=${FUZZTIME:-3s} FUZZ_CORPUS=${FUZZ_CORPUS:-}

# one FOLDER NAME: fuzzes a target to its end and prints a line.
one() {
	set -euo pipefail
	local folder=$1 name=$2 tries=3 execs log
	log=$work/$(tr / _ <<<"$folder").$name
	local corpus=(-args "-test.fuzzcachedir=$log.corpus")
	[ "$FUZZ_CORPUS" != kept ] || corpus=()
	until go test -run='^$' -fuzz="^$name\$" -fuzztime="$FUZZTIME" -parallel=1 -timeout 0 "$folder" "${corpus[@]}" >"$log" 2>&1; do
		tries=$((tries - 1))
		# The time was over while a worker was busy, which go test up to 1.26 may call a failure (golang/go#75804). A real finding always
		# writes its input.
		if ! grep -q 'context deadline exceeded' "$log" || grep -q 'Failing input written' "$log" || [ "$tries" = 0 ]; then
			cat "$log" >&2
			echo "FAIL: $name in $folder" >&2
			return 255 # xargs starts no other
		fi
		echo "$folder $name: stopped late (golang/go#75804), once more"
	done
	execs=$(grep -oE 'execs: [0-9]+' "$log" | tail -n 1 || true)
	printf '%s\t%s\n' "$(tail -n 1 "$log" | cut -f 1)" "$folder $name: ${execs:-the seeds only, time was over}"
}
export -f one

targets=$({ grep -rnoE --include='*_test.go' --exclude-dir='.?*' '^func Fuzz[A-Za-z0-9_]*' . || true; } |
	sed -E 's|^(.*)/[^/]*:[0-9]+:func (.*)$|\1 \2|' | sort -u)
[ -n "$targets" ] || { echo "no fuzz target"; exit 0; }
xargs -P "$(nproc)" -L 1 bash -c 'one "$@"' one <<<"$targets"
