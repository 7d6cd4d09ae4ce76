package esmtp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Message is one mail to one recipient.
type Message struct {
	From string // empty: the null reverse-path
	To   string
	Body []byte // header and body; line ends and dots are taken care of
	// Render appends the body to dst, when Body is nil. It runs shortly before the message is begun, not always followed by it.
	Render func(dst []byte) ([]byte, error)
	// Canonical promises a body of which [IsCanonical] is true: it leaves as it is, unread.
	Canonical bool
}

// Kind is what became of a message.
type Kind uint8

// The kinds.
const (
	NotBegun    Kind = iota // not a byte of it left
	NotAccepted             // begun, but the connection ended before its last dot left, or by a 421: the server does not have it
	Failed                  // refused by the server, or (Code 0) by ourselves before anything left
	Sent                    // accepted
	Unknown                 // the last dot may have arrived; no answer
)

func (k Kind) String() string {
	return [...]string{"not begun", "not accepted", "failed", "sent", "unknown"}[k]
}

// Answer is what became of one message.
type Answer struct {
	Kind      Kind
	Step      Step // where it ended
	Code      int
	Enhanced  string
	Text      string // the server's, or the reason when there is no code
	Temporary bool   // of Failed: it may be tried again
	Err       error  // of Render, when that failed
}

// Is421 says whether the server closed its service at this message: not this message's fault.
func (a Answer) Is421() bool { return a.Code == 421 }

// lookAgain is how old a permission may be when the body leaves. Below it, one question a message is enough.
const lookAgain = 250 * time.Millisecond

// Send sends the messages in order and calls answer exactly once for each of them, from this goroutine, before it returns.
//
// may(i) is asked immediately before the first byte of message i leaves, and again before its body when the server let it wait for
// more than 250 ms in between; nil means yes. A no to the first question leaves message i and all later ones not begun, and the
// connection fit for more. A no to the second can only be carried out by closing the connection: i is not accepted.
//
// An error is an *Error and means that the connection is of no use any more; the answers say what became of each message.
// When ctx ends the connection is closed at once.
func (c *Conn) Send(ctx context.Context, msgs []Message, may func(i int) bool, answer func(i int, a Answer)) error {
	return c.Stream(ctx, func() []Message {
		all := msgs
		msgs = nil
		return all
	}, may, answer)
}

// Stream is Send of messages that come by and by. more is asked when an envelope could leave and all that it gave were begun: the first
// envelope of what it gives leaves with the last dot of what it gave before. It does not wait; when it gives none, or when may says no, the
// stream ends with the answers that are owed. Messages are numbered through.
func (c *Conn) Stream(ctx context.Context, more func() []Message, may func(i int) bool, answer func(i int, a Answer)) error {
	s := sending{c: c, ctx: ctx, more: more, msgs: more(), may: may, answer: answer}
	err := c.broken
	if err == nil {
		stop := c.watch(ctx)
		if c.caps.Pipelining {
			err = s.pipelined()
		} else {
			err = s.lockStep()
		}
		if !stop() && err == nil {
			err = c.lost(ctx, StepBody, context.Cause(ctx))
		}
	}
	left := Answer{}
	if err != nil {
		left = err.answer(NotBegun)
	}
	for ; s.next < s.base+len(s.msgs); s.next++ {
		answer(s.next, left)
	}
	if cap(c.out) > 1<<20 { // one giant does not stay
		c.out, c.bodies = nil, [2][]byte{}
	}
	if err != nil {
		return err
	}
	return nil
}

// answer makes of the connection's end what it means for one message.
func (e *Error) answer(k Kind) Answer {
	a := Answer{Kind: k, Step: e.Step, Code: e.Code, Enhanced: e.Enhanced, Text: e.Text}
	if e.Err != nil && a.Text == "" {
		a.Text = cleanText([]byte(e.Err.Error()))
	}
	return a
}

// letter is a message's header and body.
type letter struct {
	bytes     []byte
	canonical bool
}

// sending is one call of Stream.
type sending struct {
	c      *Conn
	ctx    context.Context
	more   func() []Message
	may    func(int) bool
	answer func(int, Answer)

	msgs  []Message // what more gave last
	base  int       // the number of the first of them
	next  int       // the first message that was neither begun nor answered
	ready bool
	body  letter // of next, when ready
	mail  []byte // its MAIL line
	rcpt  []byte // its RCPT line
	flip  int    // which of the connection's two body buffers is free
	held  bool   // may said no
}

// prepare finds the next message that can be sent, renders it and builds its envelope. Those that cannot are answered.
func (s *sending) prepare() bool {
	for !s.ready && s.next < s.base+len(s.msgs) {
		a, ok := s.build(&s.msgs[s.next-s.base])
		if ok {
			s.ready = true
			break
		}
		s.answer(s.next, a)
		s.next++
	}
	return s.ready
}

// find is prepare, also among messages that were not asked for yet.
func (s *sending) find() bool {
	for !s.prepare() {
		s.base, s.msgs = s.next, s.more()
		if len(s.msgs) == 0 {
			return false
		}
	}
	return true
}

func local(step Step, enhanced, text string) (Answer, bool) {
	return Answer{Kind: Failed, Step: step, Enhanced: enhanced, Text: cleanText([]byte(text))}, false
}

func (s *sending) build(m *Message) (Answer, bool) {
	c := s.c
	if m.From != c.from.given {
		c.parseFrom(m.From)
	}
	if c.from.why != "" {
		return local(StepMail, "5.1.7", c.from.why)
	}
	to, err := ParseAddress(m.To)
	if err != nil {
		return local(StepRcpt, "5.1.3", err.Error())
	}
	utf8 := to.UTF8 || c.fromU8
	if utf8 && !c.caps.SMTPUTF8 {
		return local(StepRcpt, "5.6.7", "the server does not offer SMTPUTF8, which this address needs")
	}
	s.body = letter{m.Body, m.Canonical}
	if m.Body == nil && m.Render != nil {
		s.body.bytes, err = m.Render(c.bodies[s.flip][:0])
		if err != nil {
			a, _ := local(StepRender, "", err.Error())
			a.Err = err
			return a, false
		}
		c.bodies[s.flip] = s.body.bytes
	}
	if c.caps.Size > 0 && int64(len(s.body.bytes)) > c.caps.Size {
		return local(StepMail, "5.3.4", fmt.Sprintf("%d bytes; the server takes %d", len(s.body.bytes), c.caps.Size))
	}
	eight := !m.Canonical && eightBit(s.body.bytes)
	if eight && !c.caps.EightBitMIME {
		return local(StepMail, "5.6.3", "the body has 8-bit bytes and the server does not offer 8BITMIME")
	}
	s.mail = append(append(append(s.mail[:0], "MAIL FROM:<"...), c.from.wire...), '>')
	if c.caps.HasSize {
		s.mail = strconv.AppendInt(append(s.mail, " SIZE="...), int64(len(s.body.bytes)), 10)
	}
	if eight {
		s.mail = append(s.mail, " BODY=8BITMIME"...)
	}
	if utf8 {
		s.mail = append(s.mail, " SMTPUTF8"...)
	}
	s.mail = append(s.mail, '\r', '\n')
	s.rcpt = append(append(append(s.rcpt[:0], "RCPT TO:<"...), to.Local...), '@')
	s.rcpt = append(append(s.rcpt, to.wire...), '>', '\r', '\n')
	return Answer{}, true
}

func (c *Conn) parseFrom(from string) {
	c.from.given, c.from.wire, c.from.why, c.fromU8 = from, "", "", false
	if from == "" {
		return
	}
	a, err := ParseAddress(from)
	if err != nil {
		c.from.why = err.Error()
		return
	}
	c.from.wire, c.fromU8 = a.Wire(), a.UTF8
}

// begin takes the next message if there is one and it is permitted. i is -1 otherwise.
func (s *sending) begin() (i int, body letter, at time.Time) {
	if s.held || !s.find() {
		return -1, letter{}, time.Time{}
	}
	at = time.Now()
	if s.may != nil && !s.may(s.next) || s.ctx.Err() != nil { // whoever closes the connection then may be a moment late
		s.held = true
		return -1, letter{}, time.Time{}
	}
	i, body = s.next, s.body
	s.next, s.ready, s.flip = s.next+1, false, 1-s.flip
	return i, body, at
}

// permitted looks again when the first look is old.
func (s *sending) permitted(i int, asked time.Time) bool {
	return s.may == nil || time.Since(asked) < lookAgain || s.may(i)
}

// final reads the answer to the last dot of message i.
func (s *sending) final(i int) *Error {
	r, err := s.c.reply(s.ctx, StepBody, s.c.t.Final)
	if err != nil {
		s.answer(i, err.answer(Unknown))
		return err
	}
	return s.judge(i, r, Unknown)
}

// judge turns the reply to a last dot into the answer of message i; other is what a reply that makes no sense means.
func (s *sending) judge(i int, r reply, other Kind) *Error {
	if r.code == 421 || !r.positive() && !r.refusal() {
		err := s.c.refused(StepBody, r)
		k := other
		if r.code == 421 {
			k = NotAccepted
		}
		s.answer(i, err.answer(k))
		return err
	}
	a := Answer{Kind: Sent, Step: StepBody, Code: r.code}
	if !r.positive() {
		a.Kind, a.Temporary = Failed, r.code/100 == 4
	}
	a.Enhanced, a.Text = r.words()
	s.answer(i, a)
	return nil
}

// accepts reads the answer to MAIL or RCPT. refusal is set when the server refused the envelope, err when the connection ended.
func (s *sending) accepts(step Step) (refusal *Answer, err *Error) {
	r, err := s.c.reply(s.ctx, step, s.c.t.Command)
	switch {
	case err != nil:
		return nil, err
	case r.positive():
		return nil, nil
	case r.code == 421 || !r.refusal():
		return nil, s.c.refused(step, r)
	}
	return failed(step, r), nil
}

func failed(step Step, r reply) *Answer {
	a := &Answer{Kind: Failed, Step: step, Code: r.code, Temporary: r.code/100 == 4}
	a.Enhanced, a.Text = r.words()
	return a
}

// data reads the answer to DATA: go on, or no.
func (s *sending) data() (goOn bool, refusal *Answer, err *Error) {
	r, err := s.c.reply(s.ctx, StepData, s.c.t.Data)
	switch {
	case err != nil:
		return false, nil, err
	case r.code == 354:
		return true, nil, s.silent()
	case r.code == 421 || !r.refusal():
		return false, nil, s.c.refused(StepData, r)
	}
	return false, failed(StepData, r), nil
}

// silent makes sure that nothing was said that nobody asked for: it would be taken for the answer to the last dot.
func (s *sending) silent() *Error {
	if s.c.in.in.Buffered() == 0 {
		return nil
	}
	if r, err := s.c.in.read(); err == nil && r.code == 421 {
		return s.c.refused(StepData, r)
	}
	return s.c.lost(s.ctx, StepData, fmt.Errorf("%w: an answer to nothing", ErrProtocol))
}

// withdrawn ends the connection because message i may not be sent any more.
func (s *sending) withdrawn(i int) *Error {
	err := s.c.end(&Error{Step: StepData, Temporary: true, Err: ErrNotPermitted})
	s.answer(i, err.answer(NotAccepted))
	return err
}

// dotted puts body and last dot into c.out and gives the place of that dot.
func (c *Conn) dotted(body letter) (dot int) {
	if body.canonical {
		c.out = append(c.out, body.bytes...)
	} else {
		c.out = appendStuffed(c.out, body.bytes)
	}
	dot = len(c.out)
	c.out = append(c.out, '.', '\r', '\n')
	return dot
}

// farewell looks for the server's last words after a write failed: a 421 or a refusal that came before the connection broke.
func (s *sending) farewell(step Step, cause error) (reply, *Error) {
	lost := &Error{Step: step, Temporary: true, Err: cause}
	if ended := context.Cause(s.ctx); ended != nil {
		lost.Err = ended
		return reply{}, lost
	}
	var timeout interface{ Timeout() bool }
	if errors.As(cause, &timeout) && timeout.Timeout() {
		return reply{}, lost
	}
	s.c.readBy.set(s.c.nc.SetReadDeadline, time.Now().Add(time.Second))
	r, err := s.c.in.read()
	if err != nil {
		return reply{}, lost
	}
	r.text = bytes.Clone(r.text)
	return r, nil
}
