package doctor

import (
	"context"

	"fanfare"
	"fanfare/set"
)

// receipts: the counts are the sizes of the sets, nobody has a receipt who is not planned, and whoever clicked or read has seen.
func (e *exam) receipts(ctx context.Context) error {
	sets := make(map[fanfare.ReceiptKind]*set.Set)
	var counts map[fanfare.ReceiptKind]int
	for try := 1; ; try++ { // what moves meanwhile is read again
		var still bool
		var err error
		if counts, still, err = e.readReceipts(ctx, sets); err != nil {
			return err
		}
		if still || try == looks {
			break
		}
	}
	for _, k := range fanfare.ReceiptKinds() {
		members := sets[k]
		e.r.Receipts += members.Len()
		if members.Len() != counts[k] {
			e.differs(nil, "%d are counted as %v, the set has %d", counts[k], k, members.Len())
		}
		if stray := set.AndNot(members, e.send); !stray.Empty() {
			e.differs(nil, "%d are %v, but not planned (%s)", stray.Len(), k, some(stray))
		}
	}
	for _, k := range []fanfare.ReceiptKind{fanfare.ReceiptRead, fanfare.ReceiptClicked} {
		if unseen := set.AndNot(sets[k], sets[fanfare.ReceiptSeen]); !unseen.Empty() {
			e.differs(nil, "%d are %v, but not seen (%s)", unseen.Len(), k, some(unseen))
		}
	}
	return nil
}

// readReceipts reads sets and counts; still: the sets did not change while it did.
func (e *exam) readReceipts(ctx context.Context, sets map[fanfare.ReceiptKind]*set.Set) (counts map[fanfare.ReceiptKind]int, still bool, err error) {
	for _, k := range fanfare.ReceiptKinds() {
		if sets[k], err = e.store.ReceiptSet(ctx, e.m.Num, e.slot, k); err != nil {
			return nil, false, err
		}
	}
	if counts, err = e.store.ReceiptCounts(ctx, e.m.Num, e.slot); err != nil {
		return nil, false, err
	}
	still = true
	for _, k := range fanfare.ReceiptKinds() {
		now, err := e.store.ReceiptSet(ctx, e.m.Num, e.slot, k)
		if err != nil {
			return nil, false, err
		}
		still = still && now.Equal(sets[k])
	}
	return counts, still, nil
}
