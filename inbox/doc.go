// Package inbox reads people's in-app inboxes (站内信). Of a message to many nothing was written for anybody when it was delivered: what somebody finds is
// the active messages (started, not expired, not recalled) whose delivered set holds them, newest start first. Only for a message to few has
// whoever got it a row.
//
//	watched := inbox.Watch(store)                       everybody changes the store through it
//	reader := inbox.New(inbox.Config{Store: watched, Compile: …})
//	page, err := reader.Page(ctx, who, inbox.Query{Filter: inbox.Unread, Limit: 20})
//
// # Promises
//
//   - Whoever asks after a mark, a start, a recall or a delivery was answered sees it, as long as all changes go through the watched store.
//   - Unread, unseen and total are those of the sets: they are a cache, changed by the entries of the log and built anew in doubt.
//   - What is kept in memory stays within CacheBytes, one chunk of 65,536 people apart. What is read of one chunk is read at once.
//   - Only whoever got a message may mark it.
//
// DESIGN.md says how.
package inbox
