// Package esmtp is an SMTP client made for sending many small mails fast, and the strict grammar of the addresses it sends to.
//
// [Dial] opens a connection (greeting, EHLO or HELO, STARTTLS, AUTH); [Conn.Send] takes a chunk of messages, one recipient each, and
// answers for every one of them exactly once:
//
//   - [Sent]: the server said yes after the last dot.
//   - [Failed]: a refusal of this envelope, permanent or temporary, with step, code, enhanced code and text.
//   - [Unknown]: the last dot may have reached the server and no answer to it came. It may or may not be delivered.
//   - [NotAccepted]: it was begun, but the connection ended before its last dot left: the server certainly does not have it.
//   - [NotBegun]: not a byte of it left.
//
// Where the server offers PIPELINING (RFC 2920), one round trip carries one message: the body and last dot of a message leave in
// one write with the whole envelope (MAIL, RCPT, DATA) of the next. DESIGN.md in this folder has the dialogue and the table that
// says when a message is unknown.
//
// Nothing that a server says is trusted: replies are parsed strictly, are bounded in length, and their texts come out as at most
// 500 bytes of valid UTF-8 without control characters. Nothing that goes into a command line is taken unparsed: see [ParseAddress].
//
// A Conn is used by one goroutine at a time and starts none. The package keeps no state of its own and imports nothing of Fanfare.
package esmtp
