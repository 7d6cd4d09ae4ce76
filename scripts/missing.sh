# shellcheck shell=bash
# Sourced. missing WHAT: in CI a check that cannot run is a failure; on a laptop it is a line that says so.
missing() {
	if [ "${CI:-}" = true ]; then
		echo "FAIL: $1 (CI=true: nothing may be left out)" >&2
		exit 1
	fi
	echo "LEFT OUT: $1" >&2
	exit 0
}
