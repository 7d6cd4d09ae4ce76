package fanfare

import (
	"errors"

	"fanfare/set"
)

// The kinds of error. They are tested with errors.Is; whoever answers one wraps it once with the object.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("exists already")
	ErrConflict = errors.New("changed by somebody else meanwhile")
	ErrState    = errors.New("not possible in this state")
	ErrDamaged  = set.ErrDamaged // what was read is not what was written
	ErrClosed   = errors.New("closed")
	ErrLocked   = errors.New("in use by another process")
	ErrFull     = errors.New("no space left")
	ErrReadOnly = errors.New("not writable")
	ErrForeign  = errors.New("made by a newer version, or no Fanfare database")
	ErrUsage    = errors.New("wrong usage")
	// ErrElsewhere: in the data folder of another node.
	ErrElsewhere = errors.New("kept by another node")
	ErrMoving    = errors.New("its slot is being moved to another shard; try again in a moment")
)
