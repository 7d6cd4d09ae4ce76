// Package inbox is the channel of the in-app inbox (站内信). Its sink is our own database: the claim of a batch delivers it, exactly once,
// and nothing is dialed, rendered or written for each recipient. What it renders is rendered when somebody reads, see package fanfare/inbox.
//
// # Promises
//
//   - Content has a title (one line), a body (plain text: whoever shows it must not take it for HTML) and a url. Values are spliced in: into
//     the url as its components, so that no value of a recipient makes it lead elsewhere.
//   - A url begins, in the template itself, with https://, http://, one slash, or the scheme of an app and ://; never javascript: or data:.
//   - Content is picked by the recipient's locale, what is left of it without its last subtags, then the plain one. A locale without url takes the
//     plain one; its title and body are its own.
//   - Content.Render gives the members "title", "body" and "url" of a JSON object. Where nothing of the recipient stands in them they are made
//     once, by Content.Fixed.
//   - Whoever lacks a value that has no default is skipped when the audience is frozen ([Content.Lacking]). One that is gone when somebody
//     reads is left out: the batch was delivered before anybody knew.
//   - An error of Compile is a *mailbody.FieldError whose field is named as in the API: content.title, content.locales.zh-CN.url, data.
package inbox
