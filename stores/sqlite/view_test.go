package sqlite_test

import (
	"cmp"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"fanfare"
	"fanfare/set"
	"fanfare/stores/sqlite"
)

const viewSlots = 3

// house is a file with messages in every state that there is, and what the views have to show of it.
type house struct {
	t     *testing.T
	r     *rand.Rand
	name  string
	store fanfare.Store
	tx    *sql.Tx // behind the store's back
	seen  map[string]int

	opens    func() (fanfare.Store, error)
	connects func() (*sql.DB, error)
	numbered bool // parameters are $1, $2
}

func build(t *testing.T, seed uint64) *house {
	h := &house{t: t, r: rand.New(rand.NewPCG(seed, 7)), name: filepath.Join(t.TempDir(), "fanfare.db"), seen: make(map[string]int)} //nolint:gosec // a test
	h.opens = func() (fanfare.Store, error) {
		return sqlite.Open(t.Context(), h.name, sqlite.Options{Slots: viewSlots})
	}
	h.connects = func() (*sql.DB, error) { return sql.Open("sqlite", "file:"+h.name) }
	h.open()
	return h
}

func (h *house) ok(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) open() {
	h.t.Helper()
	var err error
	h.store, err = h.opens()
	h.ok(err)
}

// people makes n numbers in each slot, of which the first have profiles.
func (h *house) people(n, named int) {
	h.t.Helper()
	var changes [viewSlots][]fanfare.RecipientChange
	for i, full := 0, 0; full < viewSlots; i++ {
		id := fmt.Sprintf("user %d", i)
		if i%7 == 0 {
			id = fmt.Sprintf("%d'; DROP \"用户\" | \\ ∅ 🎉", i)
		}
		if s := fanfare.SlotOf(id, viewSlots); len(changes[s]) < named {
			if changes[s] = append(changes[s], fanfare.RecipientChange{ExternalID: id}); len(changes[s]) == named {
				full++
			}
		}
	}
	for s := range fanfare.Slot(viewSlots) {
		_, err := h.store.Upsert(h.t.Context(), s, changes[s], fanfare.UpsertOptions{})
		h.ok(err)
		h.ok(h.store.Number(h.t.Context(), s, n-named))
	}
}

// freeze makes a message whose audience is that.
func (h *house) freeze(id fanfare.MessageID, channel fanfare.ChannelName, size int, parts func(fanfare.Slot) map[fanfare.Part]*set.Set) fanfare.MessageNum {
	h.t.Helper()
	now := time.Now()
	m := fanfare.Message{ID: id, Name: "名 '" + string(id), Channel: channel, Revision: 1, State: fanfare.State{Phase: fanfare.PhasePreparing, Generation: 1}, CreatedAt: now, UpdatedAt: now}
	h.ok(h.store.Update(h.t.Context(), func(tx fanfare.ControlTx) error { return tx.InsertMessage(&m) }))
	for s := range fanfare.Slot(viewSlots) {
		h.ok(h.store.Spread(h.t.Context(), s, m.Num, fanfare.SlotPreparing, 1))
		done, err := h.store.Freeze(h.t.Context(), s, m.Num, 1, size, func(fanfare.FreezeView) (map[fanfare.Part]*set.Set, error) { return parts(s), nil })
		h.ok(err)
		if !done {
			h.t.Fatal("not frozen")
		}
	}
	return m.Num
}

// behind closes the store and does something to its file.
func (h *house) behind(fn func()) {
	h.t.Helper()
	h.ok(h.store.Close())
	db, err := h.connects()
	h.ok(err)
	h.tx, err = db.BeginTx(h.t.Context(), nil)
	h.ok(err)
	fn()
	h.ok(errors.Join(h.tx.Commit(), db.Close()))
	h.open()
}

func (h *house) exec(statement string, values ...any) {
	h.t.Helper()
	for n := 1; h.numbered && strings.Contains(statement, "?"); n++ {
		statement = strings.Replace(statement, "?", fmt.Sprint("$", n), 1)
	}
	_, err := h.tx.ExecContext(h.t.Context(), statement, values...)
	h.ok(err)
}

// scatter gives everybody of a message some state: each batch is of a kind of its own.
func (h *house) scatter(m fanfare.MessageNum, phase fanfare.Phase, batches map[fanfare.Slot][]fanfare.Batch, members map[fanfare.Slot]*set.Set) {
	h.t.Helper()
	started, finished := int64(0), int64(0)
	if phase.Status() != fanfare.NotStarted {
		started = time.Now().UnixMicro() / 1e6 * 1e6 // no fraction
	}
	if phase.Final() {
		finished = time.Now().UnixMicro()/10*10 + 10 // one that ends with 0
	}
	h.exec("UPDATE message_rows SET phase = ?, status = ?, started_at = ?, finished_at = ? WHERE num = ?", string(phase), int64(phase.Status()), started, finished, int64(m))
	for s, rows := range batches {
		for i := range rows {
			if h.r.IntN(6) > 0 {
				h.scatterBatch(&rows[i], members[s].SelectRange(nil, int(rows[i].First), int(rows[i].First)+rows[i].N))
			}
		}
	}
}

func (h *house) scatterBatch(b *fanfare.Batch, seqs []fanfare.Seq) {
	h.t.Helper()
	b.State = []fanfare.BatchState{fanfare.BatchOpen, fanfare.BatchHeld, fanfare.BatchDone}[h.r.IntN(3)]
	pending, flying, doubted := set.NewBits(b.N), set.NewBits(b.N), set.NewBits(b.N)
	odds := []int{1, 3, 20, 1000}[h.r.IntN(4)]
	for rank, seq := range seqs {
		e := fanfare.Exception{Seq: seq, Attempts: h.r.IntN(7), Doubts: h.r.IntN(40) / 18, Code: []string{"", "550 5.1.1", "421"}[h.r.IntN(3)], Text: []string{"", "no such 'user' 用户 |", "try later"}[h.r.IntN(3)]}
		if h.r.IntN(4*odds) == 0 {
			doubted.Set(rank)
		}
		if h.r.IntN(odds) > 0 || b.State == fanfare.BatchDone && h.r.IntN(2) == 0 {
			continue // sent
		}
		switch h.r.IntN(8) {
		case 0:
			pending.Set(rank)
			continue
		case 1:
			flying.Set(rank)
			continue
		case 2:
			pending.Set(rank)
			e.Result, e.Reason = fanfare.ResultPending, fanfare.ReasonTemporary
		case 3:
			flying.Set(rank)
			e.Result, e.Reason = fanfare.ResultPending, fanfare.ReasonTemporary
		case 4:
			e.Result, e.Reason = fanfare.ResultSent, fanfare.ReasonTemporary
		case 5:
			e.Result, e.Reason = fanfare.ResultFailed, []fanfare.Reason{fanfare.ReasonPermanent, fanfare.ReasonTemporaryExhausted, fanfare.ReasonTechnical}[h.r.IntN(3)]
		case 6:
			e.Result, e.Reason = fanfare.ResultSkipped, []fanfare.Reason{fanfare.ReasonErased, fanfare.ReasonUnsubscribed, fanfare.ReasonMissingField, fanfare.ReasonFiltered, fanfare.ReasonInvalid}[h.r.IntN(5)]
		case 7:
			e.Result, e.Reason = fanfare.ResultUncertain, []fanfare.Reason{fanfare.ReasonInterrupted, fanfare.ReasonNoAnswer}[h.r.IntN(2)]
		}
		h.exec("INSERT INTO exceptions (message, slot, seq, result, reason, code, text, attempts, doubts, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 5)",
			int64(b.Message), int64(b.Slot), int64(seq), string(e.Result), string(e.Reason), e.Code, e.Text, e.Attempts, e.Doubts)
	}
	h.exec("UPDATE batches SET state = ?, pending = ?, in_flight = ?, doubted = ?, runs = ? WHERE message = ? AND slot = ? AND batch = ?",
		int64(b.State), pending.Bytes(), flying.Bytes(), doubted.Bytes(), h.runs(b.N), int64(b.Message), int64(b.Slot), int64(b.Batch))
}

// runs gives runs as the store writes them.
func (h *house) runs(n int) any {
	type run struct {
		Revision int64  `json:"revision"`
		Sent     []byte `json:"sent,omitempty"`
		At       int64  `json:"at"`
	}
	if h.r.IntN(10) == 0 {
		return nil
	}
	var runs []run
	at := time.Now().UnixMicro()
	for range h.r.IntN(3) {
		sent := make([]byte, 1+h.r.IntN((n+7)/8))
		for i := range sent {
			sent[i] = byte(h.r.Uint32())
		}
		runs = append(runs, run{Revision: int64(len(runs) + 1), Sent: sent, At: at + int64(len(runs))*700_001})
	}
	if len(runs) == 0 || h.r.IntN(2) == 0 {
		runs = append(runs, run{Revision: int64(len(runs) + 1), At: at - at%[]int64{1, 10, 1000, 1_000_000}[h.r.IntN(4)]})
	}
	text, err := json.Marshal(runs)
	h.ok(err)
	return string(text)
}

// receive lets some of the planned say what became of it.
func (h *house) receive(m fanfare.MessageNum, members map[fanfare.Slot]*set.Set, odds func(fanfare.Seq) int, span time.Duration) {
	h.t.Helper()
	for s, all := range members {
		var receipts []fanfare.Receipt
		for seq := range all.All() {
			n := odds(seq)
			if n == 0 || h.r.IntN(n) > 0 {
				continue
			}
			kind := fanfare.ReceiptKinds()[h.r.IntN(10)]
			r := fanfare.Receipt{Message: m, Person: fanfare.Person{Slot: s, Seq: seq}, Kind: kind, At: time.Now().Add(-time.Duration(h.r.Int64N(int64(span)))), Source: fanfare.SourceReported}
			receipts = append(receipts, r)
			if h.r.IntN(3) == 0 {
				r.Kind = fanfare.ReceiptDelivered
				receipts = append(receipts, r)
			}
		}
		_, err := h.store.LogReceipts(h.t.Context(), 0, receipts)
		h.ok(err)
	}
	for more := true; more; {
		var err error
		more, err = h.store.Fold(h.t.Context(), 0)
		h.ok(err)
	}
}

// planned gives the batches and the members of a message.
func (h *house) planned(m fanfare.MessageNum) (batches map[fanfare.Slot][]fanfare.Batch, members map[fanfare.Slot]*set.Set) {
	h.t.Helper()
	batches, members = make(map[fanfare.Slot][]fanfare.Batch), make(map[fanfare.Slot]*set.Set)
	for s := range fanfare.Slot(viewSlots) {
		var err error
		batches[s], err = h.store.Batches(h.t.Context(), m, s, 0, 1<<20)
		h.ok(err)
		members[s], err = h.store.PartSet(h.t.Context(), m, s, fanfare.PartSend)
		h.ok(err)
	}
	return batches, members
}

// columns of message_items but the first, in the order of the rows that are compared.
const columns = "recipient, result, reason, code, text, attempts, doubted, sent_at, delivered_at, read, read_at"

// items gives the rows of a message as the store's own answers make them, sorted.
func (h *house) items(id fanfare.MessageID) []string {
	h.t.Helper()
	var m fanfare.Message
	h.ok(h.store.View(h.t.Context(), func(v fanfare.ControlView) (err error) {
		m, err = v.Message(id)
		return err
	}))
	var rows []string
	for s := range fanfare.Slot(viewSlots) {
		var items []fanfare.Item
		sizes, err := h.store.Parts(h.t.Context(), m.Num, s)
		h.ok(err)
		for part := range sizes {
			if part != fanfare.PartSend {
				members, err := h.store.PartSet(h.t.Context(), m.Num, s, part)
				h.ok(err)
				for seq := range members.All() {
					items = append(items, fanfare.Item{Person: fanfare.Person{Slot: s, Seq: seq}, Result: fanfare.ResultSkipped, Reason: fanfare.Reason(part)})
				}
			}
		}
		exceptions := make(map[fanfare.Seq]*fanfare.Exception)
		for e, err := range h.store.Exceptions(h.t.Context(), m.Num, s, 0) {
			h.ok(err)
			exceptions[e.Seq] = &e
		}
		batches, members := h.planned(m.Num)
		for i := range batches[s] {
			b := &batches[s][i]
			for rank, seq := range members[s].SelectRange(nil, int(b.First), int(b.First)+b.N) {
				it := b.Item(rank, exceptions[seq], m.Phase)
				it.Seq = seq
				items = append(items, it)
			}
		}
		slices.SortFunc(items, func(a, b fanfare.Item) int { return cmp.Compare(a.Seq, b.Seq) })
		seqs := make([]fanfare.Seq, len(items))
		for i := range items {
			seqs[i] = items[i].Seq
		}
		times, err := h.store.ReceiptTimes(h.t.Context(), m.Num, s, seqs)
		h.ok(err)
		people, err := h.store.Profiles(h.t.Context(), s, seqs)
		h.ok(err)
		for i, it := range items {
			read := 0
			if times[i][fanfare.ReceiptRead].At != 0 {
				read = 1
			}
			h.seen[string(it.Result)+" "+string(it.Reason)]++
			for what, is := range map[string]bool{fmt.Sprint("doubted ", it.Doubted): true, "sent at": !it.SentAt.IsZero(), "delivered at": times[i][fanfare.ReceiptDelivered].At != 0,
				"read at": read > 0, "nobody": people[i].ExternalID == ""} {
				if is {
					h.seen[what]++
				}
			}
			rows = append(rows, strings.Join([]string{null(people[i].ExternalID), string(it.Result), string(it.Reason), it.Code, it.Text, fmt.Sprint(it.Attempts), fmt.Sprint(it.Doubted),
				moment(it.SentAt), moment(times[i].At(fanfare.ReceiptDelivered)), fmt.Sprint(read), moment(times[i].At(fanfare.ReceiptRead))}, "|"))
		}
	}
	slices.Sort(rows)
	return rows
}

func null(s string) string { return cmp.Or(s, "∅") }

// moment writes a time as the API does.
func moment(t time.Time) string {
	if t.IsZero() {
		return "∅"
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// everyKind gives an audience whose containers are of all kinds and whose parts are many.
func (h *house) everyKind(n uint32) func(fanfare.Slot) map[fanfare.Part]*set.Set {
	return func(s fanfare.Slot) map[fanfare.Part]*set.Set {
		parts := map[fanfare.Part]*set.Set{fanfare.PartSend: set.New()}
		names := []fanfare.Part{fanfare.PartSend, fanfare.PartSend, fanfare.PartSend, fanfare.Part(fanfare.ReasonUnsubscribed), fanfare.Part(fanfare.ReasonNoAddress), fanfare.Part(fanfare.ReasonBounced)}
		for _, p := range names {
			parts[p] = set.New()
		}
		free := set.Range(0, uint64(n))
		put := func(p fanfare.Part, lo, hi uint32) {
			parts[p].AddRange(uint64(lo), uint64(hi))
			free.RemoveRange(uint64(lo), uint64(hi))
		}
		for lo := uint32(0); lo < n; lo += 1 << 16 {
			switch (lo>>16 + uint32(s)) % 3 {
			case 0: // few, at the borders too
				for _, low := range []uint32{0, 1, 7, 8, 255, 256, 65534, 65535} {
					if lo+low < n {
						put(names[h.r.IntN(6)], lo+low, lo+low+1)
					}
				}
				for range 3000 {
					if x := lo + h.r.Uint32N(min(1<<16, n-lo)); free.Contains(x) {
						put(names[h.r.IntN(6)], x, x+1)
					}
				}
			case 1: // about half of it
				for x := lo; x < min(n, lo+1<<16); x++ {
					if h.r.IntN(2) == 0 {
						put(names[h.r.IntN(6)], x, x+1)
					}
				}
			case 2: // in runs
				for x := lo; x < min(n, lo+1<<16); {
					end := min(n, lo+1<<16, x+1+h.r.Uint32N(1<<(h.r.IntN(13)+1)))
					if h.r.IntN(4) > 0 {
						put(names[h.r.IntN(6)], x, end)
					}
					x = end + 1
				}
			}
		}
		return parts
	}
}

// whole gives all numbers, in one run.
func whole(n uint64) func(fanfare.Slot) map[fanfare.Part]*set.Set {
	return func(fanfare.Slot) map[fanfare.Part]*set.Set {
		return map[fanfare.Part]*set.Set{fanfare.PartSend: set.Range(0, n)}
	}
}

// TestViews asks the views by SQL and compares them, item by item, with what the store itself answers.
func TestViews(t *testing.T) {
	t.Parallel()
	h := build(t, 1)
	h.show(func() map[string]func(query string) []string { return clients(t, h.name) })
}

// show fills the house and compares what each client is shown with what the API says.
func (h *house) show(clients func() map[string]func(query string) []string) {
	t := h.t
	const people = 70_000 // two containers a slot
	h.people(people, 2000)
	phases := map[fanfare.MessageID]fanfare.Phase{"sending": fanfare.PhaseSending, "done": fanfare.PhaseCompleted, "cancelled": fanfare.PhaseCancelled, "expired": fanfare.PhaseExpired,
		"inbox": fanfare.PhaseCompleted, "untouched": fanfare.PhaseSending, "empty": fanfare.PhaseCompleted}
	nums := make(map[fanfare.MessageID]fanfare.MessageNum)
	for id, n := range map[fanfare.MessageID]uint32{"sending": 20_000, "done": 10_000, "cancelled": 3000, "expired": 3000} {
		nums[id] = h.freeze(id, fanfare.ChannelNull, 500, h.everyKind(n))
	}
	nums["inbox"] = h.freeze("inbox", fanfare.ChannelInbox, fanfare.WholeRows, h.everyKind(people))
	nums["untouched"] = h.freeze("untouched", fanfare.ChannelNull, 500, whole(2500))
	nums["empty"] = h.freeze("empty", fanfare.ChannelNull, 500, whole(0))
	batches, members := make(map[fanfare.MessageID]map[fanfare.Slot][]fanfare.Batch), make(map[fanfare.MessageID]map[fanfare.Slot]*set.Set)
	for id, num := range nums {
		batches[id], members[id] = h.planned(num)
	}
	h.behind(func() {
		for _, id := range slices.Sorted(maps.Keys(nums)) {
			if id != "untouched" {
				h.scatter(nums[id], phases[id], batches[id], members[id])
			}
		}
	})
	h.receive(nums["done"], members["done"], func(fanfare.Seq) int { return 3 }, time.Hour)
	h.receive(nums["inbox"], members["inbox"], func(seq fanfare.Seq) int { return []int{1, 100}[seq>>16] }, 100*24*time.Hour)
	want := make(map[string][]string)
	for id := range nums {
		want[string(id)] = h.items(id)
	}
	shown := h.messages()
	for _, r := range []string{"pending ", "pending temporary", "in_flight ", "in_flight temporary", "sent ", "failed permanent", "failed temporary_exhausted", "failed technical", "skipped unsubscribed",
		"skipped bounced", "skipped no_address", "skipped erased", "skipped missing_field", "skipped filtered", "skipped invalid", "skipped cancelled", "skipped expired", "uncertain interrupted",
		"uncertain no_answer", "doubted 1", "doubted 2", "sent at", "delivered at", "read at", "nobody"} {
		if h.seen[r] == 0 {
			t.Errorf("%s is nobody: this tests nothing", r)
		}
	}
	h.ok(h.store.Close())
	for name, ask := range clients() {
		t.Run(name, func(t *testing.T) {
			if d := gocmp.Diff(shown, ask("SELECT id, name, channel, status, phase, created_at, started_at, finished_at FROM messages ORDER BY id")); d != "" {
				t.Errorf("messages: -want +got\n%s", d)
			}
			for id, rows := range want {
				got := ask("SELECT " + columns + " FROM message_items WHERE message_id = '" + id + "'")
				slices.Sort(got)
				same(t, id, rows, got)
			}
			if got := ask("SELECT COUNT(*) FROM message_items WHERE message_id = 'nobody'"); got[0] != "0" {
				t.Errorf("of a message that is not there: %s", got)
			}
			total := 0
			for _, rows := range want {
				total += len(rows)
			}
			if got := ask("SELECT COUNT(*) FROM message_items"); got[0] != fmt.Sprint(total) {
				t.Errorf("%s items in all, not %d", got, total)
			}
		})
	}
}

// messages gives the rows of messages as the API has them.
func (h *house) messages() []string {
	h.t.Helper()
	var rows []string
	h.ok(h.store.View(h.t.Context(), func(v fanfare.ControlView) error {
		found, _, err := v.Messages(fanfare.MessageFilter{Limit: 1000})
		for _, m := range found {
			rows = append(rows, strings.Join([]string{string(m.ID), m.Name, string(m.Channel), fmt.Sprint(int(m.Phase.Status())), string(m.Phase), moment(m.CreatedAt), moment(m.StartedAt), moment(m.FinishedAt)}, "|"))
		}
		return err
	}))
	slices.Sort(rows)
	return rows
}

// same compares sorted rows; of what differs it shows some.
func same(t *testing.T, what string, want, got []string) {
	t.Helper()
	shown := 0
	for len(want)+len(got) > 0 && shown < 6 {
		switch {
		case len(want) > 0 && len(got) > 0 && want[0] == got[0]:
			want, got = want[1:], got[1:]
		case len(got) == 0 || len(want) > 0 && want[0] < got[0]:
			t.Errorf("%s: missing %s", what, want[0])
			want, shown = want[1:], shown+1
		default:
			t.Errorf("%s: unwanted %s", what, got[0])
			got, shown = got[1:], shown+1
		}
	}
}

// clients gives ways to ask a file by SQL, none of which knows anything of Fanfare: each answers rows, columns joined by '|', null as ∅.
func clients(t *testing.T, name string) map[string]func(query string) []string {
	t.Helper()
	all := map[string]func(string) []string{"driver": asks(t, func() (*sql.DB, error) { return sql.Open("sqlite", "file:"+name+"?mode=ro") })}
	program, err := exec.LookPath("sqlite3")
	switch {
	case err == nil:
		all["sqlite3"] = func(query string) []string {
			out, err := exec.CommandContext(t.Context(), program, "-readonly", "-batch", "-nullvalue", "∅", "-separator", "|", name, query).Output() //nolint:gosec // a test's own query
			if err != nil {
				t.Fatal(err)
			}
			return strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })
		}
	case os.Getenv("CI") == "true":
		t.Error("there is no sqlite3 on PATH; scripts/servers.sh installs it")
	default:
		t.Log("sqlite3 is not on PATH: only the driver was asked")
	}
	return all
}

// asks gives a client that is a driver.
func asks(t *testing.T, connect func() (*sql.DB, error)) func(query string) []string {
	return func(query string) []string {
		t.Helper()
		db, err := connect()
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close() //nolint:errcheck // it only reads
		rows, err := db.QueryContext(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close() //nolint:errcheck // Err tells
		names, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		fields, to := make([]sql.NullString, len(names)), make([]any, len(names))
		for i := range fields {
			to[i] = &fields[i]
		}
		var found []string
		for rows.Next() {
			if err := rows.Scan(to...); err != nil {
				t.Fatal(err)
			}
			text := make([]string, len(fields))
			for i, f := range fields {
				if text[i] = f.String; !f.Valid {
					text[i] = "∅"
				}
			}
			found = append(found, strings.Join(text, "|"))
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		return found
	}
}

// TestViewPlans: who asks by message, directly or by way of messages, has no other message's rows read.
func TestViewPlans(t *testing.T) {
	h := build(t, 2)
	h.ok(h.store.Close())
	whole := regexp.MustCompile(`SCAN [mawdrbe]( |\n|$)`)
	for name, ask := range clients(t, h.name) {
		t.Run(name, func(t *testing.T) {
			for _, query := range []string{
				"SELECT * FROM message_items WHERE message_id = 'x'",
				"SELECT result, reason, COUNT(*) FROM message_items WHERE message_id = 'x' GROUP BY result, reason",
				"SELECT recipient FROM message_items WHERE message_id = 'x' AND read = 0 AND result = 'sent' ORDER BY sent_at LIMIT 10",
				"SELECT m.name, i.result, COUNT(*) FROM messages m JOIN message_items i ON i.message_id = m.id WHERE m.id = 'x' GROUP BY 1, 2",
				"SELECT COUNT(*) FROM message_items WHERE message_id IN ('x', 'y')",
			} {
				plan := strings.Join(ask("EXPLAIN QUERY PLAN "+query), "\n")
				if whole.MatchString(plan) || !strings.Contains(plan, "(id=?)") || !strings.Contains(plan, "SEARCH a USING PRIMARY KEY (message=?)") || !strings.Contains(plan, "SEARCH b USING PRIMARY KEY (message=? AND slot=? AND batch=?)") {
					t.Errorf("%s:\n%s", query, plan)
				}
			}
		})
	}
}
