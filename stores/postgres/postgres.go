package postgres

import (
	"context"
	"database/sql/driver"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"fanfare"
	"fanfare/stores/sqlstore"
)

// Options says how a database is opened; the zero value will do.
type Options struct {
	Slots int              // of an empty database, 0: 16; of another one what it must have, 0: whatever it has
	Clock func() time.Time // nil: the server's
	Cache int              // bytes of sets kept in memory, 0: 128 MB; the same again of frozen audiences
	// Untested takes what is not PostgreSQL itself, but speaks its protocol: the suite never ran on it.
	Untested bool
}

// Open opens the database that a connection string names (postgres://user:password@host:port/database?sslmode=…, or the keywords of libpq), and
// makes its tables if it is empty. Errors: fanfare.ErrNotFound (the database), ErrUsage (a setting), ErrForeign, ErrReadOnly.
func Open(ctx context.Context, dsn string, o Options) (fanfare.Shard, error) {
	config, err := pgconn.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("%w: %w; write postgres://user:password@host:5432/database", fanfare.ErrUsage, err) // pgconn leaves the password out
	}
	s, err := sqlstore.Open(ctx, sqlstore.PostgreSQL(), &database{config: config, untested: o.Untested}, sqlstore.Options{Slots: o.Slots, Clock: o.Clock, Cache: o.Cache})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// database is what sqlstore asks of a driver.
type database struct {
	config   *pgconn.Config
	untested bool
	server   sqlstore.OneServer
}

// Name implements sqlstore.Database; it has no password.
func (d *database) Name() string {
	return fmt.Sprintf("postgres://%s@%s/%s", d.config.User, net.JoinHostPort(d.config.Host, strconv.Itoa(int(d.config.Port))), d.config.Database)
}

// Slack implements sqlstore.Database; pages are the server's.
func (d *database) Slack(int64, []byte) []byte { return nil }

const (
	connectWait = 10 * time.Second
	writeWait   = 30 * time.Second // longer than lock_timeout
	readWait    = 5 * time.Minute  // what a check asks may take its time
	oldest      = 150000           // PostgreSQL 15
)

// session is said by every connection. What a node that hangs has locked is free after 15 s, others wait for it a little longer. A server that
// is gone is noticed by either side. All statements look up rows by an index, whatever the server knows of the tables.
const session = `SET lock_timeout = '20s'; SET idle_in_transaction_session_timeout = '15s'; SET statement_timeout = 0; SET client_encoding = 'UTF8';
SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3; SET tcp_user_timeout = 10000;
SET jit = off; SET plan_cache_mode = force_generic_plan; SET enable_hashjoin = off; SET enable_mergejoin = off; SET bytea_output = 'hex';
SET standard_conforming_strings = on; SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = off`

// settings are what a server must have, and what it is.
const settings = `SELECT current_setting('server_version_num'), pg_is_in_recovery()::text, current_setting('fsync'), current_setting('full_page_writes'),
current_setting('synchronous_commit'), current_setting('server_encoding'), coalesce(current_schema(), ''), version()`

const place = `SELECT (SELECT system_identifier FROM pg_control_system())::text || ' timeline ' || ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int::text
|| ' database ' || (SELECT oid FROM pg_database WHERE datname = current_database())::text || ' ' || current_schema()`

// Connect implements sqlstore.Database.
func (d *database) Connect(ctx context.Context, read bool) (driver.Conn, error) {
	config := d.config.Copy()
	wait := writeWait
	if read {
		wait = readWait
	}
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}) // else deadlines have to do
		}
		return deadline{c, wait}, nil
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "fanfare"
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectWait
	}
	pg, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	c := &connection{pg: pg, ctx: context.WithoutCancel(ctx)}
	if err := d.right(c); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// right refuses a server that would lose what was answered, and one that is another one than before.
func (d *database) right(c *connection) error {
	found, err := c.look(settings)
	if err != nil {
		return err
	}
	version, err := strconv.Atoi(found[0])
	if err != nil {
		return err
	}
	refuse := func(what, hint string) error {
		return &sqlstore.Failure{Kind: fanfare.ErrUsage, Err: fmt.Errorf("%s", what), Hint: hint}
	}
	switch {
	case version < oldest:
		return refuse(fmt.Sprintf("it is PostgreSQL %d", version/10000), "use 15 or later")
	case !d.untested && !itself(found[7]):
		return refuse("it is not PostgreSQL itself ("+found[7]+"), and fanfare was never tested on it", "serve it with --allow-untested-store if you take the risk")
	case found[1] != "false":
		return &sqlstore.Failure{Kind: fanfare.ErrReadOnly, Err: fmt.Errorf("it is a standby, or recovering"), Hint: "name the primary server"}
	case found[5] != "UTF8":
		return refuse("server_encoding = "+found[5], "make the database with ENCODING 'UTF8'")
	case found[6] == "":
		return refuse("there is no schema to make tables in", "let search_path name one that is there")
	}
	for i, name := range [...]string{2: "fsync", 3: "full_page_writes", 4: "synchronous_commit"} {
		if name != "" && found[i] != "on" {
			return refuse(name+" = "+found[i], "set "+name+" = on: what was answered would not be there after a crash")
		}
	}
	if err := c.Script(session); err != nil {
		return err
	}
	if found, err = c.look(place); err != nil {
		return err
	}
	return d.server.Found(found[0])
}

// itself says whether a version is that of PostgreSQL, not of what is made of it or like it.
func itself(version string) bool {
	rest, ok := strings.CutPrefix(version, "PostgreSQL ")
	number, _, _ := strings.Cut(rest, " ")
	return ok && strings.Trim(number, "0123456789.abcdelrtv") == "" && !strings.Contains(version, "-YB-")
}

// look runs a query of one row.
func (c *connection) look(query string) ([]string, error) {
	results, err := c.pg.Exec(c.ctx, query).ReadAll()
	if err != nil {
		return nil, err
	}
	var row []string
	for _, v := range results[0].Rows[0] {
		row = append(row, string(v))
	}
	return row, nil
}

// Identity implements sqlstore.Database: system identifier, timeline, database and schema.
func (d *database) Identity(context.Context) (string, error) {
	return strings.TrimSpace("postgres " + d.server.Identity()), nil
}
