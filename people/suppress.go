package people

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"fanfare"
	"fanfare/set"
)

// suppression is one row of a file of suppressions: of a recipient, or of an address.
type suppression struct {
	id      string
	mailbox uint64 // where id is empty
	channel fanfare.ChannelName
	topic   string
	reason  fanfare.Reason
	line    int
}

func (s *suppression) set() fanfare.SetName {
	return fanfare.SuppressionSet(s.channel, s.topic, s.reason)
}

// suppressionRows reads them from CSV.
type suppressionRows struct {
	r       *csv.Reader
	limit   *lineLimit
	columns []string
}

func newSuppressionRows(r io.Reader, o Options) (*suppressionRows, error) {
	text, err := decode(r, o.Encoding)
	if err != nil {
		return nil, err
	}
	limit := &lineLimit{r: newQuoteGuard(text), left: maxLine}
	s := &suppressionRows{r: csv.NewReader(limit), limit: limit}
	s.r.ReuseRecord, s.r.FieldsPerRecord = true, -1
	header, err := s.r.Read()
	switch {
	case errors.Is(err, io.EOF):
		return nil, errors.New("the file is empty; its first line must name the columns: external_id or address, channel, topic, reason")
	case err != nil:
		return nil, fmt.Errorf("the header row cannot be read: %w", err)
	}
	for i, h := range header {
		name := strings.TrimSpace(h)
		if to, ok := o.Map[name]; ok {
			name = to
		}
		switch name {
		case "id":
			name = "external_id"
		case "email":
			name = "address"
		case "external_id", "address", "channel", "topic", "reason":
		default:
			return nil, fmt.Errorf("column %d of the header row: %q is unknown; there are external_id, address, channel, topic and reason: remove it, or use map=COLUMN:NAME", i+1, name)
		}
		if slices.Contains(s.columns, name) {
			return nil, fmt.Errorf("the header row names %q twice; rename one of the columns", name)
		}
		s.columns = append(s.columns, name)
	}
	for _, name := range slices.Sorted(maps.Keys(o.Map)) {
		if !slices.ContainsFunc(header, func(h string) bool { return strings.TrimSpace(h) == name }) {
			return nil, fmt.Errorf("map names the column %q, which the header row %q does not have; mend the name", name, strings.Join(header, ","))
		}
	}
	if !slices.Contains(s.columns, "external_id") && !slices.Contains(s.columns, "address") {
		return nil, fmt.Errorf("no column external_id or address in the header row %q; rename one or use map=COLUMN:address", strings.Join(header, ","))
	}
	return s, nil
}

// next answers as Rows.Next does.
func (r *suppressionRows) next() (s suppression, err error) {
	r.limit.left = maxLine
	record, err := r.r.Read()
	if err != nil {
		if parse, ok := errors.AsType[*csv.ParseError](err); ok {
			return s, &RowError{parse.StartLine, fmt.Errorf("is no CSV: %w; quote the cell and double the quotes in it", parse.Err)}
		}
		return s, err
	}
	line, _ := r.r.FieldPos(0)
	if len(record) != len(r.columns) {
		return s, &RowError{line, fmt.Errorf("has %d cells, the header row has %d", len(record), len(r.columns))}
	}
	s = suppression{channel: fanfare.ChannelEmail, reason: fanfare.ReasonSuppressed, line: line}
	address := ""
	for i, cell := range record {
		cell = strings.Clone(strings.TrimSpace(cell))
		switch r.columns[i] {
		case "external_id":
			s.id = cell
		case "address":
			address = cell
		case "topic":
			s.topic = cell
		case "channel":
			if cell != "" {
				s.channel = fanfare.ChannelName(cell)
			}
		case "reason":
			if cell != "" {
				s.reason = fanfare.Reason(cell)
			}
		}
	}
	if err := s.check(address); err != nil {
		return s, &RowError{line, err}
	}
	return s, nil
}

func (s *suppression) check(address string) error {
	ofAddress := s.reason == fanfare.ReasonBounced || s.reason == fanfare.ReasonComplained
	switch {
	case !slices.Contains([]fanfare.ChannelName{fanfare.ChannelEmail, fanfare.ChannelInbox, fanfare.ChannelNull}, s.channel):
		return errors.New("channel: is none; there are email, inbox and null")
	case !ofAddress && s.reason != fanfare.ReasonUnsubscribed && s.reason != fanfare.ReasonSuppressed:
		return errors.New("reason: is none; there are unsubscribed, suppressed, bounced and complained")
	case s.topic != "" && ofAddress:
		return fmt.Errorf("topic: %s holds for the whole channel; leave the topic empty", s.reason)
	case len(s.topic) > 200 || !plain(s.topic):
		return errors.New("topic: has more than 200 bytes, holds control characters or is not valid UTF-8")
	case s.id == "" && address == "":
		return errors.New("neither external_id nor address is given")
	case s.id != "" && address != "":
		return errors.New("external_id and address are both given; make two rows of it")
	case s.id != "":
		return CheckExternalID(s.id)
	case s.channel != fanfare.ChannelEmail:
		return errors.New("channel: an address is one of the channel email; name the recipient by external_id instead")
	}
	state, mailbox := EmailState(address)
	if state != fanfare.AddressUsable {
		return errors.New("address: is no e-mail address")
	}
	s.mailbox = mailbox
	return nil
}

// suppressions is store1 for a file of suppressions. A block that is done again, after a kill in the middle of it, changes nothing more; what
// was new in it then counts as unchanged.
func (j *job) suppressions(ctx context.Context, f io.Reader) (err error) {
	rows, err := newSuppressionRows(f, j.o)
	if err != nil {
		return err
	}
	if err := j.open(ctx); err != nil {
		return err
	}
	defer func() { err = j.closed(err) }()
	for number := int64(0); ; number++ {
		var block []suppression
		var refused []*RowError
		last := false
		for len(block)+len(refused) < j.im.block && !last {
			s, err := rows.next()
			if bad, ok := errors.AsType[*RowError](err); ok {
				refused = append(refused, bad)
			} else if last = errors.Is(err, io.EOF); err != nil && !last {
				return err
			} else if !last {
				block = append(block, s)
			}
		}
		if number >= j.imp.Block {
			if err := j.suppress(ctx, block, refused, number); err != nil {
				return err
			}
		}
		if last {
			return j.finish(ctx)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// suppress carries out a block.
func (j *job) suppress(ctx context.Context, block []suppression, refused []*RowError, number int64) error {
	next := *j.imp
	next.Rows += int64(len(block) + len(refused))
	topics := make(map[string]bool)
	addresses := make(map[fanfare.SetName][]uint64)
	people := make([][]suppression, j.im.store.Slots())
	for _, s := range block {
		topics[s.topic] = true
		if s.id == "" {
			addresses[s.set()] = append(addresses[s.set()], s.mailbox)
		} else {
			slot := fanfare.SlotOf(s.id, len(people))
			people[slot] = append(people[slot], s)
		}
	}
	if err := j.im.store.Update(ctx, func(tx fanfare.ControlTx) error { return fanfare.NoteTopics(tx, slices.Sorted(maps.Keys(topics))...) }); err != nil {
		if errors.Is(err, fanfare.ErrUsage) {
			return err
		}
		return fmt.Errorf("%w: %w", errStore, err)
	}
	added, err := fanfare.SuppressAddresses(ctx, j.im.store, addresses)
	for n, rows := range people {
		if err != nil {
			break
		}
		var some int
		var unknown []*RowError
		some, unknown, err = j.suppressPeople(ctx, fanfare.Slot(n), rows) //nolint:gosec // slots fit
		added, refused = added+some, append(refused, unknown...)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errStore, err)
	}
	slices.SortFunc(refused, func(a, b *RowError) int { return a.Line - b.Line })
	next.Failed += int64(len(refused))
	next.Created += int64(added)
	next.Unchanged = next.Rows - next.Failed - next.Created
	return j.record(ctx, next, refused, number)
}

// suppressPeople carries out the rows of one slot that name recipients.
func (j *job) suppressPeople(ctx context.Context, s fanfare.Slot, rows []suppression) (added int, unknown []*RowError, err error) {
	if len(rows) == 0 {
		return 0, nil, nil
	}
	ids := make([]string, len(rows))
	for i := range rows {
		ids[i] = rows[i].id
	}
	seqs, err := j.im.store.Resolve(ctx, s, ids)
	if err != nil {
		return 0, nil, err
	}
	sets := make(map[fanfare.SetName]*set.Set)
	for i, seq := range seqs {
		if seq < 0 {
			unknown = append(unknown, &RowError{rows[i].line, errors.New("nobody has this external_id; import the recipient first, or suppress the address")})
			continue
		}
		name := rows[i].set()
		if sets[name] == nil {
			sets[name] = set.New()
		}
		sets[name].Add(fanfare.Seq(seq)) //nolint:gosec // a seq
	}
	for name, members := range sets {
		n, _, err := j.im.store.ChangeSet(ctx, s, name, members, nil)
		if err != nil {
			return 0, nil, err
		}
		added += n
	}
	return added, unknown, nil
}
