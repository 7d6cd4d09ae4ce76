package fanfare

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/fnv"
)

// MessageID is a message's public name, an opaque string of at most 64 letters, digits, '_' and '-'.
type MessageID string

// MessageNum is a message's number inside one installation, from 1; slot tables use it. It is never used again.
type MessageNum int64

// Slot is a share of all recipients, 0 … slots−1. All that belongs to a recipient lies in its slot.
type Slot uint16

// Seq is a recipient's dense number inside its slot, from 0; never used again. A slot holds at most 2³²−1.
type Seq = uint32

// BatchNo is a batch's number inside one message and slot, from 0.
type BatchNo uint32

// Generation rises with each pause, resume and cancel of a message, from 1. What carries an older one is stale.
type Generation int64

// Revision counts the changes of a message's content, from 1.
type Revision int64

// BatchRef names one batch.
type BatchRef struct {
	Message MessageNum
	Slot    Slot
	Batch   BatchNo
}

func (r BatchRef) String() string { return fmt.Sprintf("batch %d/%d/%d", r.Message, r.Slot, r.Batch) }

// Person is a recipient's number: slot and seq.
type Person struct {
	Slot Slot
	Seq  Seq
}

// SlotOf gives the slot of an external id among slots: FNV-1a (64 bit) of its bytes, folded, modulo slots.
// It must never change: recipients are found by it.
func SlotOf(externalID string, slots int) Slot {
	h := fnv.New64a()
	_, _ = h.Write([]byte(externalID))
	v := h.Sum64()
	return Slot((v ^ v>>32) % uint64(slots)) //nolint:gosec // slots is at most 65,535
}

// ItemKey is the key of one item: the same for every attempt (promise 4). It is an HMAC-SHA256 of message and recipient
// with the installation's key, cut to 128 bits, in unpadded URL-safe base64 (22 characters).
func ItemKey(installation []byte, m MessageNum, p Person) string {
	return itemKey(installation, m, p, 0)
}

func itemKey(installation []byte, m MessageNum, p Person, attempt int) string {
	return NewKeyer(installation).item(m, p, attempt)
}

// Keyer makes the keys of many items faster than [ItemKey]. It is used by one goroutine at a time.
type Keyer struct {
	mac hash.Hash
	in  [22]byte
	sum [sha256.Size]byte
}

// NewKeyer makes a keyer for an installation's key.
func NewKeyer(installation []byte) *Keyer { return &Keyer{mac: hmac.New(sha256.New, installation)} }

func (k *Keyer) item(m MessageNum, p Person, attempt int) string {
	b := k.in[:14]
	binary.BigEndian.PutUint64(b[0:], uint64(m)) //nolint:gosec // numbers are positive
	binary.BigEndian.PutUint16(b[8:], uint16(p.Slot))
	binary.BigEndian.PutUint32(b[10:], p.Seq)
	if attempt != 0 { // only the simulator's mutant asks for it
		b = k.in[:22]
		binary.BigEndian.PutUint64(b[14:], uint64(attempt)) //nolint:gosec // small
	}
	k.mac.Reset()
	_, _ = k.mac.Write(b)
	var text [22]byte
	base64.RawURLEncoding.Encode(text[:], k.mac.Sum(k.sum[:0])[:16])
	return string(text[:])
}

// Item is [ItemKey].
func (k *Keyer) Item(m MessageNum, p Person) string { return k.item(m, p, 0) }

// ItemKey is the item's key under these rules; attempt counts from 1 and is never part of the key while the rules hold.
func (r Rules) ItemKey(installation []byte, m MessageNum, p Person, attempt int) string {
	if !r.AttemptInKey {
		attempt = 0
	}
	return itemKey(installation, m, p, attempt)
}
