// Package serve wires one node: store, queue, planner, deliverer, importer, API and pages, by its roles, and runs them until it is told
// to stop. A SIGTERM lets what is under way end and be recorded; what a kill -9 leaves is settled by the next start.
package serve
