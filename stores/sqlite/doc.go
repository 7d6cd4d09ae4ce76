// Package sqlite is fanfare.Store in one SQLite file, without a server: the default of one machine. It is the thin driver below package
// sqlstore, which holds the tables and statements.
//
// It promises, beside the contract: what was answered is in the file system, synced, before the answer (WAL, synchronous FULL); a clean
// Close leaves one file and nothing beside it; another process may open the same file at the same time, as doctor does; an error says which
// file, what is wrong with it, of which kind (fanfare.ErrDamaged, ErrFull, ErrReadOnly, ErrLocked, ErrForeign) and what to do next.
package sqlite
