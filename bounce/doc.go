// Package bounce reads what mail servers send back to the sender of a mail: reports of delivery (RFC 3464) and of abuse (RFC 5965).
//
// # Promises
//
//   - A report is hostile until it is known whose it is: Read takes bytes that are in memory already, opens at most [MaxParts] parts, reads
//     [MaxPart] bytes of each that it needs, follows no nesting, and never fails otherwise than by a *Error that says what is missing.
//   - Nothing in a report is believed: what it says and which addresses and headers it names is told, and whoever asked has to verify them.
//   - Of several recipients (a mailing list, a forwarder) somebody who got it weighs more than somebody who did not: Failed means that nobody did.
package bounce
