// Package memory is the model of fanfare.Store: the whole contract in maps under one mutex, so plain that it can be seen to be right.
// The simulator runs on it, and storetest.Compare holds the databases to it.
//
// It is deterministic: what it answers depends on the calls and the clock alone, never on the order of a map. What it keeps it never
// changes in place (rows, sets and messages are replaced), so what it lends stays as it was. A function handed to View, Update or
// Freeze runs while the mutex is held and must not call the store itself. Nothing outlives the process.
package memory
