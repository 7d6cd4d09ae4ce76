// Package people takes recipients in: it checks profiles, reads CSV and NDJSON in the encodings that people have, and runs imports
// that survive a restart.
//
// What it promises: a bad row never refuses the others, each refused row is listed with its line and reason; the same external id twice
// in one file counts once and the last row wins; an import that was accepted is on disk and goes on after a crash where it
// stopped, with exact counts.
package people
