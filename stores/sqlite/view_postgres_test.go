package sqlite_test

import (
	"database/sql"
	"math/rand/v2"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // as anybody asks it

	"fanfare"
	"fanfare/servers"
	"fanfare/stores/postgres"
)

// TestViewsPostgreSQL is TestViews on the views of PostgreSQL, which lie by the same house.
func TestViewsPostgreSQL(t *testing.T) {
	t.Parallel()
	dsn := servers.Open(t, servers.PostgreSQL).Database(t)
	h := &house{t: t, r: rand.New(rand.NewPCG(1, 7)), seen: make(map[string]int), numbered: true} //nolint:gosec // a test
	h.opens = func() (fanfare.Store, error) {
		return postgres.Open(t.Context(), dsn, postgres.Options{Slots: viewSlots})
	}
	h.connects = func() (*sql.DB, error) { return sql.Open("pgx", dsn) }
	h.open()
	h.show(func() map[string]func(query string) []string {
		return map[string]func(string) []string{"driver": asks(t, h.connects)}
	})
}
