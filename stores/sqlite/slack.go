package sqlite

import "encoding/binary"

// Slack implements sqlstore.Database. A page of rows or keys (https://sqlite.org/fileformat2.html, §1.6) has a header, pointers to its cells,
// and the cells at its end. Between pointers and cells, and in blocks that are free between cells, nothing is kept; but when SQLite shares
// out the cells of a page among its neighbours, copies stay there, even with secure_delete.
func (d database) Slack(number int64, page []byte) []byte {
	at := 0
	if number == 1 {
		at = 100 // behind the file's header
	}
	if len(page) < 512 {
		return nil
	}
	header := at + 8
	switch page[at] {
	case 2, 5: // inner pages
		header += 4
	case 10, 13:
	default:
		return nil // a page that goes on with a long row, or is free: these are zero behind what they hold
	}
	word := func(at int) int { return int(binary.BigEndian.Uint16(page[at:])) }
	pointers := header + 2*word(at+3)
	cells := word(at + 5)
	if cells == 0 {
		cells = 1 << 16
	}
	if pointers > cells || cells > len(page) {
		return nil // damaged: that is told elsewhere
	}
	for p := header; p < pointers; p += 2 {
		if word(p) < cells || word(p) > len(page)-4 {
			return nil
		}
	}
	w := wiping{page: page}
	w.zero(pointers, cells)
	for free, before := word(at+1), cells-1; free != 0; {
		if free <= before || free > len(page)-4 || word(free+2) < 4 || free+word(free+2) > len(page) {
			return nil
		}
		w.zero(free+4, free+word(free+2))
		free, before = word(free), free+word(free+2)-1
	}
	return w.wiped
}

// wiping makes a copy of a page once something of it is to be another.
type wiping struct{ page, wiped []byte }

func (w *wiping) zero(from, to int) {
	for i := from; i < to; i++ {
		if w.page[i] != 0 {
			if w.wiped == nil {
				w.wiped = append([]byte(nil), w.page...)
			}
			clear(w.wiped[from:to])
			return
		}
	}
}
