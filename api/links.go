package api

import (
	"crypto/hmac"
	"crypto/sha256"
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
	sign, tag hash.Hash
	sum       [sha256.Size]byte
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
		l.base = strings.TrimRight(publicURL, "/") + "/u/"
	}
	l.keyers.New = func() any { return &keyer{sign: hmac.New(sha256.New, sign), tag: hmac.New(sha256.New, tag)} }
	return l
}

// linkUnsubscribe is the first byte of an unsubscribe token.
const linkUnsubscribe = 'u'

// macSize is how much of the signature a token carries.
const macSize = 16

// signed is how much of a token the signature covers.
const signed = 1 + 8 + 2 + 4 + 8

// Unsubscribe is the one-click link for a message and a recipient; empty without a public URL, without a recipient, and for an
// essential message.
func (l *Links) Unsubscribe(m *fanfare.Message, r *fanfare.Recipient) string {
	if l.base == "" || r == nil || m.Essential {
		return ""
	}
	k, _ := l.keyers.Get().(*keyer)
	defer l.keyers.Put(k)
	var b [signed + macSize]byte
	b[0] = linkUnsubscribe
	binary.BigEndian.PutUint64(b[1:], uint64(m.Num)) //nolint:gosec // numbers are positive
	binary.BigEndian.PutUint16(b[9:], uint16(r.Slot))
	binary.BigEndian.PutUint32(b[11:], r.Seq)
	copy(b[15:signed], k.of(k.tag, []byte(r.ExternalID)))
	copy(b[signed:], k.of(k.sign, b[:signed]))
	return string(base64.RawURLEncoding.AppendEncode(append(make([]byte, 0, 128), l.base...), b[:]))
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
}

// read checks a token. ErrNotFound: it is none of ours.
func (l *Links) read(token string) (target, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err == nil && len(b) == signed+macSize && b[0] == linkUnsubscribe {
		k, _ := l.keyers.Get().(*keyer)
		defer l.keyers.Put(k)
		if hmac.Equal(k.of(k.sign, b[:signed])[:macSize], b[signed:]) {
			return target{message: fanfare.MessageNum(binary.BigEndian.Uint64(b[1:])), //nolint:gosec // we signed it
				person: fanfare.Person{Slot: fanfare.Slot(binary.BigEndian.Uint16(b[9:])), Seq: binary.BigEndian.Uint32(b[11:])}, tag: binary.BigEndian.Uint64(b[15:])}, nil
		}
	}
	return target{}, fmt.Errorf("token: %w", fanfare.ErrNotFound)
}
