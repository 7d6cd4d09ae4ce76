package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"

	"fanfare"
)

// Links makes and reads the links in mail. A token is signed with a key made of the installation's; it names message, slot and seq, and
// carries a keyed tag of the external id, so that it means nobody else if the number should ever mean somebody else.
type Links struct {
	base string
	sign []byte
	tag  []byte
}

// NewLinks makes links below a public URL; where it is empty there are none, and tokens can be read all the same.
func NewLinks(publicURL string, installation []byte) *Links {
	derive := func(use string) []byte {
		mac := hmac.New(sha256.New, installation)
		_, _ = mac.Write([]byte(use))
		return mac.Sum(nil)
	}
	return &Links{base: strings.TrimRight(publicURL, "/"), sign: derive("fanfare link 1"), tag: derive("fanfare link tag 1")}
}

// linkUnsubscribe is the first byte of an unsubscribe token.
const linkUnsubscribe = 'u'

// macSize is how much of the signature a token carries.
const macSize = 16

// Unsubscribe is the one-click link for a message and a recipient; empty without a public URL, without a recipient, and for an
// essential message.
func (l *Links) Unsubscribe(m *fanfare.Message, r *fanfare.Recipient) string {
	if l.base == "" || r == nil || m.Essential {
		return ""
	}
	return l.base + "/u/" + l.token(m.Num, r)
}

func (l *Links) token(m fanfare.MessageNum, r *fanfare.Recipient) string {
	var b [1 + 8 + 2 + 4 + 8 + macSize]byte
	b[0] = linkUnsubscribe
	binary.BigEndian.PutUint64(b[1:], uint64(m)) //nolint:gosec // numbers are positive
	binary.BigEndian.PutUint16(b[9:], uint16(r.Slot))
	binary.BigEndian.PutUint32(b[11:], r.Seq)
	binary.BigEndian.PutUint64(b[15:], l.tagOf(r.ExternalID))
	l.mac(b[23:], b[:23])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func (l *Links) mac(to, of []byte) {
	mac := hmac.New(sha256.New, l.sign)
	_, _ = mac.Write(of)
	copy(to, mac.Sum(nil)[:macSize])
}

func (l *Links) tagOf(externalID string) uint64 {
	mac := hmac.New(sha256.New, l.tag)
	_, _ = mac.Write([]byte(externalID))
	return binary.BigEndian.Uint64(mac.Sum(nil))
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
	var mac [macSize]byte
	if err == nil && len(b) == 23+macSize && b[0] == linkUnsubscribe {
		l.mac(mac[:], b[:23])
		if hmac.Equal(mac[:], b[23:]) {
			return target{message: fanfare.MessageNum(binary.BigEndian.Uint64(b[1:])), //nolint:gosec // we signed it
				person: fanfare.Person{Slot: fanfare.Slot(binary.BigEndian.Uint16(b[9:])), Seq: binary.BigEndian.Uint32(b[11:])}, tag: binary.BigEndian.Uint64(b[15:])}, nil
		}
	}
	return target{}, fmt.Errorf("token: %w", fanfare.ErrNotFound)
}
