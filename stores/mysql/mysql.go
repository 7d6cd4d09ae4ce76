package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"fanfare"
	"fanfare/stores/sqlstore"
)

// Options says how a database is opened; the zero value will do.
type Options struct {
	Slots    int              // of an empty database, 0: 16; of another one what it must have, 0: whatever it has
	Clock    func() time.Time // nil: the server's
	Cache    int              // bytes of sets kept in memory, 0: 128 MB; the same again of frozen audiences
	Untested bool             // take a server that storetest has not run on
}

// Open opens the database that a URL names (mysql://user:password@host:port/database?tls=true), and makes its tables if it is empty.
// Errors: fanfare.ErrNotFound (the database), ErrUsage (a setting, an untested server), ErrForeign, ErrReadOnly.
func Open(ctx context.Context, dsn string, o Options) (fanfare.Shard, error) {
	config, err := parse(dsn)
	if err != nil {
		return nil, err
	}
	s, err := sqlstore.Open(ctx, sqlstore.MySQL(), &database{config: config, untested: o.Untested}, sqlstore.Options{Slots: o.Slots, Clock: o.Clock, Cache: o.Cache})
	if err != nil {
		return nil, err
	}
	return s, nil
}

const (
	connectWait = 10 * time.Second
	writeWait   = 30 * time.Second // longer than innodb_lock_wait_timeout
	readWait    = 5 * time.Minute  // what a check asks may take its time
)

// parse reads a URL; errors leave the password out.
func parse(dsn string) (*mysql.Config, error) {
	const form = "write mysql://user:password@host:3306/database, with ?tls=true for an encrypted connection"
	u, err := url.Parse(dsn)
	if err != nil {
		return nil, fmt.Errorf("%w: the address of a database cannot be read; %s", fanfare.ErrUsage, form) // err has the password
	}
	name := strings.TrimPrefix(u.Path, "/")
	if u.Scheme != "mysql" || u.Hostname() == "" || name == "" || strings.Contains(name, "/") {
		return nil, fmt.Errorf("%w: %s is no address of a database; %s", fanfare.ErrUsage, u.Redacted(), form)
	}
	c := mysql.NewConfig()
	c.User, c.DBName, c.Net = u.User.Username(), name, "tcp"
	c.Passwd, _ = u.User.Password()
	port := u.Port()
	if port == "" {
		port = "3306"
	}
	c.Addr = net.JoinHostPort(u.Hostname(), port)
	for key, values := range u.Query() {
		if key != "tls" || len(values) != 1 || !slices.Contains([]string{"true", "false", "preferred", "skip-verify"}, values[0]) {
			return nil, fmt.Errorf("%w: %s of the database's address; only tls=true, false, preferred or skip-verify may stand there", fanfare.ErrUsage, key)
		}
		c.TLSConfig = values[0]
	}
	c.ClientFoundRows = true   // a guarded UPDATE that changes nothing has found its row all the same
	c.InterpolateParams = true // of what is not prepared: see literal
	c.MaxAllowedPacket = 0     // the server's: one that is longer is refused, and the connection lives
	c.Collation = "utf8mb4_bin"
	c.Timeout = connectWait
	c.CheckConnLiveness = false // database/sql would ask for it
	c.Logger = &mysql.NopLogger{}
	return c, nil
}

// database is what sqlstore asks of a driver.
type database struct {
	config   *mysql.Config
	untested bool
	server   sqlstore.OneServer
}

// Name implements sqlstore.Database; it has no password.
func (d *database) Name() string {
	return fmt.Sprintf("mysql://%s@%s/%s", d.config.User, d.config.Addr, d.config.DBName)
}

// Slack implements sqlstore.Database; pages are the server's.
func (d *database) Slack(int64, []byte) []byte { return nil }

// settings are what a server must have, and what it is.
const settings = `SELECT @@version, @@innodb_flush_log_at_trx_commit, @@log_bin, @@sync_binlog, @@global.sql_mode, @@read_only,
@@character_set_database, @@default_storage_engine, @@binlog_format, @@hostname, @@datadir, DATABASE()`

const bin = "CHARACTER SET utf8mb4 COLLATE "

// sessions are said by every connection. What a node that hangs has locked is free after 15 s where the server knows how, others wait for
// it a little longer. All statements look up rows by an index, whatever the server knows of the tables: a scan would lock what it passes.
func sessions(maria, read bool) []string {
	all := []string{
		"SET SESSION sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'",
		"SET SESSION time_zone = '+00:00', SESSION innodb_lock_wait_timeout = 20, SESSION lock_wait_timeout = 60, SESSION max_seeks_for_key = 1, SESSION autocommit = 1",
	}
	if maria {
		all = append(all, "SET NAMES utf8mb4 COLLATE utf8mb4_nopad_bin",
			"SET SESSION join_cache_level = 0, SESSION idle_write_transaction_timeout = 15, SESSION max_statement_time = 0")
	} else {
		all = append(all, "SET NAMES utf8mb4 COLLATE utf8mb4_0900_bin", "SET SESSION optimizer_switch = 'block_nested_loop=off,hash_join=off'")
	}
	level := "READ COMMITTED"
	if read {
		level = "REPEATABLE READ"
	}
	return append(all, "SET SESSION TRANSACTION ISOLATION LEVEL "+level)
}

// Connect implements sqlstore.Database.
func (d *database) Connect(ctx context.Context, read bool) (driver.Conn, error) {
	config := d.config.Clone()
	config.ReadTimeout, config.WriteTimeout = writeWait, writeWait
	if read {
		config.ReadTimeout = readWait
	}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", fanfare.ErrUsage, err)
	}
	raw, err := connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	c := &connection{ctx: context.WithoutCancel(ctx)}
	var ok bool
	if c.raw, ok = raw.(rawConn); !ok {
		return nil, errors.Join(errors.New("the driver of MySQL is not what this package was written for"), raw.Close())
	}
	if err := d.right(c, read); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// right refuses a server that would lose what was answered, and one that is another one than before.
func (d *database) right(c *connection, read bool) error {
	found, err := c.look(settings)
	if err != nil {
		return err
	}
	refuse := func(what, hint string) error {
		return &sqlstore.Failure{Kind: fanfare.ErrUsage, Err: errors.New(what), Hint: hint}
	}
	version, mode := found[0], strings.Split(found[4], ",")
	c.maria = strings.Contains(version, "MariaDB")
	switch {
	case c.maria && !atLeast(version, 10, 11):
		return refuse("it is MariaDB "+version, "use 10.11 or later")
	case !c.maria && !atLeast(version, 8, 0):
		return refuse("it is MySQL "+version, "use MariaDB 10.11 or later, or MySQL 8")
	case !c.maria && !d.untested:
		return refuse("it is MySQL "+version+", on which this program was not tested", "use MariaDB 10.11 or later, or --allow-untested-store to try it")
	case found[5] != "0" && found[5] != "OFF" && !read:
		return &sqlstore.Failure{Kind: fanfare.ErrReadOnly, Err: errors.New("read_only = " + found[5]), Hint: "name the primary server"}
	case found[1] != "1":
		return refuse("innodb_flush_log_at_trx_commit = "+found[1], "set innodb_flush_log_at_trx_commit = 1: what was answered would not be there after a crash")
	case found[2] != "0" && found[3] != "1":
		return refuse("sync_binlog = "+found[3], "set sync_binlog = 1, since log_bin is on: the log could lack what was answered")
	case found[2] != "0" && found[8] == "STATEMENT":
		return refuse("binlog_format = STATEMENT", "set binlog_format = ROW: the transactions are READ COMMITTED")
	case !slices.Contains(mode, "STRICT_ALL_TABLES") && !slices.Contains(mode, "STRICT_TRANS_TABLES"):
		return refuse("sql_mode = "+found[4], "set sql_mode with STRICT_TRANS_TABLES: values would be cut to fit")
	case found[6] != "utf8mb4":
		return refuse("character_set_database = "+found[6], "make the database with CHARACTER SET utf8mb4")
	case found[7] != "InnoDB":
		return refuse("default_storage_engine = "+found[7], "set default_storage_engine = InnoDB: others have no transactions")
	}
	for _, say := range sessions(c.maria, read) {
		if err := c.say(say); err != nil {
			return err
		}
	}
	who := "SELECT @@server_uuid"
	if c.maria {
		who = "SELECT CONCAT(@@server_uid, ' ', @@server_id)"
	}
	id, err := c.look(who)
	if err != nil {
		return err
	}
	identity := fmt.Sprintf("mysql %s on %s at %s database %s", id[0], found[9], found[10], found[11])
	return d.server.Found(identity)
}

// atLeast compares the first two numbers of a version.
func atLeast(version string, major, minor int) bool {
	first, rest, _ := strings.Cut(version, ".")
	second, _, _ := strings.Cut(rest, ".")
	a, err := strconv.Atoi(first)
	b, err2 := strconv.Atoi(second)
	return err == nil && err2 == nil && (a > major || a == major && b >= minor)
}

// Identity implements sqlstore.Database.
func (d *database) Identity(context.Context) (string, error) {
	return d.server.Identity(), nil
}
