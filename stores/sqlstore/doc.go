// Package sqlstore is fanfare.Store on a relational database: tables, statements, one committer with natural batching. What differs
// between databases is data in a [Dialect] and the few things a driver does in its own way ([Database]); package sqlite is the thin
// driver that opens files.
//
// It promises what the contract says, and: a write is answered after the commit that holds it; all writes that queued while the last
// commit ran share the next one; reads see one snapshot and never wait for writers; what is read and is not what was written is
// fanfare.ErrDamaged with the name of its row, never guessed at. DESIGN.md beside this file says why.
package sqlstore
