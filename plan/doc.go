// Package plan is the planner: it takes messages from their due time to their end.
//
// It starts what is due, freezes audiences slot by slot, publishes tasks in a window that its nodes can take, publishes again what
// nobody claimed, tells every slot of a pause, settles what dead claims left, and finishes a message when every batch is done and
// the counts balance. It also guards against a database that was copied or restored ([Guard]), and counts an audience with the same
// code that freezes it ([Planner.Count]).
//
// Everything it does is guarded by the store, so any number of planners may run and any of them may die between any two calls: the
// lease only saves work. What it keeps in memory is a cache of what the store knows. A [Planner.Tick] is plain blocking code without
// a clock of its own; [Planner.Run] is the loop around it.
package plan
