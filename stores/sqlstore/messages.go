package sqlstore

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"fanfare"
)

// messageColumns are a message's values that can change, in the order of messages.save; created_at is left to the caller.
func messageColumns(m *fanfare.Message) (before, after []driver.Value, err error) {
	trigger, e1 := encode(m.Trigger, m.Trigger == nil)
	waiting, e2 := encode(m.Waiting, m.Waiting == nil)
	tags, e3 := encode(m.Tags, m.Tags == nil)
	content, e4 := encode(m.Content, false)
	scopes, e5 := encode(m.Scopes, !m.Reopens)
	if err := errors.Join(e1, e2, e3, e4, e5); err != nil {
		return nil, nil, fmt.Errorf("message %s: %w", m.ID, err)
	}
	var expires time.Time
	if m.Channel == fanfare.ChannelInbox && !m.StartedAt.IsZero() {
		expires = m.ExpiresAt()
	}
	before = []driver.Value{m.Name, string(m.Channel), int64(m.Phase.Status()), string(m.Phase), int64(m.Generation), string(m.PauseReason),
		string(m.PausedFrom), string(m.Ending), int64(m.Revision), m.Provider, m.Topic, m.Essential, m.Test, m.SendAt, m.NotAfter,
		int64(m.StartGrace), m.Rate, string(m.Priority), string(m.Uncertain), string(m.Dedupe), string(m.Outcome)}
	after = []driver.Value{m.UpdatedAt, m.StartedAt, m.FinishedAt, trigger, waiting, tags, raw(m.Audience), raw(m.Data), raw(m.Metadata), content, scopes, string(m.Recall), expires}
	return before, after, nil
}

func (c *conn) scanMessage(r []driver.Value, m *fanfare.Message) error {
	*m = fanfare.Message{
		Num: fanfare.MessageNum(integer(r[0])), ID: fanfare.MessageID(text(r[1])), Name: text(r[2]), Channel: fanfare.ChannelName(text(r[3])),
		State: fanfare.State{Phase: fanfare.Phase(text(r[4])), Generation: fanfare.Generation(integer(r[5])),
			PauseReason: fanfare.PauseReason(text(r[6])), PausedFrom: fanfare.Phase(text(r[7])), Ending: fanfare.Phase(text(r[8])),
			Reopens: r[33] != nil},
		Revision: fanfare.Revision(integer(r[9])), Provider: text(r[10]), Topic: text(r[11]), Essential: integer(r[12]) != 0,
		Test: integer(r[13]) != 0, SendAt: moment(r[14]), NotAfter: moment(r[15]), StartGrace: time.Duration(integer(r[16])), Rate: real(r[17]),
		Priority: fanfare.Priority(text(r[18])), Uncertain: fanfare.Policy(text(r[19])), Dedupe: fanfare.Dedupe(text(r[20])),
		Outcome: fanfare.Outcome(text(r[21])), CreatedAt: moment(r[22]), UpdatedAt: moment(r[23]), StartedAt: moment(r[24]),
		FinishedAt: moment(r[25]), Audience: rawOf(r[29]), Data: rawOf(r[30]), Metadata: rawOf(r[31]), Recall: fanfare.Recall(text(r[34])), Few: integer(r[35]) != 0,
	}
	what := fmt.Sprintf("messages row %d", m.Num)
	return errors.Join(c.decode(what, r[26], &m.Trigger), c.decode(what, r[27], &m.Waiting), c.decode(what, r[28], &m.Tags),
		c.decode(what, r[32], &m.Content), c.decode(what, r[33], &m.Scopes))
}

func (v *controlView) Message(id fanfare.MessageID) (m fanfare.Message, err error) {
	return m, v.get("message", id, func(r []driver.Value) error { return v.c.scanMessage(r, &m) }, "messages.by_id", string(id))
}

func (v *controlView) MessageByNum(n fanfare.MessageNum) (m fanfare.Message, err error) {
	return m, v.get("message number", n, func(r []driver.Value) error { return v.c.scanMessage(r, &m) }, "messages.by_num", int64(n))
}

func (v *controlView) Messages(f fanfare.MessageFilter) (items []fanfare.Message, next string, err error) {
	before, limit, err := page(f.Cursor, f.Limit)
	if err != nil {
		return nil, "", err
	}
	status := int64(-1)
	if f.Status != nil {
		status = int64(*f.Status)
	}
	after := int64(-1 << 62)
	if !f.CreatedAfter.IsZero() {
		after = f.CreatedAfter.UnixMicro()
	}
	err = v.c.query(func(r []driver.Value) error {
		var m fanfare.Message
		if err := v.c.scanMessage(r, &m); err != nil {
			return err
		}
		items = append(items, m)
		return nil
	}, "messages.list", status, status, string(f.Phase), string(f.Phase), f.Name, f.Name, after, f.Unfinished, f.Tag, f.Tag, before, before, limit+1)
	items, next = cut(items, limit, func(m fanfare.Message) int64 { return int64(m.Num) })
	return items, next, err
}

// head reads number, phase and generation of a message.
func (x *controlTx) head(id fanfare.MessageID) (num int64, phase fanfare.Phase, g fanfare.Generation, err error) {
	err = x.get("message", id, func(r []driver.Value) error {
		num, phase, g = integer(r[0]), fanfare.Phase(text(r[1])), fanfare.Generation(integer(r[2]))
		return nil
	}, "messages.num", string(id))
	return num, phase, g, err
}

func (x *controlTx) InsertMessage(m *fanfare.Message) error {
	if _, _, _, err := x.head(m.ID); err == nil {
		return taken("message", m.ID)
	} else if !errors.Is(err, fanfare.ErrNotFound) {
		return err
	}
	before, after, err := messageColumns(m)
	if err != nil {
		return err
	}
	values := append([]driver.Value{string(m.ID)}, before...)
	values = append(append(values, m.CreatedAt), after...)
	num, err := x.t.insert("messages.insert", values...)
	if err != nil {
		return err
	}
	m.Num = fanfare.MessageNum(num)
	x.tell(m.Channel, num)
	return x.tag(num, m.Tags)
}

func (x *controlTx) tag(num int64, tags []string) error {
	for _, tag := range tags {
		if _, err := x.t.exec("tags.insert", num, tag); err != nil {
			return err
		}
	}
	return nil
}

func (x *controlTx) SaveMessage(m *fanfare.Message, from fanfare.Phase, was fanfare.Generation) error {
	before, after, err := messageColumns(m)
	if err != nil {
		return err
	}
	values := append(append(before, after...), m.Few, string(m.ID), string(from), int64(was))
	n, err := x.t.exec("messages.save", values...)
	if err != nil {
		return err
	}
	num, phase, g, err := x.head(m.ID)
	if err != nil {
		return err
	}
	if n == 0 {
		return fmt.Errorf("message %s is %s, generation %d, not %s, generation %d: %w", m.ID, phase, g, from, was, fanfare.ErrConflict)
	}
	x.tell(m.Channel, num)
	if _, err := x.t.exec("tags.delete", num); err != nil {
		return err
	}
	return x.tag(num, m.Tags)
}

// tell has the log say that inboxes may show another message.
func (x *controlTx) tell(c fanfare.ChannelName, num int64) {
	if c == fanfare.ChannelInbox {
		x.t.tell(fanfare.News{Kind: fanfare.NewsMessage, Message: fanfare.MessageNum(num)})
	}
}

func (x *controlTx) DeleteMessage(id fanfare.MessageID) error {
	num, _, _, err := x.head(id)
	if err != nil {
		return err
	}
	if _, err := x.t.exec("tags.delete", num); err != nil {
		return err
	}
	return x.delete("message", "messages.delete", num)
}
