package sink

import (
	"bytes"
	"iter"
	"sync"
	"time"
)

// hash is FNV-1a over the address in lower case (ASCII), mixed so that each bit depends on all.
func hash(address []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range address {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		h = (h ^ uint64(c)) * 1099511628211
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// ledger holds one entry an address, in slices without pointers: a million take under 200 MB.
type ledger struct{ parts [64]part }

type part struct {
	mu      sync.Mutex
	index   []uint32 // open addressing by hash; entry number + 1
	entries []entry
	text    arena
	more    map[uint32][]string // Message-IDs after the first copy
}

type entry struct {
	address, id ref
	first, last int64 // Unix nanoseconds of the first and the last MAIL FROM
	copies      uint32
	refusals    uint32
}

// ref is a place in an arena.
type ref struct{ at, n uint32 }

const arenaChunk = 1 << 18

// arena keeps bytes in chunks that never move.
type arena struct{ chunks [][]byte }

func (a *arena) add(b []byte) ref {
	if len(b) == 0 || len(b) > arenaChunk {
		return ref{}
	}
	n := len(a.chunks)
	if n == 0 || len(a.chunks[n-1])+len(b) > arenaChunk {
		a.chunks = append(a.chunks, make([]byte, 0, arenaChunk))
		n++
	}
	at := (n-1)*arenaChunk + len(a.chunks[n-1])
	a.chunks[n-1] = append(a.chunks[n-1], b...)
	return ref{at: uint32(at), n: uint32(len(b))}
}

func (a *arena) get(r ref) []byte {
	if r.n == 0 {
		return nil
	}
	c := a.chunks[r.at/arenaChunk]
	return c[r.at%arenaChunk : r.at%arenaChunk+r.n]
}

func (l *ledger) init() {
	for i := range l.parts {
		l.parts[i].index = make([]uint32, 64)
	}
}

func (l *ledger) part(h uint64) *part { return &l.parts[h>>32%64] }

// find gives the number of the address's entry. p.mu is held.
func (p *part) find(h uint64, address []byte) (number uint32, there bool) {
	mask := uint64(len(p.index) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		e := p.index[i]
		if e == 0 {
			return 0, false
		}
		if bytes.EqualFold(p.text.get(p.entries[e-1].address), address) {
			return e - 1, true
		}
	}
}

// enter gives the address's entry, a new one if need be. p.mu is held.
func (p *part) enter(h uint64, address []byte) *entry {
	if n, ok := p.find(h, address); ok {
		return &p.entries[n]
	}
	if len(p.entries)*4 >= len(p.index)*3 {
		p.grow()
	}
	p.entries = append(p.entries, entry{address: p.text.add(address)})
	p.put(h, uint32(len(p.entries)))
	return &p.entries[len(p.entries)-1]
}

func (p *part) put(h uint64, e uint32) {
	mask := uint64(len(p.index) - 1)
	i := h & mask
	for p.index[i] != 0 {
		i = (i + 1) & mask
	}
	p.index[i] = e
}

func (p *part) grow() {
	p.index = make([]uint32, 2*len(p.index))
	for i := range p.entries {
		p.put(hash(p.text.get(p.entries[i].address)), uint32(i+1))
	}
}

// begin notes that an envelope to the address was begun, and answers whether this attempt is one of the first times.
func (l *ledger) begin(h uint64, address []byte, at int64, times int) (early bool) {
	p := l.part(h)
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.enter(h, address)
	if e.first == 0 {
		e.first = at
	}
	e.last = max(e.last, at)
	if times > 0 && int(e.refusals) < times {
		e.refusals++
		return true
	}
	return false
}

// maxIDs is how many Message-IDs of one address are kept.
const maxIDs = 100

// take notes an accepted copy.
func (l *ledger) take(h uint64, address, id []byte) {
	p := l.part(h)
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.enter(h, address)
	e.copies++
	if e.copies == 1 {
		e.id = p.text.add(id)
		return
	}
	n, _ := p.find(h, address)
	if p.more == nil {
		p.more = map[uint32][]string{}
	}
	if ids := p.more[n]; len(ids) < maxIDs-1 {
		p.more[n] = append(ids, string(id))
	}
}

// Entry is what the sink knows of an address.
type Entry struct {
	Address    string
	Copies     int
	MessageIDs []string // of each copy, in order; at most 100
	First      time.Time
	Last       time.Time // when the first and the last envelope to it were begun, refused ones too
}

func (p *part) entry(n uint32) Entry {
	e := &p.entries[n]
	out := Entry{Address: string(p.text.get(e.address)), Copies: int(e.copies), First: time.Unix(0, e.first), Last: time.Unix(0, e.last)}
	if e.copies > 0 {
		out.MessageIDs = append([]string{string(p.text.get(e.id))}, p.more[n]...)
	}
	return out
}

// Lookup gives the entry of an address.
func (s *Server) Lookup(address string) (Entry, bool) {
	h := hash([]byte(address))
	p := s.ledger.part(h)
	p.mu.Lock()
	defer p.mu.Unlock()
	n, ok := p.find(h, []byte(address))
	if !ok {
		return Entry{}, false
	}
	return p.entry(n), true
}

// Entries gives every address that an envelope was begun for, in no order. New ones may be missed.
func (s *Server) Entries() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for i := range s.ledger.parts {
			p := &s.ledger.parts[i]
			for from := 0; ; {
				page := p.page(from)
				for _, e := range page {
					if !yield(e) {
						return
					}
				}
				if from += len(page); len(page) == 0 {
					break
				}
			}
		}
	}
}

// page copies some entries, so that nobody waits for a slow reader.
func (p *part) page(from int) []Entry {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []Entry
	for n := from; n < min(from+1024, len(p.entries)); n++ {
		out = append(out, p.entry(uint32(n)))
	}
	return out
}

// Dup is an address that got more than one copy.
type Dup struct {
	Address    string   `json:"address"`
	Copies     int      `json:"copies"`
	MessageIDs []string `json:"message_ids"`
}

// Duplicates lists who got more than one copy.
func (s *Server) Duplicates() []Dup {
	var out []Dup
	for i := range s.ledger.parts {
		p := &s.ledger.parts[i]
		p.mu.Lock()
		for n := range p.entries {
			if p.entries[n].copies > 1 {
				e := p.entry(uint32(n))
				out = append(out, Dup{Address: e.Address, Copies: e.Copies, MessageIDs: e.MessageIDs})
			}
		}
		p.mu.Unlock()
	}
	return out
}

// Counts are the sink's sums.
type Counts struct {
	Begun          int64      `json:"begun"`            // envelopes (MAIL FROM)
	LastBegun      *time.Time `json:"last_begun"`       // when the last of them arrived; null before the first
	Accepted       int64      `json:"accepted"`         // messages
	Recipients     int64      `json:"recipients"`       // addresses that got a copy
	Duplicates     int64      `json:"duplicates"`       // addresses that got more than one
	RefusedForGood int64      `json:"refused_for_good"` // answers 550
	RefusedForNow  int64      `json:"refused_for_now"`  // answers 450
	Connections    int64      `json:"connections"`
	Down           bool       `json:"down"`
	Answer421      bool       `json:"answer_421"`
}

// Counts gives the sums.
func (s *Server) Counts() Counts {
	c := Counts{Accepted: s.Accepted(), RefusedForGood: s.permanent.Load(), RefusedForNow: s.temporary.Load(),
		Connections: s.connections.Load()}
	var last time.Time
	if c.Begun, last = s.Begun(); c.Begun > 0 {
		c.LastBegun = &last
	}
	c.Down, c.Answer421 = s.Mode()
	for i := range s.ledger.parts {
		p := &s.ledger.parts[i]
		p.mu.Lock()
		for n := range p.entries {
			if p.entries[n].copies > 0 {
				c.Recipients++
			}
			if p.entries[n].copies > 1 {
				c.Duplicates++
			}
		}
		p.mu.Unlock()
	}
	return c
}

// Begun gives how many envelopes were begun and when the last of them arrived.
func (s *Server) Begun() (n int64, last time.Time) {
	n = s.begun.Load()
	if at := s.lastBegun.Load(); at != 0 {
		last = time.Unix(0, at)
	}
	return n, last
}

// Accepted gives how many messages were accepted.
func (s *Server) Accepted() int64 { return s.accepted.Load() }
