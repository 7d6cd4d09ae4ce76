package esmtp

import "time"

// behind says what was written before the envelope that is under way.
type behind uint8

const (
	nothing  behind = iota
	aBody           // a message's body: its answer is that message's
	aLoneDot        // the end of a DATA without recipients: a refusal is expected
	aReset          // RSET: 2xx is expected
)

// group is what leaves in one write: the end of one message, then the envelope of the next.
type group struct {
	before behind
	i      int // the message whose body it is, with aBody
	dot    int // the place of its last dot

	cur  int // the message whose envelope follows; -1: none
	from int // the place of its first byte
	body letter
	at   time.Time // when may was asked
}

// pipelined sends the chunk with one round trip a message.
func (s *sending) pipelined() *Error {
	c := s.c
	c.out = c.out[:0]
	g := group{}
	s.envelope(&g)
	for g.cur >= 0 || g.before != nothing {
		if n, err := c.write(c.out); err != nil {
			return s.unwritten(&g, n, err)
		}
		if !s.held {
			s.prepare() // while the server works
		}
		if err := s.settle(&g); err != nil {
			if g.cur >= 0 {
				s.answer(g.cur, err.answer(NotAccepted))
			}
			return err
		}
		if g.cur < 0 {
			return nil
		}
		if err := s.follow(&g); err != nil {
			return err
		}
		s.envelope(&g)
	}
	return nil
}

// envelope adds the envelope of the next message to what leaves, if there is one.
func (s *sending) envelope(g *group) {
	c := s.c
	g.from = len(c.out)
	g.cur, g.body, g.at = s.begin()
	if g.cur >= 0 {
		c.out = append(append(append(c.out, s.mail...), s.rcpt...), "DATA\r\n"...)
	}
}

// settle reads the answer to what was written before the envelope.
func (s *sending) settle(g *group) *Error {
	switch g.before {
	case aBody:
		return s.final(g.i)
	case aLoneDot:
		// Even a yes delivers nothing: there was no recipient.
		r, err := s.c.reply(s.ctx, StepBody, s.c.t.Final)
		if err == nil && (r.code == 421 || r.code/100 == 3) {
			return s.c.refused(StepBody, r)
		}
		return err
	case aReset:
		r, err := s.c.reply(s.ctx, StepRset, s.c.t.Command)
		if err == nil && !r.positive() {
			return s.c.refused(StepRset, r)
		}
		return err
	}
	return nil
}

// follow reads the three answers to an envelope and puts into c.out what follows from them. The message is answered unless its body
// is now on its way.
func (s *sending) follow(g *group) *Error {
	c, i := s.c, g.cur
	refusedMail, err := s.accepts(StepMail)
	var refused *Answer
	if err == nil {
		refused, err = s.accepts(StepRcpt)
	}
	if refusedMail != nil {
		refused = refusedMail
	}
	if err == nil {
		var goOn bool
		var no *Answer
		goOn, no, err = s.data()
		if refused == nil {
			refused = no
		}
		if err == nil && goOn {
			return s.bodyOrDot(g, refusedMail, refused)
		}
	}
	switch {
	case refused != nil: // the server's verdict holds, whatever came after it
		s.answer(i, *refused)
	case err != nil:
		s.answer(i, err.answer(NotAccepted))
	}
	c.out = append(c.out[:0], "RSET\r\n"...)
	g.before, g.i = aReset, -1
	return err
}

// bodyOrDot is what follows a 354.
func (s *sending) bodyOrDot(g *group, refusedMail, refused *Answer) *Error {
	c, i := s.c, g.cur
	c.out = c.out[:0]
	switch {
	case refusedMail != nil:
		// A server that refuses MAIL and then takes RCPT or DATA might deliver an empty mail at a dot: no dot.
		s.answer(i, *refused)
		return c.end(&Error{Step: StepData, Temporary: true, Err: ErrProtocol, Text: "354 after a refused MAIL"})
	case refused != nil:
		// RFC 2920, 3.1: no recipient and yet a 354: one dot ends it.
		s.answer(i, *refused)
		c.out = append(c.out, ".\r\n"...)
		g.before, g.i = aLoneDot, -1
	case !s.permitted(i, g.at):
		return s.withdrawn(i)
	default:
		g.before, g.i = aBody, i
		g.dot = c.dotted(g.body)
	}
	return nil
}

// unwritten says what became of the messages of a group of which only n bytes left.
func (s *sending) unwritten(g *group, n int, cause error) *Error {
	step := StepMail
	if g.before == aBody {
		step = StepBody
	}
	r, err := s.farewell(step, cause)
	told := err == nil // the server said something
	switch {
	case g.before == aBody && told && n >= g.dot+len(".\r\n"):
		err = s.judge(g.i, r, Unknown)
	case g.before == aBody && told && r.refusal():
		err = s.judge(g.i, r, NotAccepted) // in mid-body
	case g.before == aBody:
		k := NotAccepted
		if n > g.dot || told { // a yes to half a message is nonsense, but who knows
			k = Unknown
		}
		if told {
			err = s.c.refused(step, r)
		}
		s.answer(g.i, err.answer(k))
	case told && r.code == 421:
		err = s.c.refused(step, r)
	}
	if err == nil { // judged, and the connection is gone all the same
		err = &Error{Step: StepMail, Temporary: true, Err: cause}
	}
	err = s.c.end(err)
	if g.cur >= 0 {
		k := NotAccepted
		if n <= g.from {
			k = NotBegun
		}
		s.answer(g.cur, err.answer(k))
	}
	return err
}

// lockStep sends the chunk to a server without PIPELINING: a command, its answer, the next command.
func (s *sending) lockStep() *Error {
	for {
		i, body, at := s.begin()
		if i < 0 {
			return nil
		}
		goOn, err := s.talk(i)
		if err != nil {
			return err
		}
		if !goOn {
			r, err := s.c.command(s.ctx, StepRset, "RSET")
			if err == nil && !r.positive() {
				err = s.c.refused(StepRset, r)
			}
			if err != nil {
				return err
			}
			continue
		}
		if !s.permitted(i, at) {
			return s.withdrawn(i)
		}
		s.c.out = s.c.out[:0]
		g := group{before: aBody, i: i, cur: -1, dot: s.c.dotted(body)}
		if n, werr := s.c.write(s.c.out); werr != nil {
			return s.unwritten(&g, n, werr)
		}
		s.prepare()
		if err := s.final(i); err != nil {
			return err
		}
	}
}

// talk brings the envelope of message i to its 354, one command at a time. A refusal is answered.
func (s *sending) talk(i int) (goOn bool, err *Error) {
	var refused *Answer
	for _, part := range []struct {
		step Step
		line []byte
	}{{StepMail, s.mail}, {StepRcpt, s.rcpt}, {StepData, []byte("DATA\r\n")}} {
		if _, werr := s.c.write(part.line); werr != nil {
			var r reply
			if r, err = s.farewell(part.step, werr); err == nil {
				err = s.c.refused(part.step, r)
			}
			err = s.c.end(err)
			break
		}
		if part.step == StepData {
			goOn, refused, err = s.data()
		} else {
			refused, err = s.accepts(part.step)
		}
		if refused != nil || err != nil {
			break
		}
	}
	switch {
	case refused != nil:
		s.answer(i, *refused)
	case err != nil:
		s.answer(i, err.answer(NotAccepted))
	}
	return goOn, err
}
