package plan

// mailboxes finds keys that occur twice without holding all: one round marks each in a bit array, so that few that occur once remain to
// be held in the second. It takes about four bytes a key in all.
type mailboxes struct {
	seen, again []uint64
	shift       uint
	taken       map[uint64]struct{}
}

// open makes room for n keys, 8 to 16 bits each.
func (b *mailboxes) open(n int) {
	words, log := 16, uint(4)
	for words*64 < 8*n {
		words *= 2
		log++
	}
	b.seen, b.again, b.shift = make([]uint64, words), make([]uint64, words), 64-6-log
	b.taken = make(map[uint64]struct{})
}

func (b *mailboxes) place(key uint64) (word int, bit uint64) {
	h := key * 0x9E3779B97F4A7C15 >> b.shift
	return int(h >> 6), 1 << (h & 63) //nolint:gosec // below len
}

// see is for the first round.
func (b *mailboxes) see(key uint64) {
	word, bit := b.place(key)
	b.again[word] |= b.seen[word] & bit
	b.seen[word] |= bit
}

// maybeTwice tells, after the first round, whether the key may have occurred twice.
func (b *mailboxes) maybeTwice(key uint64) bool {
	word, bit := b.place(key)
	return b.again[word]&bit != 0
}

// take tells whether the key is taken for the first time.
func (b *mailboxes) take(key uint64) bool {
	if _, there := b.taken[key]; there {
		return false
	}
	b.taken[key] = struct{}{}
	return true
}
