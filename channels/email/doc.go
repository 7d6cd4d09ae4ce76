// Package email is the driver of the e-mail channel: SMTP by package esmtp, messages by package merge/mailbody.
//
//	email.New(email.Config{Provider: func(m *fanfare.Message) fanfare.Provider { … }})
//
// # A provider
//
//	url     = "smtp://user:password@host:port?starttls=required"    or opportunistic, off; smtps:// is TLS from the first byte
//	from    = "News <news@example.org>"
//	timeout = "60s"                                                 of an answer; that to a mail's last dot may take 300 s
//	only_to = ["*@example.com"]                                     others are skipped as filtered
//	dkim    = { domain = "example.org", selector = "s1", key_file = "dkim.pem" }
//
// Without a port it is 587 with a user name, 25 without, 465 for smtps. User name and password are percent-encoded.
//
// # Promises
//
//   - An item's Message-ID is <KEY@domain>, the same in each attempt and in each locale; the item's bytes differ in Date alone.
//   - Content is picked by the recipient's locale, what is left of it without its last subtags, then the plain one. A locale without
//     from, reply_to or headers takes the plain ones; its subject, text and html are its own.
//   - A value that is missing, an address that is none and one that only_to leaves out are a *fanfare.SkipError of that person. Any
//     other error of Render is the content's, or the installation's.
//   - An error of Compile is a *mailbody.FieldError whose field is named as in the API: content.subject, content.locales.zh-CN.html,
//     data, metadata.
//   - The envelope's sender is the address of the From header.
//   - A connection answers SendUnknown only when a mail's last dot may have reached the server and no answer to it came. What was
//     begun and certainly not taken is NotBegun, like a 421: it is no attempt of the person.
//   - A server that asks for authentication when it is given a sender (530) has refused the account and not the person: NotBegun,
//     and a SendError with Auth.
//   - A provider with dkim signs each mail before it leaves (rsa-sha256 or ed25519-sha256, relaxed/relaxed): what people see of the header,
//     List-Unsubscribe and List-Unsubscribe-Post included, and the body. From and Reply-To are signed once more than they are there. An
//     item's signature differs with its Date alone. RSA of 2048 bits costs 0.8 ms of a core and mail, Ed25519, which few verify yet, 1/20.
package email
