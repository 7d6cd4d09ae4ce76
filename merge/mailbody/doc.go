// Package mailbody makes e-mail messages from templates, fast enough to make one for each recipient.
//
//	s, err := mailbody.Compile(mailbody.Content{Subject: "Hello {{ name }}", HTML: "<p>…", From: "News <news@example.org>"}, mailbody.Options{Message: id})
//	msg, err = s.Append(msg[:0], mailbody.Envelope{To: address, Key: key, Date: now, Unsubscribe: link, Vars: vars})
//
// The templates are compiled once into a skeleton whose literals are encoded already (quoted-printable, RFC 2047, folded, MIME
// structure); for each recipient only the values are escaped, encoded and spliced in.
//
// # Promises
//
//   - A message is RFC 5322 with CRLF line ends, pure ASCII but for addresses that [Options.UTF8Addresses] allows; body lines have at
//     most 76 characters, header lines at most 998. No value can add, end or change a header, a part or an address.
//   - No line begins with a dot, so the message is the same before and after dot-stuffing.
//   - The same skeleton and [Envelope] give the same bytes: the boundary is a hash of the templates.
//   - A value that is missing is a *merge.MissingError, an address that is none or a link that cannot stand in a header ErrInvalid;
//     both are about this recipient alone. Any error names its field as content does: subject, text, headers.X-Name.
//   - A header that renders to nothing but white space is left out. White space around a header's value is dropped.
//   - A body in a message of one part ends with a line break, added if it has none.
//
// A [Skeleton] is used by many goroutines at once.
package mailbody
