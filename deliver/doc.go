// Package deliver is what a worker node does: it claims batches, sends their chunks and records what became of everybody.
//
// [Core] is the delivery core, a pure step function: what happened goes in ([Event]), what is to be done comes out ([Effect]), and no
// clock, goroutine or I/O is in between. [Node] is its shell: it carries effects out and tells the core what came of them. The seeded
// simulator in this package's tests drives the very same core through crashes, stalls and lost answers.
//
// The promises (DESIGN §4) that rest on it: a chunk's first byte leaves only after its intent is durable; before each single send a
// [Pass] looks at the lease and at a reading of the message's row that is at most 750 ms old; every answer is journaled under fence and
// step; a commit whose answer was lost is looked up before anything else. DESIGN.md beside this file says how.
package deliver
