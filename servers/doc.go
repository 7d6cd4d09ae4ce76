// Package servers starts the real servers that the tests talk to, private ones: PostgreSQL, MariaDB, RabbitMQ, NATS and Kafka, each on
// 127.0.0.1 with ports and a folder of its own. Tests use it, and cmd/servers for whoever wants to try a cluster; the product does not.
//
//	func TestPostgreSQL(t *testing.T) {
//		server := servers.Open(t, servers.PostgreSQL) // skips with a word where there is none, fails where CI=true
//		t.Run("…", func(t *testing.T) {
//			dsn := server.Database(t) // postgres://…, empty, dropped when t ends
//		})
//	}
//
// Start takes 0.1 s (NATS) to 7 s (RabbitMQ): open one a package, in a test that has the others as subtests. Whatever a test breaks is its
// own: Crash kills the server and all its children at once, Wipe takes its data too and starts it anew, Stop is clean, Freeze stops its clock,
// and Start brings back what was stopped or crashed, on the same ports.
//
// A server ends with the test that opened it, and also when the test's process is killed: the kernel signals it (Pdeathsig). Its folder lies
// in memory (/dev/shm) where 4 GB are free, else with the temporary files; what a killed process left there the next one removes.
//
// `make servers` installs or builds all of them. They are looked for on PATH, below .scratch/servers/bin of the module (or $SCRATCH/servers/bin),
// and where Debian keeps them. Root starts each by the account of its package, anybody else as himself. Linux only.
//
// By default each is as safe as its maker ships it, so that a store does not refuse it; the settings given to Open are options of PostgreSQL
// ("fsync=off"), MariaDB ("innodb-flush-log-at-trx-commit=0") and NATS (its flags), and lines of rabbitmq.conf and server.properties.
package servers
