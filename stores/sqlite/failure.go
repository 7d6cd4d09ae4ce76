package sqlite

import (
	"errors"

	engine "modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"

	"fanfare"
	"fanfare/stores/sqlstore"
)

const (
	writableHint = "let the user that runs fanfare write to the file and its folder"
	fullHint     = "free space on the disk, or raise max_pages if you set it; nothing that was answered is lost, and work goes on by itself"
	damagedHint  = "nothing was changed: keep the file, run fanfare doctor to see what is affected, and restore the last backup"
	lockedHint   = "another process writes to the file for too long; stop it"
)

// Failure implements sqlstore.Database.
func (d database) Failure(err error) *sqlstore.Failure {
	f := &sqlstore.Failure{Err: err}
	var e *engine.Error
	if !errors.As(err, &e) {
		return f
	}
	switch e.Code() & 0xff {
	case codes.SQLITE_FULL:
		f.Kind, f.Hint = fanfare.ErrFull, fullHint
	case codes.SQLITE_READONLY, codes.SQLITE_PERM, codes.SQLITE_AUTH:
		f.Kind, f.Hint = fanfare.ErrReadOnly, writableHint
	case codes.SQLITE_CORRUPT, codes.SQLITE_NOTADB:
		f.Kind, f.Hint = fanfare.ErrDamaged, damagedHint
	case codes.SQLITE_BUSY, codes.SQLITE_LOCKED:
		f.Kind, f.Hint = fanfare.ErrLocked, lockedHint
	case codes.SQLITE_CONSTRAINT, codes.SQLITE_TOOBIG, codes.SQLITE_MISMATCH, codes.SQLITE_RANGE, codes.SQLITE_ERROR:
		f.Data = true
	case codes.SQLITE_IOERR:
		if e.Code() == codes.SQLITE_IOERR_CORRUPTFS {
			f.Kind, f.Hint = fanfare.ErrDamaged, damagedHint
		}
	}
	return f
}
