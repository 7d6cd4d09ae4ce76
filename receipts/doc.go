// Package receipts takes in what is learned of items after they were sent: it finds out whom a report means and whether that person was sent
// to, settles who was uncertain, suppresses who bounced or complained, and logs the rest, each report for itself: one that is
// refused refuses no other. A Folder carries the log into the sets.
package receipts
