#!/usr/bin/env bash
# What the tests talk to and Go does not bring: Postfix's smtp-sink, a mail server that is not ours, Chromium, a browser, and sqlite3, which
# asks the database as anybody may.
# Nothing is started here: a test starts what it needs on 127.0.0.1, port of its own, and ends it.
#
# smtp-sink is unpacked into $SCRATCH/servers/bin, which `make` puts first on PATH: no package script runs, and no system service comes
# up. Chromium and sqlite3 need their libraries, so they are installed as Debian packages, which only root may do.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/missing.sh

scratch=${SCRATCH:-$PWD/.scratch}
bin=$scratch/servers/bin
mkdir -p "$scratch/servers"
work=$(mktemp -d "$scratch/servers/unpack.XXXXXX")
trap 'rm -rf "$work"' EXIT

# update: the package lists may be empty or old; only root may renew them.
update() { [ "$(id -u)" != 0 ] || apt-get update >>"$work/log" 2>&1 || true; }

smtp_sink() {
	local found
	found=$(command -v smtp-sink || true)
	if [ -n "$found" ]; then
		echo "== servers: smtp-sink is $found"
		return
	fi
	command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
		missing "smtp-sink: not on PATH, and this is no Debian to fetch it from; install the package that has it (postfix)"
	download() { (cd "$work" && apt-get download postfix) >>"$work/log" 2>&1; }
	download || { update; download; } || { tail -n 5 "$work/log" >&2; missing "smtp-sink: apt-get download postfix failed"; }
	dpkg-deb -x "$work"/postfix_*.deb "$work/postfix"
	local libraries
	libraries=$(LD_LIBRARY_PATH=$work/postfix/usr/lib/postfix ldd "$work/postfix/usr/sbin/smtp-sink" | grep 'not found' || true)
	[ -z "$libraries" ] || missing "smtp-sink: libraries it needs are not here:$libraries"

	rm -rf "$scratch/servers/postfix"
	mv "$work/postfix" "$scratch/servers/postfix"
	mkdir -p "$bin"
	# exec: the caller's pid is the server's. Root must name an account; it stays root, so that it can write where the test can.
	cat >"$work/smtp-sink" <<'WRAPPER'
#!/bin/sh
root=$(cd "$(dirname "$0")/../postfix" && pwd)
[ "$(id -u)" != 0 ] || set -- -u root "$@"
LD_LIBRARY_PATH=$root/usr/lib/postfix exec "$root/usr/sbin/smtp-sink" "$@"
WRAPPER
	chmod 755 "$work/smtp-sink"
	mv "$work/smtp-sink" "$bin/smtp-sink"
	echo "== servers: smtp-sink is $bin/smtp-sink (Postfix $(dpkg-deb -f "$work"/postfix_*.deb Version))"
}

# package NAME: installs what is missing on PATH.
package() {
	[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || missing "$1: not on PATH; install it (as root: apt-get install $1)"
	install() { DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$1" >>"$work/log" 2>&1; }
	install "$1" || { update; install "$1"; } || { tail -n 5 "$work/log" >&2; missing "$1: apt-get install $1 failed"; }
}

# Not called chromium: `command -v` would find the function.
browser() {
	local found
	found=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
	if [ -z "$found" ]; then
		package chromium
		found=$(command -v chromium)
	fi
	echo "== servers: chromium is $found"
}

sqlite() {
	command -v sqlite3 >/dev/null || package sqlite3
	echo "== servers: sqlite3 is $(command -v sqlite3)"
}

smtp_sink
sqlite
browser
