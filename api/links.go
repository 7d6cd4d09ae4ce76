package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash"
	"strings"
	"sync"

	"fanfare"
)

// Links makes and reads the links in mail. A token is signed with a key made of the installation's; it names message, slot and seq, and
// carries a keyed tag of the external id, so that it means nobody else if the number should ever mean somebody else.
type Links struct {
	base   string
	keyers sync.Pool // *keyer
}

// keyer makes the signatures of one goroutine at a time: a link is made for every mail.
type keyer struct {
	sign, tag   hash.Hash
	sum         [sha256.Size]byte
	token, link []byte // scratch
}

func (k *keyer) of(h hash.Hash, b []byte) []byte {
	h.Reset()
	_, _ = h.Write(b)
	return h.Sum(k.sum[:0])
}

// NewLinks makes links below a public URL; where it is empty there are none, and tokens can be read all the same.
func NewLinks(publicURL string, installation []byte) *Links {
	derive := func(use string) []byte {
		mac := hmac.New(sha256.New, installation)
		_, _ = mac.Write([]byte(use))
		return mac.Sum(nil)
	}
	sign, tag := derive("fanfare link 1"), derive("fanfare link tag 1")
	l := &Links{}
	if publicURL != "" {
		l.base = strings.TrimRight(publicURL, "/")
	}
	l.keyers.New = func() any { return &keyer{sign: hmac.New(sha256.New, sign), tag: hmac.New(sha256.New, tag)} }
	return l
}

// The first byte of a token says what it is for, so that none can be used for another.
const (
	linkUnsubscribe = 'u'
	linkOpen        = 'o'
	linkClick       = 'c'
	linkReturn      = 'r'
)

// macSize is how much of the signature a token carries.
const macSize = 16

// tokenHead is what each token begins with: kind, message, slot, seq, tag. A click's address follows, then the signature of it all.
const tokenHead = 1 + 8 + 2 + 4 + 8

// mostAddress bounds the address of a click, as a browser or a server on the way would.
const mostAddress = 2000

// Unsubscribe is the one-click link for a message and a recipient; empty without a public URL, without a recipient, and for an
// essential message.
func (l *Links) Unsubscribe(m *fanfare.Message, r *fanfare.Recipient) string {
	if m.Essential {
		return ""
	}
	return l.link("/u/", linkUnsubscribe, m, r, "")
}

// Open is the address of a picture that tells that a message was opened; empty without a public URL or a recipient.
func (l *Links) Open(m *fanfare.Message, r *fanfare.Recipient) string {
	return l.link("/t/o/", linkOpen, m, r, "")
}

// Click is a link that tells of a click and leads to an address; empty without a public URL or a recipient, and where the address is too long.
// Whoever made a mail signs what stands in it: so the server redirects to nothing else.
func (l *Links) Click(m *fanfare.Message, r *fanfare.Recipient, address string) string {
	if len(address) > mostAddress {
		return ""
	}
	return l.link("/t/c/", linkClick, m, r, address)
}

// The token in an envelope sender is written in letters and digits of which servers may change the case, and its signature is shorter, so that it
// leaves eleven characters of a local part (64) to whoever chooses the address.
const (
	returnMac   = 10
	returnToken = (tokenHead+returnMac)*8/5 + 1
)

func returnText() *base32.Encoding {
	return base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)
}

// Return is the token of an item in the address that its mail comes back to.
func (l *Links) Return(m *fanfare.Message, r *fanfare.Recipient) string {
	k, _ := l.keyers.Get().(*keyer)
	defer l.keyers.Put(k)
	b := k.head(linkReturn, m, r)
	k.token = append(b, k.of(k.sign, b)[:returnMac]...)
	return returnText().EncodeToString(k.token)
}

// returned finds the token of an item in text, such as the addresses of a report. ErrNotFound: there is none.
func (l *Links) returned(text string) (target, error) {
	text = strings.ToLower(text)
	isNot := func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'v') }
	for _, word := range strings.FieldsFunc(text, isNot) {
		if len(word) != returnToken {
			continue
		}
		b, err := returnText().DecodeString(word)
		if err == nil && b[0] == linkReturn && l.signed(b, returnMac) {
			return named(b[:tokenHead]), nil
		}
	}
	return target{}, fmt.Errorf("token: %w", fanfare.ErrNotFound)
}

// signed says whether the last bytes are the signature of the others.
func (l *Links) signed(b []byte, mac int) bool {
	k, _ := l.keyers.Get().(*keyer)
	defer l.keyers.Put(k)
	end := len(b) - mac
	return hmac.Equal(k.of(k.sign, b[:end])[:mac], b[end:])
}

// named reads what a token that we signed names.
func named(b []byte) target {
	return target{message: fanfare.MessageNum(binary.BigEndian.Uint64(b[1:])), //nolint:gosec // we signed it
		person: fanfare.Person{Slot: fanfare.Slot(binary.BigEndian.Uint16(b[9:])), Seq: binary.BigEndian.Uint32(b[11:])}, tag: binary.BigEndian.Uint64(b[15:]),
		address: string(b[tokenHead:])}
}

func (l *Links) link(at string, kind byte, m *fanfare.Message, r *fanfare.Recipient, address string) string {
	if l.base == "" || r == nil {
		return ""
	}
	k, _ := l.keyers.Get().(*keyer)
	defer l.keyers.Put(k)
	b := append(k.head(kind, m, r), address...)
	k.token = append(b, k.of(k.sign, b)[:macSize]...)
	k.link = base64.RawURLEncoding.AppendEncode(append(append(k.link[:0], l.base...), at...), k.token)
	return string(k.link)
}

// head begins a token, in the scratch.
func (k *keyer) head(kind byte, m *fanfare.Message, r *fanfare.Recipient) []byte {
	k.token = append(k.token[:0], r.ExternalID...)
	tag := k.of(k.tag, k.token)
	b := append(k.token[:0], kind)
	b = binary.BigEndian.AppendUint64(b, uint64(m.Num)) //nolint:gosec // numbers are positive
	b = binary.BigEndian.AppendUint16(b, uint16(r.Slot))
	b = binary.BigEndian.AppendUint32(b, r.Seq)
	return append(b, tag[:8]...)
}

func (l *Links) tagOf(externalID string) uint64 {
	k, _ := l.keyers.Get().(*keyer)
	defer l.keyers.Put(k)
	return binary.BigEndian.Uint64(k.of(k.tag, []byte(externalID)))
}

// target is what a token names.
type target struct {
	message fanfare.MessageNum
	person  fanfare.Person
	tag     uint64
	address string // of a click

	recipient string // the external id, where they were looked up
}

// read checks a token of a kind. ErrNotFound: it is none of ours.
func (l *Links) read(kind byte, token string) (target, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if end := len(b) - macSize; err == nil && end >= tokenHead && b[0] == kind && (kind == linkClick) == (end > tokenHead) && l.signed(b, macSize) {
		return named(b[:end]), nil
	}
	return target{}, fmt.Errorf("token: %w", fanfare.ErrNotFound)
}
