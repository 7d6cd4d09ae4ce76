package bounce

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"slices"
	"strings"
)

// What is read of one report at most.
const (
	MaxParts = 10
	MaxPart  = 256 << 10
)

// Kind is what a report says became of a mail.
type Kind uint8

// The kinds.
const (
	Undecided  Kind = iota // delayed, relayed, expanded, or failed for now; or a report about something else than spam
	Delivered              // somebody has it
	Failed                 // for good: a status of class 5
	Complained             // its reader calls it abuse
)

// Report is what a report says.
type Report struct {
	Kind    Kind
	Status  string // "5.1.1" as far as one was given
	Text    string // what the other server said, as it came: text from outside
	To      []string
	Subject mail.Header // of the mail that it is about, as far as it came back; never nil
}

// Error says why something is no report.
type Error struct{ Detail string }

func (e *Error) Error() string { return e.Detail }

func wrong(detail string) (*Report, error) { return nil, &Error{detail} }

// addressed are the headers of the report that say to whom it was delivered: written by the server that hands it over, or by whoever made the report.
func addressed() []string {
	return []string{"Delivered-To", "X-Original-To", "Envelope-To", "X-Envelope-To", "To"}
}

// Read reads a report.
func Read(raw []byte) (*Report, error) {
	raw = bytes.TrimLeft(raw, "\r\n")
	if bytes.HasPrefix(raw, []byte("From ")) { // of a mailbox file
		_, raw, _ = bytes.Cut(raw, []byte("\n"))
	}
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return wrong("the body does not begin with the headers of a mail; send the message as it came, headers first")
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if kind != "multipart/report" || err != nil || params["boundary"] == "" {
		return wrong("this mail is no multipart/report, so no server says by it what became of a mail: an answer of a person or of a program, perhaps")
	}
	r := &Report{Subject: mail.Header{}}
	for _, name := range addressed() {
		r.To = append(r.To, m.Header[name]...)
	}
	told := false
	parts := multipart.NewReader(m.Body, params["boundary"])
	for range MaxParts {
		part, err := parts.NextRawPart()
		if err != nil {
			break // broken off behind what was read, or the end: what is there counts
		}
		switch kind, _, _ := mime.ParseMediaType(part.Header.Get("Content-Type")); kind { // an unreadable one is none of these
		case "message/delivery-status", "message/global-delivery-status":
			told = r.delivery(blocks(content(part))) || told
		case "message/feedback-report":
			told = r.feedback(blocks(content(part))) || told
		case "message/rfc822", "message/global", "text/rfc822-headers", "message/global-headers":
			if returned := blocks(content(part)); len(returned) > 0 && len(r.Subject) == 0 {
				r.Subject = mail.Header(returned[0])
			}
		}
	}
	if !told {
		return wrong("this report has no part that says what became of a mail (message/delivery-status or message/feedback-report)")
	}
	return r, nil
}

// content reads a part as far as it is read at all.
func content(part *multipart.Part) []byte {
	var in io.Reader = part
	switch strings.ToLower(strings.TrimSpace(part.Header.Get("Content-Transfer-Encoding"))) { // RFC 3464 has these parts as they are, RFC 6533 may have them encoded
	case "base64":
		in = base64.NewDecoder(base64.StdEncoding, part)
	case "quoted-printable":
		in = quotedprintable.NewReader(part)
	}
	text, _ := io.ReadAll(io.LimitReader(in, MaxPart)) // broken off: what is there counts
	return text
}

// fields are those of one block: canonical names, unfolded values.
type fields map[string][]string

func (f fields) get(name string) string {
	if v := f[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// blocks splits text into the groups of fields that empty lines part. Lines that are no fields are passed over. A value is put together once, however many
// lines it is folded into.
func blocks(text []byte) (all []fields) {
	now, name, folded := fields{}, "", []string(nil)
	told := func() {
		if name != "" {
			now[name] = append(now[name], strings.Join(folded, " "))
		}
		name, folded = "", nil
	}
	end := func() {
		if told(); len(now) > 0 {
			all = append(all, now)
		}
		now = fields{}
	}
	for line := range strings.SplitSeq(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n") {
		switch head, value, found := strings.Cut(line, ":"); {
		case line == "":
			end()
		case line[0] == ' ' || line[0] == '\t':
			folded = append(folded, strings.TrimSpace(line))
		default:
			if told(); found && strings.TrimSpace(head) != "" {
				name, folded = canonical(strings.TrimSpace(head)), []string{strings.TrimSpace(value)}
			}
		}
	}
	end()
	return all
}

// canonical writes a name as net/mail does: Each-Word-Large.
func canonical(name string) string {
	words := strings.Split(strings.ToLower(name), "-")
	for i, w := range words {
		if w != "" {
			words[i] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return strings.Join(words, "-")
}

// weight orders what the recipients of one report met.
func weight(k Kind) int { return slices.Index([]Kind{Failed, Undecided, Delivered}, k) }

// delivery takes the blocks of RFC 3464: the first is of the mail, each other of a recipient. false: there is no recipient in it.
func (r *Report) delivery(all []fields) bool {
	told := false
	for _, f := range all {
		action, _, _ := strings.Cut(strings.ToLower(f.get("Action")), " ") // a comment may follow
		if action == "" {
			continue
		}
		text := f.get("Diagnostic-Code")
		status, _, _ := strings.Cut(f.get("Status"), " ")
		if status == "" {
			status = statusIn(text)
		}
		kind := Undecided
		switch {
		case action == "delivered":
			kind = Delivered
		case action == "failed" && strings.HasPrefix(status, "5"):
			kind = Failed
		}
		if !told || weight(kind) > weight(r.Kind) {
			r.Kind, r.Status, r.Text = kind, status, text
		}
		told = true
	}
	return told
}

// statusIn finds the code of an SMTP answer in "smtp; 550 5.1.1 no such user": servers leave the status out now and then.
func statusIn(diagnostic string) string {
	kind, text, _ := strings.Cut(diagnostic, ";")
	code, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	if strings.EqualFold(strings.TrimSpace(kind), "smtp") && len(code) == 3 && strings.Trim(code, "0123456789") == "" {
		return code
	}
	return ""
}

// feedback takes the fields of RFC 5965. Reports of something else than what a reader thinks (auth-failure, virus, not-spam) decide nothing.
func (r *Report) feedback(all []fields) bool {
	for _, f := range all {
		kind := strings.ToLower(f.get("Feedback-Type"))
		if kind == "" {
			continue
		}
		r.Kind, r.Text = Undecided, kind
		if slices.Contains([]string{"abuse", "fraud", "opt-out", "opt-out-list"}, kind) {
			r.Kind = Complained
		}
		r.To = append(append(r.To, f["Original-Mail-From"]...), f["Original-Rcpt-To"]...)
		return true
	}
	return false
}
