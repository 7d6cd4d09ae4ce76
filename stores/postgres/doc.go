// Package postgres is fanfare.Store on PostgreSQL 15 or later, for one or many nodes: [Open] takes a connection string. The tables and all that
// is decided on them are package sqlstore's; this one speaks to the server, and refuses one whose settings do not keep what was answered.
//
// It promises what the contract says, also to nodes that use one database at the same time. A connection that is lost in the middle of a commit
// is answered as unknown, and made anew for the next one; a server that is another one by then (a standby that was promoted) is refused until
// fanfare starts again and looks what it holds. Back it up with PostgreSQL's own means.
package postgres
