package postgres

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"fanfare"
	"fanfare/stores/sqlstore"
)

const (
	fullHint    = "free space on the server's disk; nothing that was answered is lost, and work goes on by itself"
	damagedHint = "keep the server's files as they are, run fanfare doctor to see what is affected, and restore a backup"
	rightsHint  = "let the database's user make tables in the schema and write to them"
	missingHint = "make it first: CREATE DATABASE … ENCODING 'UTF8'"
	lockHint    = "another session holds the row for too long: see pg_stat_activity"
	manyHint    = "raise max_connections: a node takes up to 40"
)

// Failure implements sqlstore.Database.
func (d *database) Failure(err error) *sqlstore.Failure {
	f := &sqlstore.Failure{Err: err}
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return f
	}
	switch {
	case e.Code == "40001", e.Code == "40P01":
		f.Again = true
	case e.Code == "23505":
		f.Data, f.Taken = true, true
	case e.Code == "53100", e.Code == "54000" && strings.Contains(e.Message, "disk"):
		f.Kind, f.Hint = fanfare.ErrFull, fullHint
	case e.Code == "53300":
		f.Hint = manyHint
	case e.Code == "55P03":
		f.Hint = lockHint
	case e.Code == "25006", e.Code == "42501":
		f.Kind, f.Hint = fanfare.ErrReadOnly, rightsHint
	case e.Code == "3D000":
		f.Kind, f.Hint = fanfare.ErrNotFound, missingHint
	case e.Code == "XX001", e.Code == "XX002":
		f.Kind, f.Hint = fanfare.ErrDamaged, damagedHint
	case strings.HasPrefix(e.Code, "22"), strings.HasPrefix(e.Code, "23"), strings.HasPrefix(e.Code, "42"), strings.HasPrefix(e.Code, "54"):
		f.Data = true
	}
	return f
}
