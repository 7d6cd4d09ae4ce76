package serve

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"fanfare"
	"fanfare/stores/mysql"
	"fanfare/stores/postgres"
	"fanfare/stores/sharded"
	"fanfare/stores/sqlite"
)

// OpenStore opens the store that the DSNs name; none: the data folder's own file. Several are the shards of one installation, in their order. One
// that the stores' suite never ran on is refused unless untested.
func OpenStore(ctx context.Context, data string, dsns []string, slots int, untested bool) (fanfare.Store, error) {
	if len(dsns) == 0 {
		dsns = []string{"sqlite:" + data + "/" + DatabaseFile}
	}
	shards, names := make([]fanfare.Shard, 0, len(dsns)), make([]string, len(dsns))
	shut := func(err error) error {
		for _, s := range shards {
			err = errors.Join(err, s.Close())
		}
		return err
	}
	for i, dsn := range dsns {
		names[i] = redacted(dsn)
		s, err := openDatabase(ctx, dsn, slots, untested)
		if err != nil {
			return nil, shut(err)
		}
		shards = append(shards, s)
	}
	if len(shards) == 1 {
		is, err := shards[0].Membership(ctx)
		if err == nil && is.Installation == "" {
			return shards[0], nil
		} else if err != nil {
			return nil, shut(err)
		}
	}
	s, err := sharded.Open(ctx, shards, sharded.Options{Names: names})
	if err != nil {
		return nil, shut(err)
	}
	return s, nil
}

// openDatabase opens one database by the scheme of its DSN.
func openDatabase(ctx context.Context, dsn string, slots int, untested bool) (fanfare.Shard, error) {
	scheme, rest, _ := strings.Cut(dsn, ":")
	switch scheme {
	case "sqlite":
		return sqlite.Open(ctx, rest, sqlite.Options{Slots: slots})
	case "postgres", "postgresql":
		return postgres.Open(ctx, dsn, postgres.Options{Slots: slots, Untested: untested})
	case "mysql":
		return mysql.Open(ctx, dsn, mysql.Options{Slots: slots, Untested: untested})
	}
	return nil, fmt.Errorf("%w: --store %s: there are sqlite:FILE, postgres://user@host:port/database and mysql://user@host:port/database", fanfare.ErrUsage, redacted(dsn))
}
