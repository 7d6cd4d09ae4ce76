#!/usr/bin/env bash
# What the tests talk to and Go does not bring: PostgreSQL, MariaDB, RabbitMQ, NATS and Kafka; Postfix's smtp-sink, a mail server that is not
# ours; Chromium, a browser; and sqlite3, which asks the database as anybody may.
# Nothing is started here, and no package starts a service: a test starts what it needs on 127.0.0.1, port of its own, and ends it.
#
# smtp-sink is unpacked, nats-server built (tools/go.mod; Debian's 2.9 silently ignores settings it does not know) and Kafka fetched by Maven
# (scripts/kafka/pom.xml) into $SCRATCH/servers, whose bin `make` puts first on PATH. The rest are Debian packages, which only root may install.
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

installed() {
	case $1 in
	postgresql) compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb ;;
	mariadb-server) PATH=$PATH:/usr/sbin command -v mariadbd ;;
	rabbitmq-server) [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || command -v rabbitmqctl ;;
	openjdk-17-jre-headless) command -v java ;;
	maven) command -v mvn ;;
	chromium) command -v chromium || command -v chromium-browser || command -v google-chrome ;;
	*) command -v "$1" ;;
	esac >/dev/null
}

# packages NAME…: installs those that are missing, in one go. While it does, no package may start a service: policy-rc.d forbids it, and
# PostgreSQL's makes no cluster. Both are taken back when they were not there before. One that cannot be had is told by who needs it.
packages() {
	local name need=() policy=/usr/sbin/policy-rc.d cluster=/etc/postgresql-common/createcluster.d/fanfare.conf
	for name in "$@"; do installed "$name" || need+=("$name"); done
	[ ${#need[@]} -gt 0 ] || return 0
	[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 0
	echo "== servers: installing ${need[*]}"
	trap 'rm -rf "$work" '"$cluster" EXIT
	if [ ! -e $policy ]; then
		trap 'rm -rf "$work" '"$policy $cluster" EXIT
		printf '#!/bin/sh\nexit 101\n' >$policy
		chmod 755 $policy
	fi
	mkdir -p "${cluster%/*}"
	echo 'create_main_cluster = false' >$cluster
	install() {
		DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=120 "$@" >>"$work/log" 2>&1
	}
	install "${need[@]}" || { update; install "${need[@]}"; } || for name in "${need[@]}"; do install "$name" || true; done
}

# want NAME: a package's program is there, or is missing.
want() {
	installed "$1" || { tail -n 5 "$work/log" >&2 2>/dev/null || true; missing "$1: not here, and only root can install it (apt-get install $1)"; }
	echo "== servers: $1 is here"
}

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

nats() {
	command -v go >/dev/null || missing "nats-server: no Go to build it"
	CGO_ENABLED=0 go build -modfile=tools/go.mod -o "$bin/nats-server" github.com/nats-io/nats-server/v2 >>"$work/log" 2>&1 ||
		{ tail -n 5 "$work/log" >&2; missing "nats-server: go build failed"; }
	echo "== servers: nats-server is $("$bin/nats-server" --version)"
}

# kafka fetches the jars, once for each pom.xml, by Maven with the settings of whoever runs this.
kafka() {
	installed openjdk-17-jre-headless || missing "kafka: no java (apt-get install openjdk-17-jre-headless)"
	local home=$scratch/servers/kafka
	if ! cmp -s scripts/kafka/pom.xml "$home/pom.xml"; then
		installed maven || missing "kafka: no mvn to fetch it (apt-get install maven)"
		mkdir "$work/kafka"
		mvn -q -B -f scripts/kafka/pom.xml dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$work/kafka/lib" >>"$work/log" 2>&1 ||
			{ tail -n 5 "$work/log" >&2; missing "kafka: mvn could not fetch it"; }
		cp scripts/kafka/pom.xml "$work/kafka/pom.xml"
		chmod -R a+rX "$work/kafka"
		rm -rf "$home"
		mv "$work/kafka" "$home"
	fi
	cat >"$work/kafka-server" <<'WRAPPER'
#!/bin/sh
exec java -cp "$(cd "$(dirname "$0")/../kafka/lib" && pwd)/*" "$@"
WRAPPER
	chmod 755 "$work/kafka-server"
	mv "$work/kafka-server" "$bin/kafka-server"
	echo "== servers: kafka is $(cd "$home/lib" && echo kafka_2*.jar)"
}

mkdir -p "$bin"
# Servers run as accounts of their own, which have to read these.
chmod 755 "$scratch" "$scratch/servers" "$bin"
packages postgresql mariadb-server rabbitmq-server openjdk-17-jre-headless maven sqlite3 chromium
# Each in a shell of its own: one that is left out leaves the others.
for each in "want postgresql" "want mariadb-server" "want rabbitmq-server" "want sqlite3" "want chromium" smtp_sink nats kafka; do
	($each)
done
