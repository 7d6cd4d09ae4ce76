package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the bare loop

	"fanfare"
	"fanfare/audience"
	"fanfare/cmd/fanfare/spawn"
	"fanfare/set"
)

// What the people of the row `audience` have: a city of these, a level below 100, and two lists.
const (
	cities = 100
	levels = 100
)

// traits of the i-th person, the same for the sets and for the rows of the bare loop.
type traits struct {
	city, level           int
	half, third           bool // on these lists
	unsubscribed, bounced bool
}

func traitsOf(i uint64) traits {
	x := i*0x9e3779b97f4a7c15 + 0x1234567
	x ^= x >> 29
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 32
	return traits{city: int(x % cities), level: int(x >> 8 % levels), half: x>>20&1 == 1, third: x>>24%3 == 0, unsubscribed: x>>40%64 == 0, bounced: x>>50%128 == 0} //nolint:gosec // small
}

// counted is what the row counts: two attributes, two lists, and for which reasons who is left out.
const counted = `{"every":[{"attribute":"city","eq":"City7"},{"attribute":"level","gte":50},{"list":"half"},{"not":{"list":"third"}}]}`

// wider unites what counted intersects, so that nearly everybody is in it.
const wider = `{"any":[{"attribute":"city","in":["City7","City8","City9"]},{"attribute":"level","gte":50},{"list":"half"},{"not":{"list":"third"}}]}`

// audiences is the row `audience`.
func audiences(ctx context.Context, b *bench) (Row, error) {
	n := b.n(10_000_000)
	data := filepath.Join(b.dir, "audience")
	want, err := characters(ctx, data, n)
	if err != nil {
		return Row{}, err
	}
	var cold, warm, wide []time.Duration
	var rss int64
	for range 3 {
		s, err := spawn.Serve(ctx, b.Exe, data, "127.0.0.1:0", b.Errors)
		if err != nil {
			return Row{}, err
		}
		took, err := count(ctx, s, counted, &want)
		cold = append(cold, took)
		for range 20 {
			if err == nil {
				took, err = count(ctx, s, counted, &want)
				warm = append(warm, took)
			}
		}
		for range 7 {
			if err == nil {
				took, err = count(ctx, s, wider, nil)
				wide = append(wide, took)
			}
		}
		var more error
		rss, more = s.PeakRSS()
		if err := errors.Join(err, more, s.Stop()); err != nil {
			return Row{}, err
		}
	}
	if err := examine(ctx, data); err != nil {
		return Row{}, err
	}
	rows := max(1000, n/10)
	bare, err := jsonScan(ctx, filepath.Join(b.dir, "bare-audience.db"), rows)
	if err != nil {
		return Row{}, err
	}
	scan := bare.Seconds() * float64(n) / float64(rows)
	middle := median(warm)
	return Row{What: fmt.Sprintf("count over HTTP, two attributes and two lists over %d people, with the reasons to skip: %d planned", n, want.Planned),
		Budget: "10,000,000 under 20 ms with the sets in the cache, 60 ms cold; at least 100 times a JSON scan",
		Figures: map[string]float64{"warm_ms": ms(middle), "warm_worst_ms": ms(slices.Max(warm)), "cold_ms": ms(median(cold)), "wide_ms": ms(median(wide)), "bare_ms": scan * 1000,
			"peak_rss_mb": float64(rss) / 1e6},
		Bare: fmt.Sprintf("json_extract over %d rows in SQLite, the lists being columns of theirs: %.0f ms, so %.0f ms for all", rows, ms(bare), scan*1000), Ratio: scan / middle.Seconds(),
		text: fmt.Sprintf("warm %.1f ms (worst of %d: %.1f), cold %.1f ms; united instead of intersected %.1f ms; peak %.0f MB; doctor passes",
			ms(middle), len(warm), ms(slices.Max(warm)), ms(median(cold)), ms(median(wide)), float64(rss)/1e6)}, nil
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// tally is what a count answers.
type tally struct {
	Recipients, Planned int
	Skipped             map[string]int
	Scanned             []string
}

// count asks the server once and checks the answer.
func count(ctx context.Context, s *spawn.Server, doc string, want *tally) (time.Duration, error) {
	var got tally
	began := time.Now()
	err := s.Do(ctx, http.MethodPost, "/v1/audiences/count", map[string]any{"audience": rawJSON(doc), "channel": "null"}, &got)
	took := time.Since(began)
	if err == nil && want != nil && (got.Planned != want.Planned || got.Recipients != want.Recipients || len(got.Scanned) > 0 ||
		got.Skipped["unsubscribed"] != want.Skipped["unsubscribed"] || got.Skipped["bounced"] != want.Skipped["bounced"]) {
		err = fmt.Errorf("counted %+v, want %+v", got, *want)
	}
	return took, err
}

type rawJSON string

// MarshalJSON gives it as it is.
func (r rawJSON) MarshalJSON() ([]byte, error) { return []byte(r), nil }

// characters makes n people without profiles, and the sets of their attributes and lists as an indexer would. It tells what counted has to
// find, one person at a time.
func characters(ctx context.Context, data string, n int) (want tally, err error) {
	if err = numbered(ctx, data, n); err != nil {
		return want, err
	}
	store, err := open(ctx, data)
	if err != nil {
		return want, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	half, third := fanfare.List{Name: "half"}, fanfare.List{Name: "third"}
	if err := store.Update(ctx, func(tx fanfare.ControlTx) error { return errors.Join(tx.InsertList(&half), tx.InsertList(&third)) }); err != nil {
		return want, err
	}
	want.Skipped = make(map[string]int)
	next := uint64(0)
	for s := range fanfare.Slot(slots) {
		alive, err := store.LoadSet(ctx, s, fanfare.SetAlive)
		if err != nil {
			return want, err
		}
		members := make(map[fanfare.SetName][]uint32)
		for seq := range alive.All() {
			t := traitsOf(next)
			next++
			want.see(t)
			t.join(seq, fanfare.ListSet(half.ID), fanfare.ListSet(third.ID), members)
		}
		changes := []fanfare.SetChange{{Name: fanfare.AttributeSet(fanfare.AttributeExists, "city"), Add: alive}, {Name: fanfare.AttributeSet(fanfare.AttributeExists, "level"), Add: alive},
			{Name: fanfare.AttributeSet(fanfare.AttributeNumber, "level"), Add: alive}, {Name: fanfare.SetIndexed, Add: alive}}
		for name, seqs := range members {
			m := set.New()
			m.AddMany(seqs)
			changes = append(changes, fanfare.SetChange{Name: name, Add: m})
		}
		if err := store.Edit(ctx, s, func(fanfare.SlotView) ([]fanfare.SetChange, error) { return changes, nil }); err != nil {
			return want, err
		}
	}
	return want, nil
}

func (t traits) join(seq uint32, half, third fanfare.SetName, members map[fanfare.SetName][]uint32) {
	put := func(is bool, name fanfare.SetName) {
		if is {
			members[name] = append(members[name], seq)
		}
	}
	put(true, fanfare.AttributeValueSet(fanfare.AttributeText, "city", fmt.Sprint("City", t.city)))
	key := audience.NumberKey(float64(t.level))
	for bit := range audience.KeyBits {
		if key.Bit(bit) {
			put(true, fanfare.AttributeBitSet(fanfare.AttributeNumBit, "level", bit))
		}
	}
	put(t.half, half)
	put(t.third, third)
	put(t.unsubscribed, fanfare.SuppressionSet(fanfare.ChannelNull, "general", fanfare.ReasonUnsubscribed))
	put(t.bounced, fanfare.SuppressionSet(fanfare.ChannelNull, "", fanfare.ReasonBounced))
}

// see counts a person, if counted means them.
func (want *tally) see(t traits) {
	if t.city != 7 || t.level < 50 || !t.half || t.third {
		return
	}
	want.Recipients++
	switch {
	case t.unsubscribed:
		want.Skipped["unsubscribed"]++
	case t.bounced:
		want.Skipped["bounced"]++
	default:
		want.Planned++
	}
}

// jsonScan asks the same of rows with a JSON document each, and gives the best of three.
func jsonScan(ctx context.Context, file string, n int) (best time.Duration, err error) {
	db, err := sql.Open("sqlite", "file:"+file)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, "create table r(id integer primary key, half integer, third integer, unsubscribed integer, bounced integer, attributes text)"); err != nil {
		return 0, err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	const rows = 50
	for at := 0; at < n; at += rows {
		k := min(rows, n-at)
		args := make([]any, 0, 6*k)
		for i := at; i < at+k; i++ {
			t := traitsOf(uint64(i)) //nolint:gosec // a count
			args = append(args, i, t.half, t.third, t.unsubscribed, t.bounced, fmt.Sprintf(`{"city":"City%d","level":%d,"name":"Name%d"}`, t.city, t.level, i))
		}
		if _, err := tx.ExecContext(ctx, "insert into r values "+strings.TrimSuffix(strings.Repeat("(?,?,?,?,?,?),", k), ","), args...); err != nil {
			return 0, errors.Join(err, tx.Rollback())
		}
	}
	if err := tx.Commit(); err != nil {
		return 0, err
	}
	for try := range 3 {
		began := time.Now()
		rows, err := db.QueryContext(ctx, `select unsubscribed, bounced, count(*) from r
where json_extract(attributes, '$.city') = 'City7' and json_extract(attributes, '$.level') >= 50 and half and not third group by 1, 2`)
		if err != nil {
			return 0, err
		}
		groups := 0
		for rows.Next() {
			groups++
		}
		if groups == 0 {
			return 0, errors.Join(errors.New("the scan finds nobody"), rows.Close())
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return 0, err
		}
		if took := time.Since(began); try == 0 || took < best {
			best = took
		}
	}
	return best, nil
}
