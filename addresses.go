package fanfare

import "context"

// AddressEntry is one do-not-send of an address: whoever has it is a member of the set. The address is not kept, only a keyed hash of its
// mailbox, which means nothing outside of the store that made it.
type AddressEntry struct {
	Hash uint64
	Set  SetName
}

// Addresses keeps do-not-sends of addresses, for whoever has one of them now or later. Mailboxes are the keys of [RecipientChange].
// Entries of the channel that an address is of are all that Upsert looks for; today that is e-mail.
type Addresses interface {
	// SuppressAddresses adds entries to every shard and tells how many are new. Once it has returned, whoever is created with one of
	// the mailboxes or changed to it is a member of the set, by the transaction that does it. Who has it already is for the caller to
	// find (Mailboxes) and to add (ChangeSet), afterwards: so nobody falls in between.
	SuppressAddresses(ctx context.Context, name SetName, mailboxes []uint64) (added int, err error)
	// AddressEntries lists entries in their order (hash, then set) behind one of them, at most limit.
	AddressEntries(ctx context.Context, after AddressEntry, limit int) ([]AddressEntry, error)
	// EntriesOf lists the entries of a mailbox.
	EntriesOf(ctx context.Context, mailbox uint64) ([]AddressEntry, error)
	// ForgetAddress removes an entry; false: there is none. Nobody leaves a set by that.
	ForgetAddress(ctx context.Context, e AddressEntry) (bool, error)
}
