package api

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"sync"
	"time"
)

// verified remembers tokens whose signature was good, by their hash: an app asks with the same one again and again. An end is looked at each time, and
// so is the key, so what was revoked is refused as if nothing were remembered. Whoever is erased is not found, whatever their token says; whether a token is for
// whoever has its external id by now is no property of the token, so it is not remembered.
type verified struct {
	mu       sync.Mutex // guards what follows
	now, old map[[sha256.Size]byte]holding
	bytes    int // of now, about
}

// holding is what a good token says.
type holding struct {
	sub   string
	until time.Time
	key   signingKey
	kid   string // as the token names it; empty: it does not

	issued time.Time // zero: it does not say
	of     string    // the tag of the person, of our own tokens; empty: it has none
}

// verifiedBytes bounds each of the two maps: about 20,000 people.
const verifiedBytes = 4 << 20

func (v *verified) find(token [sha256.Size]byte) (h holding, found bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if h, found = v.now[token]; found {
		return h, true
	}
	if h, found = v.old[token]; found {
		v.addLocked(token, h)
	}
	return h, found
}

func (v *verified) add(token [sha256.Size]byte, h holding) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.addLocked(token, h)
}

func (v *verified) addLocked(token [sha256.Size]byte, h holding) {
	size := 250 + len(h.sub) + len(h.kid) + len(h.of)
	if v.now == nil || v.bytes+size > verifiedBytes {
		v.old, v.now, v.bytes = v.now, make(map[[sha256.Size]byte]holding), 0
	}
	v.now[token] = h
	v.bytes += size
}

// check is verify for a token that may be known. A token with an nbf is verified each time.
func (t *Tokens) check(token string, now time.Time, keys func(kid string) ([]signingKey, error)) (h holding, err error) {
	if len(token) > mostToken {
		return holding{}, errToken
	}
	hash := sha256.Sum256([]byte(token))
	if h, found := t.verified.find(hash); found && now.Before(h.until) {
		known, err := keys(h.kid)
		if err != nil {
			return holding{}, err
		}
		if slices.ContainsFunc(known, func(k signingKey) bool { return k.id == h.key.id && bytes.Equal(k.secret, h.key.secret) }) {
			return h, nil
		}
	}
	h, lasting, err := t.head.verify(token, now, keys)
	if err != nil {
		return holding{}, err
	}
	if lasting {
		t.verified.add(hash, h)
	}
	return h, nil
}
