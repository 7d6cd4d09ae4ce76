#!/usr/bin/env bash
# generated.sh compare | write: the files of the project that are generated, each with the command that prints it.
set -euo pipefail
cd "$(dirname "$0")/.."

# One line a file: its path, a space, the command.
list() {
	cat <<'LIST'
docs/openapi.json go run ./cmd/fanfare openapi
LIST
}

fresh=$(mktemp)
trap 'rm -f "$fresh"' EXIT
differ=
while read -r file command; do
	if [ "${1:-compare}" = write ]; then
		$command </dev/null >"$fresh"
		mkdir -p "$(dirname "$file")"
		cp "$fresh" "$file"
		echo "wrote $file"
	elif [ ! -e "$file" ]; then
		echo "$file is missing" >&2
		differ="$differ $file"
	else
		$command </dev/null >"$fresh"
		if cmp -s "$fresh" "$file"; then
			echo "$file is what '$command' prints"
		else
			diff -u "$file" "$fresh" | head -n 20 >&2 || true
			differ="$differ $file"
		fi
	fi
done < <(list)
[ -z "$differ" ] || { echo "FAIL: not what the generator prints:$differ (to renew: scripts/generated.sh write)" >&2; exit 1; }
