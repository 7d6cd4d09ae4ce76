package sqlstore

import (
	"cmp"
	"context"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"fanfare"
	"fanfare/set"
)

// upsert is one call of Upsert, as far as it can be prepared before the writer's turn.
type upsert struct {
	slot    fanfare.Slot
	changes []fanfare.RecipientChange
	opt     fanfare.UpsertOptions
	order   []int32 // indices of changes by external id, then as given: the index of recipients grows in order
	unique  bool    // no external id comes twice
	fresh   *creation
	back    *comeback
	done    []fanfare.Upserted
}

// creation is the statements of a call that takes all for new people: rows in order of external id.
type creation struct {
	statement       string
	width           int                 // arguments of a row
	args            []driver.NamedValue // of each statement: the time, then the rows; a row begins with the index of its change
	usable, invalid []uint32            // indices of changes by their addresses
}

// recipientValues is how many values a row of recipients has.
const recipientValues = 9

// fewChanges is how many changes share a transaction with other calls.
const fewChanges = 10

// Upsert implements fanfare.People.
func (s *Store) Upsert(ctx context.Context, n fanfare.Slot, changes []fanfare.RecipientChange, opt fanfare.UpsertOptions) ([]fanfare.Upserted, error) {
	for i := range changes {
		if fanfare.SlotOf(changes[i].ExternalID, s.slots) != n {
			return nil, fmt.Errorf("recipient %q does not belong to slot %d: %w", changes[i].ExternalID, n, fanfare.ErrUsage)
		}
	}
	if err := s.has(n); err != nil {
		return nil, err
	}
	u := &upsert{slot: n, changes: changes, opt: opt, order: make([]int32, len(changes)), unique: true}
	for i := range u.order {
		u.order[i] = int32(i) //nolint:gosec // a call has fewer changes
	}
	sorted := true // as many files are
	for i := 1; i < len(changes) && sorted; i++ {
		sorted = changes[i-1].ExternalID < changes[i].ExternalID
	}
	if !sorted {
		slices.SortFunc(u.order, func(a, b int32) int {
			if c := strings.Compare(changes[a].ExternalID, changes[b].ExternalID); c != 0 {
				return c
			}
			return cmp.Compare(a, b)
		})
		for i := 1; i < len(u.order); i++ {
			u.unique = u.unique && changes[u.order[i-1]].ExternalID != changes[u.order[i]].ExternalID
		}
	}
	kind := longWrite
	if opt.Mark != nil {
		kind = bulkWrite
	}
	if len(changes) <= fewChanges {
		kind = smallWrite
	} else if u.unique {
		var err error
		if u.fresh, err = u.prepare(); err != nil {
			return nil, err
		}
	}
	if err := s.writeSlot(ctx, kind, locks{addresses: lockShare, exclusive: []fanfare.Slot{n}}, u.run); err != nil {
		return nil, err
	}
	return u.done, nil
}

// prepare makes the rows of people nobody of whom is known, in the caller's goroutine.
func (u *upsert) prepare() (*creation, error) {
	f := &creation{statement: inSlot(u.slot, "recipients.create_plain"), width: 5}
	for i := range u.changes {
		if c := &u.changes[i]; said(c.Phone)+said(c.Locale)+said(c.TimeZone) != "" {
			f.statement, f.width = inSlot(u.slot, "recipients.create"), 8
			break
		}
	}
	f.args = make([]driver.NamedValue, 0, len(u.changes)*f.width+len(u.changes)/manyRows+20)
	var scratch []byte
	left, ordinal := 0, 0
	put := func(v driver.Value) {
		ordinal++
		f.args = append(f.args, driver.NamedValue{Ordinal: ordinal, Value: v})
	}
	for k, i := range u.order {
		if left == 0 {
			left, ordinal = rowsOf(len(u.order)-k), 0
			put(nil)
		}
		left--
		c := &u.changes[i]
		p := profile{}
		p.address(c)
		var err error
		if scratch, err = appendAttributes(scratch[:0], c.Attributes); err != nil {
			return nil, fmt.Errorf("recipient %q: %w", c.ExternalID, err)
		}
		var attributes driver.Value
		if len(scratch) > 0 {
			attributes = string(scratch)
		}
		put(int64(i))
		put(p.mailbox)
		put(c.ExternalID)
		put(said(c.Email))
		put(attributes)
		if f.width == 8 {
			put(said(c.Phone))
			put(said(c.Locale))
			put(said(c.TimeZone))
		}
	}
	for i := range u.changes {
		switch addressState(&u.changes[i]) {
		case fanfare.AddressUsable:
			f.usable = append(f.usable, uint32(i)) //nolint:gosec // an index
		case fanfare.AddressInvalid:
			f.invalid = append(f.invalid, uint32(i)) //nolint:gosec // an index
		}
	}
	return f, nil
}

// said is what a field of a change means for somebody new, as RecipientChange.Apply of nobody says.
func said(field *string) string {
	if field == nil {
		return ""
	}
	return *field
}

// insert runs the statements for people numbered from first on.
func (f *creation) insert(t *tx, rows int, first int64) error {
	now := driver.Value(t.now.UnixMicro())
	for args := f.args; rows > 0; {
		n := rowsOf(rows)
		these := args[:1+n*f.width]
		these[0].Value = now
		for at := 1; at < len(these); at += f.width {
			these[at].Value = first + these[at].Value.(int64) //nolint:forcetypeassert // prepare put it there
		}
		if err := t.exact(f.statement, n, these); err != nil {
			return err
		}
		args, rows = args[len(these):], rows-n
	}
	return nil
}

// seqs gives the people of these changes.
func (f *creation) seqs(first uint32, indices []uint32) *set.Set {
	for i := range indices {
		indices[i] += first
	}
	s := set.New()
	s.AddMany(indices)
	return s
}

func (u *upsert) run(t *tx) error {
	if m := u.opt.Mark; m != nil {
		known, err := t.one(func(r []driver.Value) (err error) {
			u.done, err = outcomesOf(u.slot, blob(r[0]))
			return err
		}, "marks.get", m.Work, m.Part, int64(u.slot))
		if err != nil {
			err = t.damagedRow(fmt.Sprintf("marks row (work %s, part %d, slot %d)", m.Work, m.Part, u.slot), err)
		}
		if known || err != nil {
			return err
		}
	}
	u.done = make([]fanfare.Upserted, len(u.changes))
	var err error
	if u.back, err = u.comebacks(t); err != nil {
		return err
	}
	if u.back != nil {
		u.fresh = nil // somebody is to be looked at
	}
	if f := u.fresh; f != nil && !t.s.writer.meetsKnown[u.slot] {
		u.fresh = nil // its rows are numbered now; another try has to look
		err = u.create(t, f)
	} else {
		err = u.apply(t)
	}
	if slices.ContainsFunc(u.done, func(d fanfare.Upserted) bool { return d.Outcome == fanfare.UpsertUpdated }) {
		t.tell(fanfare.News{Kind: fanfare.NewsPeople, Slot: u.slot})
	}
	if err != nil || u.opt.Mark == nil {
		return err
	}
	return t.put("marks.put", u.opt.Mark.Work, u.opt.Mark.Part, int64(u.slot), appendOutcomes(nil, u.done))
}

// errKnown says that not all of the changed are new: the transaction begins again.
var errKnown = errors.New("somebody is known already")

// create is apply for people nobody of whom is known, which it does not ask: the index of external ids refuses them else.
func (u *upsert) create(t *tx, f *creation) error {
	r, err := t.slot(u.slot)
	if err != nil {
		return err
	}
	t.touch(u.slot, r.changed)
	end := r.next + uint64(len(u.changes))
	if end >= set.Universe {
		return fmt.Errorf("slot %d cannot hold %d recipients more: %w", u.slot, len(u.changes), fanfare.ErrUsage)
	}
	if err := f.insert(t, len(u.changes), int64(r.next)); err != nil { //nolint:gosec // below Universe
		if failure := (*Failure)(nil); errors.As(err, &failure) && failure.Data {
			t.s.writer.meetsKnown[u.slot] = true
			return errKnown
		}
		return err
	}
	first := fanfare.Seq(r.next) //nolint:gosec // below Universe
	for i := range u.done {
		u.done[i] = fanfare.Upserted{Person: fanfare.Person{Slot: u.slot, Seq: first + fanfare.Seq(i)}, Outcome: fanfare.UpsertCreated} //nolint:gosec // an index
	}
	if err := t.put("slots.next_seq", int64(end), int64(u.slot)); err != nil { //nolint:gosec // below Universe
		return err
	}
	e := editing{t: t, slot: u.slot}
	fresh := set.Range(r.next, end)
	if err := errors.Join(e.assign(fanfare.SetAlive, fresh, fresh), e.assign(fanfare.SetUnindexed, fresh, fresh), e.assign(fanfare.AddressSet(fanfare.ChannelEmail), fresh, f.seqs(first, f.usable)),
		e.assign(fanfare.InvalidSet(fanfare.ChannelEmail), fresh, f.seqs(first, f.invalid))); err != nil {
		return err
	}
	for _, name := range u.opt.Add {
		if err := e.assign(name, fresh, fresh); err != nil {
			return err
		}
	}
	entries, err := u.suppressedBy(t)
	if err != nil {
		return err
	}
	for i := 0; i < len(u.changes) && len(entries) > 0; i++ {
		if err := e.born(&u.changes[i], u.done[i].Seq, true, entries); err != nil {
			return err
		}
	}
	return t.keep(u.slot, e.edits)
}

// born puts whoever has an address with entries into their sets.
func (e *editing) born(c *fanfare.RecipientChange, seq fanfare.Seq, fresh bool, entries map[uint64][]fanfare.SetName) error {
	if addressState(c) != fanfare.AddressUsable {
		return nil
	}
	for _, name := range entries[c.Mailbox] {
		if member, said := c.Born(name, fresh); said {
			if err := e.put(name, seq, member); err != nil {
				return err
			}
		}
	}
	return nil
}

// known is a recipient as the call sees it so far.
type known struct {
	profile
	created bool
	changed bool
}

// apply carries the changes out in order, whoever they are about.
func (u *upsert) apply(t *tx) error {
	people, err := u.find(t)
	if err != nil {
		return err
	}
	entries, err := u.suppressedBy(t)
	if err != nil {
		return err
	}
	r, err := t.slot(u.slot)
	if err != nil {
		return err
	}
	t.touch(u.slot, r.changed)
	next, e := r.next, editing{t: t, slot: u.slot}
	allNew := len(people) == 0
	for i := range u.changes {
		c := &u.changes[i]
		p := people[c.ExternalID]
		if p != nil && c.Kind == fanfare.ChangeInsert {
			u.done[i] = fanfare.Upserted{Person: p.Person, Outcome: fanfare.UpsertRefused}
			continue
		}
		if p == nil && u.back.refuses(c, &u.opt) {
			u.done[i] = fanfare.Upserted{Person: fanfare.Person{Slot: u.slot}, Outcome: fanfare.UpsertErased}
			continue
		}
		outcome := fanfare.UpsertUnchanged
		if p == nil {
			if next+1 >= set.Universe {
				return fmt.Errorf("slot %d is full: %w", u.slot, fanfare.ErrUsage)
			}
			p = &known{created: true}
			p.Person = fanfare.Person{Slot: u.slot, Seq: fanfare.Seq(next)} //nolint:gosec // below Universe
			next++
			people[c.ExternalID] = p
			outcome = fanfare.UpsertCreated
		}
		mailbox, was := p.mailbox, p.profile
		changed, err := p.change(c, outcome == fanfare.UpsertCreated, &e)
		if err == nil {
			err = u.back.settle(&e, c, &was, &p.profile, outcome == fanfare.UpsertCreated)
		}
		if err == nil && len(entries) > 0 {
			err = e.born(c, p.Seq, outcome == fanfare.UpsertCreated || mailbox != p.mailbox, entries)
		}
		if err != nil {
			return err
		}
		if changed && outcome != fanfare.UpsertCreated {
			outcome = fanfare.UpsertUpdated
		}
		u.done[i] = fanfare.Upserted{Person: p.Person, Outcome: outcome}
		for _, name := range u.opt.Add {
			if err := e.put(name, p.Seq, true); err != nil {
				return err
			}
		}
	}
	if t.s.writer.meetsKnown[u.slot] {
		t.s.writer.meetsKnown[u.slot] = !allNew
	}
	if err := u.write(t, people); err != nil {
		return err
	}
	if next != r.next {
		if err := t.put("slots.next_seq", int64(next), int64(u.slot)); err != nil { //nolint:gosec // below Universe
			return err
		}
	}
	return t.keep(u.slot, e.edits)
}

// find reads those of the changed who are known already.
func (u *upsert) find(t *tx) (map[string]*known, error) {
	people := make(map[string]*known, len(u.changes))
	values := make([]driver.Value, 0, len(u.changes))
	for k, i := range u.order {
		if id := u.changes[i].ExternalID; k == 0 || id != u.changes[u.order[k-1]].ExternalID {
			values = append(values, id)
		}
	}
	err := t.queryRows(func(r []driver.Value) error {
		p, err := t.scanProfile(u.slot, r)
		people[p.ExternalID] = &known{profile: p}
		return err
	}, inSlot(u.slot, "recipients.known"), 1, values)
	return people, err
}

// change applies one change; it tells whether the profile is another one now.
func (p *known) change(c *fanfare.RecipientChange, fresh bool, e *editing) (changed bool, err error) {
	was := p.Recipient
	old := &was
	if fresh {
		old = nil
	}
	next, changed := c.Apply(old)
	next.Person = p.Person
	if changed {
		next.UpdatedAt = e.t.now
	}
	p.Recipient = next
	if fresh || changed && !fanfare.SameAttributes(was.Attributes, next.Attributes) {
		if err := e.put(fanfare.SetUnindexed, p.Seq, true); err != nil {
			return false, err
		}
	}
	if !fresh && was.Email != "" && next.Email != was.Email { // they were said of the former address
		for _, why := range [...]fanfare.Reason{fanfare.ReasonBounced, fanfare.ReasonComplained} {
			if err := e.put(fanfare.SuppressionSet(fanfare.ChannelEmail, "", why), p.Seq, false); err != nil {
				return false, err
			}
		}
	}
	if fresh {
		if err := e.put(fanfare.SetAlive, p.Seq, true); err != nil {
			return false, err
		}
	}
	mailbox := p.mailbox
	if c.Email != nil || fresh || c.Kind == fanfare.ChangeReplace {
		p.address(c)
		state := addressState(c)
		if err := errors.Join(e.put(fanfare.AddressSet(fanfare.ChannelEmail), p.Seq, state == fanfare.AddressUsable),
			e.put(fanfare.InvalidSet(fanfare.ChannelEmail), p.Seq, state == fanfare.AddressInvalid)); err != nil {
			return false, err
		}
	}
	p.changed = p.changed || changed || mailbox != p.mailbox
	return changed, nil
}

func addressState(c *fanfare.RecipientChange) fanfare.AddressState {
	if c.Email == nil {
		return fanfare.AddressNone
	}
	return c.EmailState
}

// address takes over the mailbox of the change's address.
func (p *profile) address(c *fanfare.RecipientChange) {
	p.mailbox = nil
	if addressState(c) == fanfare.AddressUsable {
		p.mailbox = int64(c.Mailbox) //nolint:gosec // all 64 bits
	}
}

// write writes whom the call created, in order of external id, and whom it changed.
func (u *upsert) write(t *tx, people map[string]*known) error {
	var created []driver.Value
	for k, i := range u.order {
		id := u.changes[i].ExternalID
		if k > 0 && id == u.changes[u.order[k-1]].ExternalID {
			continue
		}
		p := people[id]
		var err error
		switch {
		case p == nil: // refused, and nobody
		case p.created:
			created, err = t.appendProfile(created, &p.profile)
		case p.changed:
			var row []driver.Value
			if row, err = t.appendProfile(nil, &p.profile); err == nil {
				err = t.put(inSlot(u.slot, "recipients.update"), row[1], row[2], row[4], row[5], row[6], row[7], row[8], row[0])
			}
		}
		if err != nil {
			return err
		}
	}
	return t.execRows(inSlot(u.slot, "recipients.insert"), recipientValues, created)
}

// appendProfile appends the values of a row of its slot's recipients.
func (c *conn) appendProfile(to []driver.Value, p *profile) ([]driver.Value, error) {
	var err error
	if c.scratch, err = appendAttributes(c.scratch[:0], p.Attributes); err != nil {
		return to, fmt.Errorf("recipient %q: %w", p.ExternalID, err)
	}
	var attributes driver.Value
	if len(c.scratch) > 0 {
		attributes = string(c.scratch)
	}
	return append(to, p.Seq, p.mailbox, micros(p.UpdatedAt), p.ExternalID, p.Email, p.Phone, p.Locale, p.TimeZone, attributes), nil
}

// editing changes sets of one slot, to be kept together.
type editing struct {
	t     *tx
	slot  fanfare.Slot
	edits []edit
}

func (e *editing) of(name fanfare.SetName) (*edit, error) {
	for i := range e.edits {
		if e.edits[i].name == name {
			return &e.edits[i], nil
		}
	}
	l, err := e.t.set(e.slot, name)
	if err != nil {
		return nil, err
	}
	was, err := l.whole()
	if err != nil {
		return nil, err
	}
	e.edits = append(e.edits, edit{name, was, was})
	return &e.edits[len(e.edits)-1], nil
}

// assign makes of those within only members members.
func (e *editing) assign(name fanfare.SetName, within, members *set.Set) error {
	d, err := e.of(name)
	if err != nil {
		return err
	}
	if set.Overlap(d.now, within) {
		d.now = set.AndNot(d.now, within)
	}
	if !members.Empty() {
		d.now = set.Or(d.now, members)
	}
	return nil
}

func (e *editing) put(name fanfare.SetName, seq fanfare.Seq, member bool) error {
	d, err := e.of(name)
	if err != nil || d.now.Contains(seq) == member {
		return err
	}
	if d.now == d.was {
		d.now = d.was.Clone()
	}
	if member {
		d.now.Add(seq)
	} else {
		d.now.Remove(seq)
	}
	return nil
}

// appendOutcomes packs answers for a mark: runs of one outcome and ascending seqs.
func appendOutcomes(to []byte, done []fanfare.Upserted) []byte {
	for i := 0; i < len(done); {
		n := 1
		for i+n < len(done) && done[i+n].Outcome == done[i].Outcome && uint64(done[i+n].Seq) == uint64(done[i].Seq)+uint64(n) {
			n++
		}
		to = append(to, byte(done[i].Outcome))
		to = binary.AppendUvarint(to, uint64(n))
		to = binary.AppendUvarint(to, uint64(done[i].Seq))
		i += n
	}
	return to
}

func outcomesOf(n fanfare.Slot, packed []byte) (done []fanfare.Upserted, err error) {
	for len(packed) > 0 {
		outcome := fanfare.UpsertOutcome(packed[0])
		count, a := binary.Uvarint(packed[1:])
		if a <= 0 {
			return nil, fanfare.ErrDamaged
		}
		first, b := binary.Uvarint(packed[1+a:])
		if b <= 0 || count > set.Universe || first+count > set.Universe || outcome < fanfare.UpsertCreated || outcome > fanfare.UpsertErased {
			return nil, fanfare.ErrDamaged
		}
		for seq := first; seq < first+count; seq++ {
			done = append(done, fanfare.Upserted{Person: fanfare.Person{Slot: n, Seq: fanfare.Seq(seq)}, Outcome: outcome})
		}
		packed = packed[1+a+b:]
	}
	return done, nil
}
