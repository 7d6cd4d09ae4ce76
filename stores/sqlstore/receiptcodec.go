package sqlstore

import (
	"cmp"
	"database/sql/driver"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"fanfare"
	"fanfare/set"
)

// stamp is a fanfare.Stamp in four bytes; 0 is none.
type stamp uint32

func stampOf(s fanfare.Stamp) stamp { return stamp(s.At)<<2 | stamp(s.Source) }

func (s stamp) stamp() fanfare.Stamp {
	return fanfare.Stamp{At: s.minute(), Source: fanfare.ReadSource(s & 3)}
}

func (s stamp) minute() fanfare.Minute { return fanfare.Minute(s >> 2) }

const maxMinute = 1<<26 - 1

// receiptRow names a row of receipt_sets.
type receiptRow struct {
	audienceKey
	kind  fanfare.ReceiptKind
	chunk uint16
}

func (r receiptRow) String() string {
	return fmt.Sprintf("receipt_sets row (message %d, slot %d, kind %v, chunk %d)", r.message, r.slot, r.kind, r.chunk)
}

// values are those of the row's key.
func (r receiptRow) values() []driver.Value {
	return []driver.Value{int64(r.message), int64(r.slot), int64(r.kind), int64(r.chunk)}
}

// stamped is what a row of receipt_sets holds; without times, only members is set.
type stamped struct {
	members *set.Set
	n       int
	timed   bool
	base    fanfare.Minute
	minutes []byte // of each member by rank, after base: 2 or 4 bytes, big endian
	sources []byte // two bits each; nil: all 0
}

func (r *stamped) bytes() int {
	return r.members.Bytes() + len(r.minutes) + len(r.sources) + fixedBytes
}

// at gives the stamp of the member of rank i.
func (r *stamped) at(i int) stamp {
	var after uint32
	if len(r.minutes) == 2*r.n {
		after = uint32(binary.BigEndian.Uint16(r.minutes[2*i:]))
	} else {
		after = binary.BigEndian.Uint32(r.minutes[4*i:])
	}
	s := stamp(r.base)<<2 + stamp(after)<<2
	if r.sources != nil {
		s |= stamp(r.sources[i/4]>>(i%4*2)) & 3
	}
	return s
}

// all gives the stamps of all members.
func (r *stamped) all() []stamp {
	stamps := make([]stamp, r.n)
	base := stamp(r.base) << 2
	if len(r.minutes) == 2*r.n {
		for i := range stamps {
			stamps[i] = base + stamp(binary.BigEndian.Uint16(r.minutes[2*i:]))<<2
		}
	} else {
		for i := range stamps {
			stamps[i] = base + stamp(binary.BigEndian.Uint32(r.minutes[4*i:]))<<2
		}
	}
	if r.sources != nil {
		for i := range stamps {
			stamps[i] |= stamp(r.sources[i/4]>>(i%4*2)) & 3
		}
	}
	return stamps
}

// of gives the stamp of a seq.
func (r *stamped) of(seq fanfare.Seq) stamp {
	if !r.members.Contains(seq) {
		return 0
	}
	return r.at(r.members.Rank(seq))
}

// timesOf packs stamps, of which there is at least one and none is 0.
func timesOf(stamps []stamp) (base fanfare.Minute, minutes, sources []byte) {
	first, last, plain := slices.Min(stamps).minute(), slices.Max(stamps).minute(), true
	for _, s := range stamps {
		plain = plain && s&3 == 0
	}
	if last-first <= math.MaxUint16 {
		minutes = make([]byte, 2*len(stamps))
		for i, s := range stamps {
			binary.BigEndian.PutUint16(minutes[2*i:], uint16(s.minute()-first)) //nolint:gosec // as compared
		}
	} else {
		minutes = make([]byte, 4*len(stamps))
		for i, s := range stamps {
			binary.BigEndian.PutUint32(minutes[4*i:], uint32(s.minute()-first))
		}
	}
	if !plain {
		sources = make([]byte, (len(stamps)+3)/4)
		for i, s := range stamps {
			sources[i/4] |= byte(s&3) << (i % 4 * 2)
		}
	}
	return first, minutes, sources
}

func timesSum(base fanfare.Minute, minutes, sources []byte) uint32 {
	all := binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(minutes)+len(sources)), uint64(base))
	return set.Checksum(append(append(all, minutes...), sources...))
}

// rowOfStamps makes the row of ascending seqs of one chunk and their stamps.
func rowOfStamps(seqs []uint32, stamps []stamp) stamped {
	r := stamped{members: set.Of(seqs...), n: len(seqs), timed: true}
	r.base, r.minutes, r.sources = timesOf(stamps)
	return r
}

// merged gives the row with what the log says over it, by the low half of seqs; nil if nobody is left.
func (r *stamped) merged(chunk uint16, over map[uint16]stamp) *stamped {
	lows := make([]uint16, 0, len(over))
	for low := range over {
		lows = append(lows, low)
	}
	slices.Sort(lows)
	var was []uint32
	var at []stamp
	if r != nil {
		was, at = r.members.ToArray(), r.all()
	}
	high := uint32(chunk) << 16
	seqs, stamps := make([]uint32, 0, len(was)+len(over)), make([]stamp, 0, len(was)+len(over))
	for _, low := range lows {
		n, there := slices.BinarySearch(was, high|uint32(low))
		seqs, stamps = append(seqs, was[:n]...), append(stamps, at[:n]...)
		if there {
			n++
		}
		was, at = was[n:], at[n:]
		if s := over[low]; s != 0 {
			seqs, stamps = append(seqs, high|uint32(low)), append(stamps, s)
		}
	}
	seqs, stamps = append(seqs, was...), append(stamps, at...)
	if len(seqs) == 0 {
		return nil
	}
	next := rowOfStamps(seqs, stamps)
	return &next
}

// scanMembers reads chunk, n, crc, members.
func scanMembers(r []driver.Value) (stamped, error) {
	c := chunkOf(r[0], r[1], r[2], r[3])
	members, err := set.DecodeChunk(c)
	return stamped{members: members, n: int(c.N)}, err
}

// scanStamped reads chunk, n, crc, members, times_crc, base, minutes, sources.
func scanStamped(r []driver.Value) (stamped, error) {
	row, err := scanMembers(r)
	if err != nil {
		return row, err
	}
	row.timed, row.minutes, row.sources = true, slices.Clone(blob(r[6])), slices.Clone(blob(r[7]))
	base := integer(r[5])
	if base < 1 || base > maxMinute {
		return row, fmt.Errorf("%w: its first minute is %d", fanfare.ErrDamaged, base)
	}
	row.base = fanfare.Minute(base)
	if sum := timesSum(row.base, row.minutes, row.sources); int64(sum) != integer(r[4]) {
		return row, fmt.Errorf("%w: the checksum of its times is %08x, stored %08x", fanfare.ErrDamaged, sum, integer(r[4]))
	}
	if len(row.minutes) != 2*row.n && len(row.minutes) != 4*row.n || row.sources != nil && len(row.sources) != (row.n+3)/4 {
		return row, fmt.Errorf("%w: %d members have %d bytes of times, %d of sources", fanfare.ErrDamaged, row.n, len(row.minutes), len(row.sources))
	}
	return row, nil
}

// values are those of receipts.put.
func (r *stamped) values(k receiptRow) []driver.Value {
	chunk, _ := r.members.Chunk(k.chunk)
	var sources driver.Value
	if r.sources != nil {
		sources = r.sources
	}
	return []driver.Value{int64(k.message), int64(k.slot), int64(k.kind), int64(k.chunk), chunk.N, chunk.CRC, chunk.Members,
		timesSum(r.base, r.minutes, r.sources), int64(r.base), r.minutes, sources}
}

// The log. An entry is a version, then groups: message, slot, minute, kinds and source, how many, the first seq and the distance to each next one.
// A group without kinds says by its minute that all of the message is forgotten in the slot (0), or what is news (fanfare.NewsKind). Whoever has notes in two groups has the earlier minute
// first, and within a group the kinds that end others come first: applied in this order they give what was noted.

const logVersion = 1

// noted is what the log keeps of some facts of one item: their bits are 1 << kind.
type noted struct {
	audienceKey
	seq   fanfare.Seq
	at    fanfare.Minute
	kinds uint32
	stamp stamp // of read
}

func (n *noted) head() uint64 { return uint64(n.kinds)<<2 | uint64(n.stamp&3) }

// pending is what a transaction noted of one message and slot: the last stamp of each fact, 0 where it was ended, by kind and seq.
type pending map[uint64]stamp

func pendingKey(k fanfare.ReceiptKind, seq fanfare.Seq) uint64 { return uint64(k)<<32 | uint64(seq) }

// appendLog packs what a transaction noted; forgotten come first, then news, each once.
func appendLog(to []byte, forgotten []audienceKey, news []fanfare.News, marks map[audienceKey]pending) []byte {
	to = append(to, logVersion)
	for _, k := range forgotten {
		to = binary.AppendUvarint(to, uint64(k.message)) //nolint:gosec // positive
		to = append(binary.AppendUvarint(to, uint64(k.slot)), 0, 0, 0)
	}
	slices.SortFunc(news, func(a, b fanfare.News) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Message, b.Message), cmp.Compare(a.Slot, b.Slot))
	})
	for _, n := range slices.Compact(news) {
		to = binary.AppendUvarint(to, uint64(n.Message)) //nolint:gosec // positive
		to = append(binary.AppendUvarint(to, uint64(n.Slot)), byte(n.Kind), 0, 0)
	}
	var all []noted
	for item, p := range marks {
		for key, s := range p {
			if s == 0 { // what ended it is noted too
				continue
			}
			n := noted{audienceKey: item, seq: fanfare.Seq(key), at: s.minute(), kinds: 1 << (key >> 32)} //nolint:gosec // the low half
			if fanfare.ReceiptKind(key>>32) == fanfare.ReceiptRead {                                      //nolint:gosec // as made
				n.stamp = s
			}
			all = append(all, n)
		}
	}
	slices.SortFunc(all, func(a, b noted) int {
		return cmp.Or(cmp.Compare(a.message, b.message), cmp.Compare(a.slot, b.slot), cmp.Compare(a.seq, b.seq), cmp.Compare(a.at, b.at))
	})
	kept := all[:0]
	for _, n := range all {
		if last := len(kept) - 1; last >= 0 && kept[last].audienceKey == n.audienceKey && kept[last].seq == n.seq && kept[last].at == n.at {
			kept[last].kinds |= n.kinds
			kept[last].stamp |= n.stamp
		} else {
			kept = append(kept, n)
		}
	}
	slices.SortFunc(kept, func(a, b noted) int {
		return cmp.Or(cmp.Compare(a.message, b.message), cmp.Compare(a.slot, b.slot), cmp.Compare(a.at, b.at), cmp.Compare(a.head(), b.head()), cmp.Compare(a.seq, b.seq))
	})
	for i := 0; i < len(kept); {
		n := 1
		for i+n < len(kept) && kept[i+n].audienceKey == kept[i].audienceKey && kept[i+n].at == kept[i].at && kept[i+n].head() == kept[i].head() {
			n++
		}
		to = binary.AppendUvarint(to, uint64(kept[i].message)) //nolint:gosec // positive
		to = binary.AppendUvarint(to, uint64(kept[i].slot))
		to = binary.AppendUvarint(to, uint64(kept[i].at))
		to = binary.AppendUvarint(to, kept[i].head())
		to = binary.AppendUvarint(to, uint64(n))
		last := fanfare.Seq(0)
		for _, one := range kept[i : i+n] {
			to = binary.AppendUvarint(to, uint64(one.seq-last))
			last = one.seq
		}
		i += n
	}
	return to
}

// inOrder lists the kinds so that those that end others come first.
func inOrder() []fanfare.ReceiptKind {
	kinds := fanfare.ReceiptKinds()
	slices.SortStableFunc(kinds, func(a, b fanfare.ReceiptKind) int { return -cmp.Compare(min(a.Ends(), 1), min(b.Ends(), 1)) })
	return kinds
}

// decodeLog reads what appendLog packed. It refuses what it would not have written, orders apart.
func decodeLog(packed []byte, forget func(audienceKey), news func(fanfare.News), note func(audienceKey, fanfare.ReceiptKind, fanfare.Seq, stamp)) error {
	damaged := fmt.Errorf("%w: no entry of the log", fanfare.ErrDamaged)
	if len(packed) == 0 || packed[0] != logVersion {
		return damaged
	}
	packed = packed[1:]
	number := func(most uint64) (uint64, bool) {
		v, n := binary.Uvarint(packed)
		if n <= 0 || v > most {
			return 0, false
		}
		packed = packed[n:]
		return v, true
	}
	order := inOrder()
	for len(packed) > 0 {
		var head [5]uint64
		for i, most := range [...]uint64{math.MaxInt64, maxSlots, maxMinute, 1<<(fanfare.ReceiptUnsubscribed+3) - 1, uint64(len(packed))} {
			v, ok := number(most)
			if !ok {
				return damaged
			}
			head[i] = v
		}
		item := audienceKey{fanfare.MessageNum(head[0]), fanfare.Slot(head[1])} //nolint:gosec // as read
		at, kinds, source, count := stamp(head[2])<<2, head[3]>>2, stamp(head[3]&3), head[4]
		if kinds == 0 {
			switch kind := head[2]; {
			case count != 0 || source != 0 || kind > uint64(fanfare.NewsMoved):
				return damaged
			case kind == 0:
				forget(item)
			default:
				news(fanfare.News{Kind: fanfare.NewsKind(kind), Message: item.message, Slot: item.slot})
			}
			continue
		}
		if kinds&1 != 0 || at == 0 || count == 0 {
			return damaged
		}
		seq := uint64(0)
		for range count {
			step, ok := number(set.Universe - 1)
			if seq += step; !ok || seq >= set.Universe {
				return damaged
			}
			for _, k := range order {
				if kinds>>k&1 == 0 {
					continue
				}
				s := at
				if k == fanfare.ReceiptRead {
					s |= source
				}
				note(item, k, fanfare.Seq(seq), s)
			}
		}
	}
	return nil
}
