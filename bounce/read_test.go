package bounce

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// postfix is a report as Postfix writes it, with what changes filled in.
func postfix(blocks string) string {
	return strings.ReplaceAll(`Return-Path: <>
X-Original-To: b+TOKEN@bounce.example.org
Delivered-To: pipe@mx.example.org
Date: Tue, 24 Nov 2026 09:00:00 +0000 (UTC)
From: MAILER-DAEMON@mx.example.org (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: b+TOKEN@bounce.example.org
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
	boundary="8F1.1/mx.example.org"

This is a MIME-encapsulated message.

--8F1.1/mx.example.org
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii

I'm sorry. Action: delivered

--8F1.1/mx.example.org
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.org
Arrival-Date: Tue, 24 Nov 2026 08:59:59 +0000 (UTC)

`+blocks+`
--8F1.1/mx.example.org
Content-Description: Undelivered Message
Content-Type: message/rfc822

Return-Path: <b+TOKEN@bounce.example.org>
From: News <news@example.org>
To: ada@example.com
Message-ID: <KEY@example.org>
List-Unsubscribe: <https://example.org/u/abc>
X-Fanfare-Message: msg_1

Action: delivered
--8F1.1/mx.example.org--
`, "\n", "\r\n")
}

func block(action, status, diagnostic string) string {
	return "Final-Recipient: rfc822; ada@example.com\nOriginal-Recipient: rfc822;ada@example.com\nAction: " + action + "\nStatus: " + status + "\nRemote-MTA: dns; mx.example.com\nDiagnostic-Code: " + diagnostic + "\n\n"
}

func TestRead(t *testing.T) {
	gone := block("failed", "5.1.1", "smtp; 550 5.1.1 <ada@example.com>: no such\n    user here")
	for name, c := range map[string]struct {
		raw    string
		kind   Kind
		status string
		text   string
	}{
		"failed":                  {postfix(gone), Failed, "5.1.1", "smtp; 550 5.1.1 <ada@example.com>: no such user here"},
		"line ends of Unix":       {strings.ReplaceAll(postfix(gone), "\r", ""), Failed, "5.1.1", "smtp; 550 5.1.1 <ada@example.com>: no such user here"},
		"of a mailbox file":       {"From MAILER-DAEMON Tue Nov 24\r\n" + postfix(gone), Failed, "5.1.1", "smtp; 550 5.1.1 <ada@example.com>: no such user here"},
		"delayed":                 {postfix(block("delayed", "4.4.1", "X-Postfix; timed out")), Undecided, "4.4.1", "X-Postfix; timed out"},
		"given up, for now":       {postfix(block("failed", "4.4.7", "x")), Undecided, "4.4.7", "x"},
		"delivered":               {postfix(block("delivered", "2.0.0", "smtp; 250 ok")), Delivered, "2.0.0", "smtp; 250 ok"},
		"relayed":                 {postfix(block("relayed", "2.0.0", "x")), Undecided, "2.0.0", "x"},
		"with a comment":          {postfix(block("Failed (for good)", "5.2.1 (disabled)", "x")), Failed, "5.2.1", "x"},
		"one of two got it":       {postfix(gone + block("delivered", "2.1.5", "x")), Delivered, "2.1.5", "x"},
		"one of two waits":        {postfix(block("delayed", "4.2.2", "full") + gone), Undecided, "4.2.2", "full"},
		"without a status":        {strings.Replace(postfix(gone), "Status: 5.1.1\r\n", "", 1), Failed, "550", "smtp; 550 5.1.1 <ada@example.com>: no such user here"},
		"broken off behind it":    {postfix(gone)[:strings.Index(postfix(gone), "Return-Path: <b")], Failed, "5.1.1", "smtp; 550 5.1.1 <ada@example.com>: no such user here"},
		"quoted-printable":        {strings.Replace(postfix(strings.Replace(gone, "Status: 5", "Status:=205", 1)), "delivery-status\r\n\r\n", "delivery-status\r\nContent-Transfer-Encoding: Quoted-Printable\r\n\r\n", 1), Failed, "5.1.1", "smtp; 550 5.1.1 <ada@example.com>: no such user here"},
		"the words of a headline": {strings.Replace(postfix(gone), "report-type=delivery-status;\r\n\t", "report-type=disposition-notification; ", 1), Failed, "5.1.1", "smtp; 550 5.1.1 <ada@example.com>: no such user here"},
	} {
		r, err := Read([]byte(c.raw))
		if err != nil || r.Kind != c.kind || r.Status != c.status || r.Text != c.text || !slices.Contains(r.To, "b+TOKEN@bounce.example.org") {
			t.Errorf("%s: %+v %v", name, r, err)
		} else if name != "broken off behind it" && (r.Subject.Get("Message-ID") != "<KEY@example.org>" || r.Subject.Get("List-Unsubscribe") != "<https://example.org/u/abc>") {
			t.Errorf("%s: of the mail %v", name, r.Subject)
		}
	}
}

// feedback is a report of RFC 5965.
func feedback(kind string) string {
	return "From: fbl@isp.example\r\nTo: abuse@example.org\r\nMIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=feedback-report; boundary=x\r\n\r\n--x\r\n\r\nA complaint.\r\n" +
		"--x\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: " + kind + "\r\nUser-Agent: isp/1\r\nVersion: 1\r\nOriginal-Mail-From: <b+TOKEN@bounce.example.org>\r\n" +
		"--x\r\nContent-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: base64\r\n\r\nTWVzc2FnZS1JRDogPEtF\r\nWUBleGFtcGxlLm9yZz4NCg==\r\n--x--\r\n"
}

func TestReadFeedback(t *testing.T) {
	for kind, want := range map[string]Kind{"abuse": Complained, "Abuse": Complained, "fraud": Complained, "opt-out": Complained, "not-spam": Undecided, "auth-failure": Undecided, "virus": Undecided} {
		r, err := Read([]byte(feedback(kind)))
		if err != nil || r.Kind != want || !slices.Contains(r.To, "<b+TOKEN@bounce.example.org>") || r.Subject.Get("Message-ID") != "<KEY@example.org>" {
			t.Errorf("%s: %+v %v", kind, r, err)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	for name, c := range map[string]struct{ raw, says string }{
		"nothing":           {"", "headers"},
		"JSON":              {`{"a":1}`, "no multipart/report"},
		"an answer":         {"Subject: I am away\r\nContent-Type: text/plain\r\n\r\nBack on Monday.\r\n", "no multipart/report"},
		"no boundary":       {"Content-Type: multipart/report\r\n\r\n", "no multipart/report"},
		"no part":           {"Content-Type: multipart/report; boundary=x\r\n\r\n--x--\r\n", "has no part"},
		"nobody in it":      {postfix(""), "has no part"},
		"behind many parts": {strings.Replace(postfix(block("failed", "5.1.1", "x")), "\r\n--8F1", strings.Repeat("\r\n--8F1.1/mx.example.org\r\n\r\nx", MaxParts)+"\r\n--8F1", 1), "has no part"},
		"nested":            {"Content-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\nContent-Type: message/rfc822\r\n\r\n" + postfix(block("failed", "5.1.1", "x")) + "\r\n--y--\r\n", "no multipart/report"},
	} {
		var e *Error
		if r, err := Read([]byte(c.raw)); !errors.As(err, &e) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %+v %v", name, r, err)
		}
	}
}

// TestAPartIsBounded: what lies behind the bound of a part is not read.
func TestAPartIsBounded(t *testing.T) {
	pad := strings.Repeat("X-Pad: "+strings.Repeat("x", 990)+"\n", MaxPart/990)
	if r, err := Read([]byte(postfix(pad + "\n" + block("failed", "5.1.1", "x")))); err == nil {
		t.Errorf("%+v", r)
	}
	if r, err := Read([]byte(postfix(block("delayed", "4.0.0", "x") + pad + "\n" + block("delivered", "2.0.0", "x")))); err != nil || r.Kind != Undecided {
		t.Errorf("%+v %v", r, err)
	}
}

// TestAValueOfManyLines: a value is put together once, not anew with each line that it is folded into; that took half a minute a part.
func TestAValueOfManyLines(t *testing.T) {
	block := []byte("Action: failed\nX-Pad: a" + strings.Repeat("\n b", 80_000) + "\nStatus: 5.1.1\n")
	var all []fields
	if n := testing.AllocsPerRun(1, func() { all = blocks(block) }); n > 1000 {
		t.Errorf("%v allocations", n)
	}
	if len(all) != 1 || all[0].get("X-Pad") != "a"+strings.Repeat(" b", 80_000) || all[0].get("Status") != "5.1.1" {
		t.Errorf("%d blocks", len(all))
	}
}

// FuzzRead: whatever stands around it and in its texts, a report says what its fields say; and what is no report is refused by an *Error.
func FuzzRead(f *testing.F) {
	f.Add("", "failed", "5.1.1", "smtp; 550 no such user", "<KEY@example.org>", []byte(postfix(block("failed", "5.1.1", "x"))))
	f.Add("Hello\n--8F1.1/mx.example.org--\n", "delayed", "4.4.1", "\x00--8F1.1/mx.example.org", "a: b", []byte(feedback("abuse")))
	f.Fuzz(func(t *testing.T, before, action, status, text, id string, raw []byte) {
		if r, err := Read(raw); err != nil {
			if e := (*Error)(nil); !errors.As(err, &e) || r != nil {
				t.Fatalf("%v %v", r, err)
			}
		} else if r.Kind > Complained || r.Subject == nil || len(r.Status)+len(r.Text) > MaxPart {
			t.Fatalf("%+v", r)
		}
		// The oracle: one that we write ourselves. Line ends and the boundary are what its writer would have kept out.
		clean := func(s string) string {
			return strings.TrimSpace(strings.NewReplacer("\r", "", "\n", "", "boundary-7", "").Replace(s[:min(len(s), 500)]))
		}
		before = strings.ReplaceAll(before, "boundary-7", "")
		action, status, text, id = clean(action), clean(status), clean(text), clean(id)
		if action == "" || status == "" || strings.ContainsAny(action+status, " \t") {
			return
		}
		r, err := Read(fmt.Appendf(nil, "To: x@example.org\r\nContent-Type: multipart/report; boundary=boundary-7\r\n\r\n%s\r\n--boundary-7\r\n\r\n%s\r\n--boundary-7\r\n"+
			"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n\r\nAction: %s\r\nStatus: %s\r\nDiagnostic-Code: %s\r\n\r\n--boundary-7\r\nContent-Type: message/rfc822\r\n\r\nMessage-ID: %s\r\n\r\n--boundary-7--", before, before, action, status, text, id))
		want := Undecided
		switch lower := strings.ToLower(action); {
		case lower == "delivered":
			want = Delivered
		case lower == "failed" && status[0] == '5':
			want = Failed
		}
		if err != nil || r.Kind != want || r.Status != status || r.Text != text || r.Subject.Get("Message-ID") != id || !slices.Equal(r.To, []string{"x@example.org"}) {
			t.Fatalf("%q %q %q %q: %+v %v", action, status, text, id, r, err)
		}
	})
}
