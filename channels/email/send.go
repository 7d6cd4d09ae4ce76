package email

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"time"

	"fanfare"
	"fanfare/esmtp"
)

// idleTime is how long a connection may be idle before it is asked whether it is still of use.
const idleTime = 3 * time.Second

// goodbye is how long a server may take to answer QUIT.
const goodbye = 250 * time.Millisecond

// connection is one SMTP connection. One goroutine uses it at a time.
type connection struct {
	settings
	conn  *esmtp.Conn
	links Links
	bye   context.Context // of Close, which must be able to say good-bye after the context of Dial has ended
	used  time.Time       // when conn last was
	msgs  []esmtp.Message // of the chunk
	from  string          // the last sender
}

func (c *connection) open(ctx context.Context) error {
	conn, err := esmtp.Dial(ctx, c.smtp)
	if err != nil {
		return sendError(err)
	}
	c.conn, c.used = conn, time.Now()
	return nil
}

var (
	errNotRendered = errors.New("an item without its bytes; render it first")
	errLeftOut     = errors.New("an item for an address that the connection's only_to leaves out; render it anew by the provider as it is now")
)

// Send implements fanfare.Connection.
func (c *connection) Send(ctx context.Context, items []fanfare.Outgoing, may func(int) bool, answer func(int, fanfare.SendAnswer)) error {
	return c.Stream(ctx, func() []fanfare.Outgoing {
		all := items
		items = nil
		return all
	}, may, answer)
}

// Stream implements fanfare.Streamer.
func (c *connection) Stream(ctx context.Context, more func() []fanfare.Outgoing, may func(int) bool, answer func(int, fanfare.SendAnswer)) error {
	items := more()
	if err := c.ready(ctx, items); err != nil {
		for i := range items {
			answer(i, fanfare.SendAnswer{Kind: fanfare.NotBegun})
		}
		return err
	}
	var whole error // what is wrong with more than one item; nothing more is taken then
	first := true
	err := c.conn.Stream(ctx, func() []esmtp.Message {
		switch {
		case first:
			first = false
		case whole != nil:
			return nil
		default:
			items = more()
		}
		return c.take(items)
	}, may, func(i int, a esmtp.Answer) {
		told := judge(a)
		switch {
		case wantsAccount(a):
			whole = &fanfare.SendError{Step: string(a.Step), Auth: true, Code: told.Code, Text: told.Text}
			told = fanfare.SendAnswer{Kind: fanfare.NotBegun}
		case errors.Is(a.Err, errLeftOut), errors.Is(a.Err, errNotRendered):
			if whole == nil {
				whole = &fanfare.SendError{Step: string(esmtp.StepRender), Err: a.Err}
			}
			told = fanfare.SendAnswer{Kind: fanfare.NotBegun}
		}
		answer(i, told)
	})
	c.used = time.Now()
	clear(c.msgs)
	if err != nil {
		return sendError(err)
	}
	return whole
}

// ready sees to it that all items can be sent and that the server still listens: it may have closed an idle connection, which is
// nobody's fault and no reason to think that it is down.
func (c *connection) ready(ctx context.Context, items []fanfare.Outgoing) error {
	for i := range items {
		if len(items[i].Rendered) == 0 {
			return &fanfare.SendError{Step: string(esmtp.StepRender), Err: errNotRendered}
		}
	}
	if c.conn != nil && (time.Since(c.used) < idleTime || c.conn.Alive()) {
		return nil
	}
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
	return c.open(ctx)
}

// take makes messages of items. only_to was asked already when the item was rendered; it is asked again because this is the provider that
// sends. Where the two differ one of them is from before a change: whoever is left out is decided about anew.
func (c *connection) take(items []fanfare.Outgoing) []esmtp.Message {
	c.msgs = c.msgs[:0]
	for i := range items {
		it := &items[i]
		m := esmtp.Message{To: it.Address}
		switch {
		case !c.onlyTo.allow(it.Address):
			m.Render = func([]byte) ([]byte, error) { return nil, errLeftOut }
		case len(it.Rendered) == 0:
			m.Render = func([]byte) ([]byte, error) { return nil, errNotRendered }
		default:
			// Content.Render makes canonical bodies but for addresses that are not ASCII.
			m.From, m.Body, m.Canonical = c.sender(it.Rendered), it.Rendered, isASCII(it.Address)
			if c.back[1] != "" && c.links != nil && !it.Test && it.Recipient != nil { // a test is no item: it comes back to the sender
				m.From = c.back[0] + c.links.Return(it.Message, it.Recipient) + c.back[1]
			}
			if c.sign != nil { // when its turn comes, while the server is still busy with the one before
				m.Body, m.Render = nil, func(dst []byte) ([]byte, error) { return c.sign.append(dst, it.Rendered) }
			}
		}
		c.msgs = append(c.msgs, m)
	}
	return c.msgs
}

// sender gives the address in the From header of what Content.Render made: that header comes first, and its address last in it.
func (c *connection) sender(rendered []byte) string {
	line, ok := bytes.CutPrefix(rendered, []byte("From: "))
	if !ok {
		return ""
	}
	for from := 0; ; {
		end := bytes.Index(line[from:], []byte("\r\n"))
		if end < 0 {
			break
		}
		end += from
		if next := line[end+2:]; len(next) == 0 || next[0] != ' ' && next[0] != '\t' {
			line = line[:end]
			break
		}
		from = end + 2
	}
	if bytes.HasSuffix(line, []byte{'>'}) {
		line = line[bytes.LastIndexByte(line, '<')+1 : len(line)-1]
	}
	if string(line) != c.from { // mostly the same: no new string for each
		c.from = string(line)
	}
	return c.from
}

// judge translates an answer.
func judge(a esmtp.Answer) fanfare.SendAnswer {
	switch a.Kind {
	case esmtp.Sent:
		return fanfare.SendAnswer{Kind: fanfare.SendOK}
	case esmtp.Failed:
		told := fanfare.SendAnswer{Kind: fanfare.SendPermanent, Code: code(a.Code, a.Enhanced), Text: a.Text}
		if a.Temporary {
			told.Kind = fanfare.SendTemporary
		}
		return told
	case esmtp.Unknown:
		return fanfare.SendAnswer{Kind: fanfare.SendUnknown, Code: code(a.Code, a.Enhanced), Text: a.Text}
	default: // not begun, or begun and certainly not taken
		return fanfare.SendAnswer{Kind: fanfare.NotBegun, Code: code(a.Code, a.Enhanced), Text: a.Text}
	}
}

// wantsAccount: RFC 4954, 6: the server wants authentication, or TLS, before it takes anything from anybody. It is 530 5.7.0 there;
// go-smtp's servers say 502 5.7.0.
func wantsAccount(a esmtp.Answer) bool {
	return a.Kind == esmtp.Failed && a.Step == esmtp.StepMail && (a.Code == 530 || a.Code == 502 && a.Enhanced == "5.7.0")
}

// code writes "550 5.1.1".
func code(n int, enhanced string) string {
	switch {
	case n == 0:
		return enhanced
	case enhanced == "":
		return strconv.Itoa(n)
	}
	return strconv.Itoa(n) + " " + enhanced
}

// Close implements fanfare.Connection. The answer to a good-bye does not matter: each item has had its own.
func (c *connection) Close() error {
	if c.conn == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(c.bye, goodbye)
	defer cancel()
	err := c.conn.Quit(ctx)
	c.conn = nil
	return err
}
