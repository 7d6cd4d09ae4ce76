package fanfare

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"fanfare/set"
)

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

// SuppressAddresses adds entries of e-mail addresses, by set, and then puts whoever has one of the addresses now into their sets. It tells
// how many entries are new. People are looked through once, however many the addresses are; done again it does no harm.
func SuppressAddresses(ctx context.Context, p People, entries map[SetName][]uint64) (added int, err error) {
	wanted := make(map[uint64][]SetName)
	for name, mailboxes := range entries {
		n, err := p.SuppressAddresses(ctx, name, mailboxes)
		if err != nil {
			return added, err
		}
		added += n
		for _, m := range mailboxes {
			if !slices.Contains(wanted[m], name) {
				wanted[m] = append(wanted[m], name)
			}
		}
	}
	if len(wanted) == 0 {
		return added, nil
	}
	for i := range p.Slots() {
		s := Slot(i) //nolint:gosec // slots fit
		usable, err := p.LoadSet(ctx, s, AddressSet(ChannelEmail))
		if err != nil {
			return added, err
		}
		owners := make(map[SetName]*set.Set)
		if err := p.Mailboxes(ctx, s, ChannelEmail, usable, func(seq Seq, key uint64) {
			for _, name := range wanted[key] {
				if owners[name] == nil {
					owners[name] = set.New()
				}
				owners[name].Add(seq)
			}
		}); err != nil {
			return added, err
		}
		for name, members := range owners {
			if _, _, err := p.ChangeSet(ctx, s, name, members, nil); err != nil {
				return added, err
			}
		}
	}
	return added, nil
}

// settingTopics is the setting that lists the topics that were ever named.
const settingTopics = "topics"

// mostTopics bounds it: a listing asks each of them in each slot.
const mostTopics = 1000

// Topics lists the topics that were ever named, in order.
func Topics(v ControlView) (all []string, err error) {
	raw, err := v.Setting(settingTopics)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	err = json.Unmarshal(raw, &all)
	return all, err
}

// NoteTopics remembers topics, so that their suppressions can be listed.
func NoteTopics(tx ControlTx, topics ...string) error {
	all, err := Topics(tx)
	if err != nil {
		return err
	}
	known := len(all)
	for _, topic := range topics {
		if topic != "" && !slices.Contains(all, topic) {
			all = append(all, topic)
		}
	}
	switch {
	case len(all) == known:
		return nil
	case len(all) > mostTopics:
		return fmt.Errorf("%w: there would be more than %d topics; a topic is a kind of message, not a message", ErrUsage, mostTopics)
	}
	slices.Sort(all)
	raw, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return tx.PutSetting(settingTopics, raw)
}
