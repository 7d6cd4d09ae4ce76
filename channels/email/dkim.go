package email

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"fanfare"
	"fanfare/esmtp"
)

// signer signs mail (RFC 6376, RFC 8463), relaxed/relaxed. It is used by one goroutine at a time.
type signer struct {
	key    crypto.Signer
	hash   crypto.Hash // of what the key is given
	opened []byte      // the signature's field up to h=
	text   []byte      // scratch: what is hashed
	names  []byte      // scratch: of the signed fields
}

const (
	dkimField = "DKIM-Signature"
	dkimFold  = 72 // signs of the signature on a line
	rsaLeast  = 1024
	rsaMost   = 4096 // what every verifier can do (RFC 8301)
)

// newSigner reads a provider's settings; nil: it does not sign. An error says what to do and never repeats the key.
func newSigner(d fanfare.DKIM) (*signer, error) {
	if d == (fanfare.DKIM{}) {
		return nil, nil
	}
	name, err := dkimDomain(d)
	if err != nil {
		return nil, err
	}
	key, err := dkimKey(d.Key)
	if err != nil {
		return nil, err
	}
	s := &signer{key: key, hash: crypto.SHA256}
	algorithm := "rsa-sha256"
	if _, ok := key.Public().(ed25519.PublicKey); ok {
		s.hash, algorithm = 0, "ed25519-sha256"
	}
	s.opened = fmt.Appendf(nil, dkimField+": v=1; a=%s; c=relaxed/relaxed;\r\n d=%s; s=%s;\r\n h=", algorithm, name, d.Selector)
	return s, nil
}

func dkimDomain(d fanfare.DKIM) (string, error) {
	name := domain("x@" + d.Domain)
	if name == "" || !strings.Contains(name, ".") {
		return "", fmt.Errorf(`dkim: domain %q is none; write the one that the public key is published for, such as "example.org"`, d.Domain)
	}
	if _, err := esmtp.ParseAddress("x@" + d.Selector); err != nil || !isASCII(d.Selector) || len(d.Selector) > 63 {
		return "", fmt.Errorf(`dkim: selector %q is none; write the name before ._domainkey, such as "s1"`, d.Selector)
	}
	return strings.ToLower(name), nil
}

const dkimMake = "make one: openssl genrsa -out dkim.pem 2048"

// dkimKey reads a private key: PKCS #8 (RSA or Ed25519) or PKCS #1 in PEM.
func dkimKey(text string) (crypto.Signer, error) {
	if strings.TrimSpace(text) == "" {
		return nil, errors.New("dkim: the key is missing; " + dkimMake)
	}
	var kind string
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		kind = block.Type
		switch kind {
		case "PRIVATE KEY", "RSA PRIVATE KEY":
			if block.Headers["DEK-Info"] == "" {
				return dkimSigner(block)
			}
			kind = "ENCRYPTED PRIVATE KEY"
		}
	}
	switch {
	case kind == "":
		return nil, errors.New("dkim: the key is no PEM file (-----BEGIN PRIVATE KEY-----); " + dkimMake)
	case kind == "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("dkim: the key is locked with a password; unlock it: openssl pkey -in dkim.pem -out unlocked.pem")
	case strings.Contains(kind, "PUBLIC"):
		return nil, errors.New("dkim: this is the public half of a key; give the private one, and publish this one in the DNS")
	}
	return nil, fmt.Errorf("dkim: the file holds a %.40q, no private key of RSA or Ed25519; %s", kind, dkimMake)
}

func dkimSigner(block *pem.Block) (crypto.Signer, error) {
	var key any
	var err error
	if block.Type == "RSA PRIVATE KEY" {
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	} else {
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, fmt.Errorf("dkim: the key cannot be read (%w); %s", err, dkimMake)
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		if n := key.N.BitLen(); n < rsaLeast || n > rsaMost {
			return nil, fmt.Errorf("dkim: an RSA key of %d bits, where mail servers take %d to %d; %s", n, rsaLeast, rsaMost, dkimMake)
		}
		return key, nil
	case ed25519.PrivateKey:
		return key, nil
	}
	return nil, fmt.Errorf("dkim: a key of the kind %T, which no mail server verifies; use RSA (or Ed25519, which few verify yet); %s", key, dkimMake)
}

// DKIMRecord gives the TXT record that verifiers look for: its name and its value, to be published in the DNS. An error is that of Check.
func DKIMRecord(d fanfare.DKIM) (name, value string, err error) {
	at, err := dkimDomain(d)
	if err != nil {
		return "", "", err
	}
	key, err := dkimKey(d.Key)
	if err != nil {
		return "", "", err
	}
	kind := "rsa"
	var raw []byte
	switch public := key.Public().(type) {
	case ed25519.PublicKey:
		kind, raw = "ed25519", public // RFC 8463, 4.2: the bare key
	default:
		if raw, err = x509.MarshalPKIXPublicKey(public); err != nil {
			return "", "", fmt.Errorf("dkim: %w", err)
		}
	}
	return d.Selector + "._domainkey." + at, "v=DKIM1; k=" + kind + "; p=" + base64.StdEncoding.EncodeToString(raw), nil
}

// dkimSigns tells which fields are signed: those that people see or that decide what a mail program does. A relay may change the others.
func dkimSigns(name []byte) bool {
	switch string(name) { // lower case
	case "from", "to", "subject", "date", "message-id", "reply-to", "mime-version", "content-type", "content-transfer-encoding", "list-unsubscribe", "list-unsubscribe-post",
		"list-id", "list-help", "list-owner", "list-archive", "feedback-id", "in-reply-to", "references":
		return true
	}
	return false
}

// append appends mail with its signature before it. The mail is as mailbody makes it: CRLF line ends, each field of its own name once,
// a body that ends with a line end. From and Reply-To are signed once more than they are there, so that none can be added.
func (s *signer) append(dst, mail []byte) ([]byte, error) {
	end := bytes.Index(mail, []byte("\r\n\r\n"))
	if end < 0 {
		return dst, errors.New("a mail without a body")
	}
	s.text = appendRelaxedBody(s.text[:0], mail[end+4:])
	body := sha256.Sum256(s.text)
	s.text, s.names = s.text[:0], s.names[:0]
	for head := mail[:end+2]; len(head) > 0; {
		n := fieldEnd(head)
		from := len(s.text)
		colon := 0
		if s.text, colon = appendRelaxedField(s.text, head[:n]); !dkimSigns(s.text[from : from+colon]) {
			s.text = s.text[:from]
		} else {
			if len(s.names)-bytes.LastIndexByte(s.names, '\n')+colon > dkimFold {
				s.names = append(s.names, "\r\n  "...)
			}
			s.names = append(append(s.names, head[:colon]...), ':')
		}
		head = head[n:]
	}
	s.names = append(s.names, "From:Reply-To"...)
	begin := len(dst)
	dst = append(append(dst, s.opened...), s.names...)
	dst = append(dst, ";\r\n bh="...)
	dst = base64.StdEncoding.AppendEncode(dst, body[:])
	dst = append(dst, ";\r\n b="...)
	s.text, _ = appendRelaxedField(s.text, append(dst[begin:len(dst):len(dst)], "\r\n"...))
	hashed := sha256.Sum256(s.text[:len(s.text)-2]) // the last field without its line end
	signature, err := s.key.Sign(nil, hashed[:], s.hash)
	if err != nil {
		return dst[:begin], fmt.Errorf("sign the mail: %w", err)
	}
	s.text = base64.StdEncoding.AppendEncode(s.text[:0], signature)
	for at := 0; at < len(s.text); at += dkimFold {
		if at > 0 {
			dst = append(dst, "\r\n  "...)
		}
		dst = append(dst, s.text[at:min(at+dkimFold, len(s.text))]...)
	}
	return append(append(dst, "\r\n"...), mail...), nil
}

// fieldEnd is where the first field of a header ends, its folded lines and its line end included.
func fieldEnd(head []byte) int {
	for from := 0; ; {
		end := bytes.IndexByte(head[from:], '\n')
		if end < 0 {
			return len(head)
		}
		from += end + 1
		if from == len(head) || head[from] != ' ' && head[from] != '\t' {
			return from
		}
	}
}

// appendRelaxedField is RFC 6376, 3.4.2; colon is how long the name is.
func appendRelaxedField(dst, field []byte) (_ []byte, colon int) {
	from := len(dst)
	space, value := false, false
	for _, c := range field {
		switch {
		case c == '\r' || c == '\n' || c == ' ' || c == '\t':
			space = true
			continue
		case value:
			if space && len(dst)-from > colon+1 {
				dst = append(dst, ' ')
			}
		case c == ':':
			value, colon = true, len(dst)-from
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		}
		dst, space = append(dst, c), false
	}
	return append(dst, "\r\n"...), colon
}

// appendRelaxedBody is RFC 6376, 3.4.4.
func appendRelaxedBody(dst, body []byte) []byte {
	from := len(dst)
	for len(body) > 0 {
		end := bytes.IndexByte(body, '\n')
		line := body
		if end < 0 {
			end = len(body) - 1
		} else {
			line = bytes.TrimSuffix(body[:end], []byte{'\r'})
		}
		line = bytes.TrimRight(line, " \t")
		if bytes.IndexByte(line, '\t') < 0 && !bytes.Contains(line, []byte("  ")) {
			dst = append(dst, line...)
		} else {
			dst = appendSpaced(dst, line)
		}
		dst = append(dst, "\r\n"...)
		body = body[end+1:]
	}
	for len(dst)-from >= 2 && (len(dst)-from == 2 || dst[len(dst)-3] == '\n') { // empty lines at the end
		dst = dst[:len(dst)-2]
	}
	return dst
}

// appendSpaced makes one space of each run of white space.
func appendSpaced(dst, line []byte) []byte {
	space := false
	for _, c := range line {
		if c == ' ' || c == '\t' {
			space = true
			continue
		}
		if space {
			dst = append(dst, ' ')
		}
		dst, space = append(dst, c), false
	}
	return dst
}
