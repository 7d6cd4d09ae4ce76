#!/usr/bin/env bash
# Unpacks the servers that tests talk to into $SCRATCH/servers/bin, which `make` puts first on PATH. Nothing is installed and
# nothing is started here, so no package script runs and no system service comes up: a test starts the server it needs on
# 127.0.0.1, port of its own, and ends it.
#
# For now this is Postfix's smtp-sink, a mail server that is not ours.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/missing.sh

scratch=${SCRATCH:-$PWD/.scratch}
bin=$scratch/servers/bin

found=$(command -v smtp-sink || true)
if [ -n "$found" ]; then
	echo "== servers: smtp-sink is $found"
	exit 0
fi
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
	missing "smtp-sink: not on PATH, and this is no Debian to fetch it from; install the package that has it (postfix)"

mkdir -p "$scratch/servers"
work=$(mktemp -d "$scratch/servers/unpack.XXXXXX")
trap 'rm -rf "$work"' EXIT

download() { (cd "$work" && apt-get download postfix) >"$work/log" 2>&1; }
if ! download; then
	# The lists may be empty or old; only root may renew them.
	[ "$(id -u)" != 0 ] || apt-get update >>"$work/log" 2>&1 || true
	download || { tail -n 5 "$work/log" >&2; missing "smtp-sink: apt-get download postfix failed"; }
fi
dpkg-deb -x "$work"/postfix_*.deb "$work/postfix"
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
