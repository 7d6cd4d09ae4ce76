package receipts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"fanfare"
	"fanfare/set"
)

// Store is what the package asks of a store.
type Store interface {
	fanfare.Control
	fanfare.People
	fanfare.Journal
	fanfare.Reports
	fanfare.Receipts
}

// Desk takes reports. Many goroutines may call it at once.
type Desk struct {
	store Store
	sent  sent
	known messages
}

// NewDesk makes a desk.
func NewDesk(s Store) *Desk {
	return &Desk{store: s, sent: sent{store: s, all: make(map[where]*slotSent)}, known: messages{store: s, done: make(map[fanfare.MessageID]*fanfare.Message)}}
}

// where is a message's share of one slot.
type where struct {
	message fanfare.MessageNum
	slot    fanfare.Slot
}

// report is a report whose message and recipient are known.
type report struct {
	fanfare.ReceiptReport
	message *fanfare.Message
	person  fanfare.Person
}

func (r *report) where() where { return where{r.message.Num, r.person.Slot} }

// reception collects the answer.
type reception struct{ fanfare.Reception }

func (a *reception) refuse(r *fanfare.ReceiptReport, code, detail string) {
	a.Refused = append(a.Refused, fanfare.RefusedReceipt{Index: r.Index, Code: code, Detail: detail})
}

// damaged refuses a report alone: what is damaged is of one message and slot, and refuses nobody else.
func (a *reception) damaged(r *report) {
	a.refuse(&r.ReceiptReport, "damaged", "a row of the database that tells of it is damaged; run fanfare doctor, or restore a backup")
}

// Accept takes reports of one call. When it answers, what was accepted is durable; after an error all of it may be sent again.
func (d *Desk) Accept(ctx context.Context, told []fanfare.ReceiptReport) (fanfare.Reception, error) {
	var a reception
	reports, err := d.identify(ctx, told, &a)
	if err != nil {
		return fanfare.Reception{}, err
	}
	if reports, err = d.sentTo(ctx, reports, &a); err != nil {
		return fanfare.Reception{}, err
	}
	// Before they are logged: who dies in between is told again, and what is known already is done already.
	if err := d.suppress(ctx, reports); err != nil {
		return fanfare.Reception{}, err
	}
	if err := d.log(ctx, reports, &a); err != nil {
		return fanfare.Reception{}, err
	}
	slices.SortFunc(a.Refused, func(x, y fanfare.RefusedReceipt) int { return cmp.Compare(x.Index, y.Index) })
	return a.Reception, nil
}

// identify finds messages and recipients.
func (d *Desk) identify(ctx context.Context, told []fanfare.ReceiptReport, a *reception) ([]*report, error) {
	found, err := d.known.find(ctx, told)
	if err != nil {
		return nil, err
	}
	bySlot := make(map[fanfare.Slot][]*report)
	for i := range told {
		r := &report{ReceiptReport: told[i], message: found[told[i].Message]}
		switch {
		case !r.Kind.Valid():
			a.refuse(&told[i], "unknown_kind", "this kind of receipt is none; there are delivered, bounced, complained, seen, read, unread, clicked, archived and unarchived")
		case r.message == nil:
			a.refuse(&told[i], "unknown_message", "there is no message of this id")
		default:
			r.person.Slot = fanfare.SlotOf(r.Recipient, d.store.Slots())
			bySlot[r.person.Slot] = append(bySlot[r.person.Slot], r)
		}
	}
	reports := make([]*report, 0, len(told))
	for slot, these := range bySlot {
		ids := make([]string, len(these))
		for i, r := range these {
			ids[i] = r.Recipient
		}
		seqs, err := d.store.Resolve(ctx, slot, ids)
		if err != nil {
			return nil, err
		}
		for i, r := range these {
			if seqs[i] < 0 {
				a.refuse(&r.ReceiptReport, "unknown_recipient", "nobody has this external id")
				continue
			}
			r.person.Seq = fanfare.Seq(seqs[i]) //nolint:gosec // not negative
			reports = append(reports, r)
		}
	}
	slices.SortFunc(reports, func(x, y *report) int { return cmp.Compare(x.Index, y.Index) })
	return reports, nil
}

// settles says whether a receipt of the kind shows that an uncertain item was sent.
func settles(k fanfare.ReceiptKind) bool {
	return k == fanfare.ReceiptDelivered || k == fanfare.ReceiptRead || k == fanfare.ReceiptClicked
}

// sentTo refuses reports of whom nothing was sent to, and settles who was uncertain.
func (d *Desk) sentTo(ctx context.Context, reports []*report, a *reception) ([]*report, error) {
	kept := make([]*report, 0, len(reports))
	uncertain := make(map[where][]*report)
	look := d.sent.look()
	for _, r := range reports {
		is, err := look.of(ctx, r.message, r.person)
		switch {
		case errors.Is(err, fanfare.ErrDamaged):
			a.damaged(r)
		case err != nil:
			return nil, err
		case is == standsSent, is == standsUncertain && !settles(r.Kind):
			kept = append(kept, r)
		case is == standsUncertain:
			uncertain[r.where()] = append(uncertain[r.where()], r)
		default:
			a.refuse(&r.ReceiptReport, "not_sent", "this message was not sent to this recipient")
		}
	}
	for at, these := range uncertain {
		settled, err := d.settle(ctx, at, these, a)
		if errors.Is(err, fanfare.ErrDamaged) {
			for _, r := range these {
				a.damaged(r)
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		kept = append(kept, settled...)
	}
	slices.SortFunc(kept, func(x, y *report) int { return cmp.Compare(x.Index, y.Index) })
	return kept, nil
}

// settle makes uncertain items sent. Those of a batch that a claim holds are refused for the moment.
func (d *Desk) settle(ctx context.Context, at where, reports []*report, a *reception) (kept []*report, err error) {
	m := reports[0].message
	who := set.New()
	for _, r := range reports {
		who.Add(r.person.Seq)
	}
	var refused []*report
	done, err := fanfare.Settle(ctx, d.store, m, at.slot, fanfare.ResultSent, who.ToArray())
	if err != nil {
		return nil, err
	}
	look := d.sent.look()
	for _, r := range reports {
		is, err := look.of(ctx, m, r.person)
		if err != nil {
			return nil, err
		}
		if is == standsSent {
			kept = append(kept, r)
			continue
		}
		refused = append(refused, r)
	}
	if len(done.Who) > 0 && m.Phase.Final() {
		if _, err := fanfare.SumUp(ctx, d.store, m.ID); err != nil {
			return nil, err
		}
	}
	for _, r := range refused {
		a.refuse(&r.ReceiptReport, "busy", "others of its batch are being sent to just now; send this receipt again in a minute")
	}
	return kept, nil
}

// suppress keeps mail from whoever newly bounced or complained.
func (d *Desk) suppress(ctx context.Context, reports []*report) error {
	type ground struct {
		at   where
		name fanfare.SetName
	}
	fresh := make(map[ground]*set.Set)
	for _, r := range reports {
		why := fanfare.ReasonBounced
		switch r.Kind {
		case fanfare.ReceiptBounced:
		case fanfare.ReceiptComplained:
			why = fanfare.ReasonComplained
		default:
			continue
		}
		known, err := d.store.ReceiptTimes(ctx, r.message.Num, r.person.Slot, []fanfare.Seq{r.person.Seq})
		if errors.Is(err, fanfare.ErrDamaged) { // it is refused when it is logged
			continue
		}
		if err != nil {
			return err
		}
		if known[0][r.Kind].At != 0 { // somebody may have said since that the address is right
			continue
		}
		g := ground{r.where(), fanfare.SuppressionSet(r.message.Channel, "", why)}
		if fresh[g] == nil {
			fresh[g] = set.New()
		}
		fresh[g].Add(r.person.Seq)
	}
	for g, who := range fresh {
		if _, _, err := d.store.ChangeSet(ctx, g.at.slot, g.name, who, nil); err != nil {
			return fmt.Errorf("suppress: %w", err)
		}
	}
	return nil
}

func (d *Desk) log(ctx context.Context, reports []*report, a *reception) error {
	byShard := make(map[int][]*report)
	for _, r := range reports {
		shard := d.store.ShardOf(r.person.Slot)
		byShard[shard] = append(byShard[shard], r)
	}
	var failed []error
	for shard, these := range byShard {
		receipts := make([]fanfare.Receipt, len(these))
		for i, r := range these {
			receipts[i] = fanfare.Receipt{Message: r.message.Num, Person: r.person, Kind: r.Kind, At: r.At, Source: fanfare.SourceReported}
			if r.Guess {
				receipts[i].Source = fanfare.SourceInferred
			}
			if !r.At.IsZero() && r.At.Before(r.message.StartedAt) {
				receipts[i].At = r.message.StartedAt // nobody knew of it before
			}
		}
		logged, err := d.store.LogReceipts(ctx, shard, receipts)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		for i, l := range logged {
			switch l {
			case fanfare.LoggedNew:
				a.Accepted++
			case fanfare.LoggedBefore:
				a.Known++
			default:
				a.damaged(these[i])
			}
		}
	}
	return errors.Join(failed...)
}
