// Package api is the HTTP API: what scripts, other programs and the pages use. It promises that every refusal is a problem (RFC 9457)
// with a code, a pointer to the field and what to do next; that a repeated call with an Idempotency-Key has one effect, because key,
// effect and stored answer are one transaction; that nothing secret is ever read back or logged; and that the OpenAPI document, made of
// the same code that answers, says all of it.
//
// A handler decides nothing about a message by itself: transitions are fanfare.Next, content is compiled by its channel, audiences are
// read by package audience and counted by the code that freezes them.
package api
