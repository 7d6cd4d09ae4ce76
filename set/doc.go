// Package set is the algebra of recipients: sets of the dense numbers (seqs) of one slot, as Roaring bitmaps, and their
// encoding on disk.
//
//   - [Set] is a mutable set of uint32: union, intersection, difference, counts, ranks, ranges.
//   - [Chunk] is what one row of a table holds: the members of one block of 65,536 numbers as one Roaring container, with their count
//     and CRC-32C. Equal sets give equal bytes; whatever is damaged is refused with [ErrDamaged], never guessed at, never a panic.
//   - [Bits] is a set of ranks 0…n-1 inside one batch, n bits flat.
//
// One naming rule holds for both kinds: Union, Intersect and Subtract change their receiver; Or, And and AndNot make a new value
// that shares nothing with the old ones. Any number of goroutines may read one value at a time while nobody changes it, so a
// cached set may be lent out as long as its borrowers use only the second kind.
//
// DESIGN.md beside this file says why rows hold one container and what makes the encoding canonical.
package set
