package api

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"time"
)

// place is where a listing that goes through slots goes on.
type place struct {
	Slot int    `json:"s"`
	Part int    `json:"p,omitempty"`
	At   uint32 `json:"a,omitempty"`
	Hash uint64 `json:"h,omitempty"` // behind the slots: of an address's suppression
	Name string `json:"n,omitempty"` // its set
}

func (p place) String() string {
	b, _ := json.Marshal(p) // numbers and a name
	return base64.RawURLEncoding.EncodeToString(b)
}

// placeOf reads a cursor; empty is the beginning.
func placeOf(cursor string, slots, parts int) (p place, err error) {
	if cursor == "" {
		return p, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil || p.Slot < 0 || p.Slot > slots || p.Part < 0 || p.Part > parts {
		return place{}, problem(http.StatusBadRequest, "bad_cursor", "The cursor is none that this server gave; begin again without one.")
	}
	return p, nil
}

// patience is how long a listing looks for matches before it answers what it has, and where to go on.
const patience = 2 * time.Second
