package sqlite_test

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"fanfare"
	"fanfare/set"
	"fanfare/stores/sqlite"
)

const (
	peopleErased = 400
	people       = 8_000
)

// profileOf makes somebody whose every value is found nowhere else; version counts the changes of the profile.
func profileOf(i, version int) fanfare.RecipientChange {
	text := func(f string) *string {
		s := fmt.Sprintf(f, i, version)
		return &s
	}
	c := fanfare.RecipientChange{ExternalID: fmt.Sprintf("person-%05d-x", scatter(i)), Email: text("mail-%05d-%d@example.com"), Phone: text("+49-%05d-%d-phone"), Locale: text("locale-%05d-%d"),
		EmailState: fanfare.AddressUsable, Attributes: map[string]any{
			"city": *text("city-%05d-%d"), "note": *text("näme\"\n-%05d-%d ") + strings.Repeat("lang ", i%40*version), "tags": []string{*text("tag-%05d-%d")},
		}}
	h := fnv.New64a()
	_, _ = h.Write([]byte(*c.Email))
	c.Mailbox = h.Sum64()
	return c
}

// scatter gives ids in no order, so that pages of the index split everywhere.
func scatter(i int) int { return i * 7919 % 100_003 }

// numbered are the texts of profiles up to the number of the person, as they are and as JSON may have them.
func numbered() []string {
	return []string{"mail-", "+49-", "\\u002b49-", "locale-", "city-", "tag-", "näme\"\n-", `näme\"\n-`, `n\u00e4me\"\n-`}
}

// traces tells what the files whose names begin with name hold of the erased.
func traces(t *testing.T, name string) (found []string) {
	t.Helper()
	ids := make(map[int]bool)
	for i := range peopleErased {
		ids[scatter(i)] = true
	}
	files, err := filepath.Glob(name + "*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no file %s (%v)", name, err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		look := func(text string, erased func(n int) bool) {
			for at := 0; ; at += len(text) {
				next := bytes.Index(content[at:], []byte(text))
				if next < 0 || at+next+len(text)+5 > len(content) {
					return
				}
				at += next
				if n, err := strconv.Atoi(string(content[at+len(text) : at+len(text)+5])); err == nil && erased(n) {
					found = append(found, fmt.Sprintf("%s: %s%05d at %d (page %d)", filepath.Base(file), text, n, at, at/4096+1))
				}
			}
		}
		look("person-", func(n int) bool { return ids[n] })
		for _, text := range numbered() {
			look(text, func(n int) bool { return n < peopleErased })
		}
	}
	return found
}

// crowd is a file with many people who were changed again and again, in sets of their values, with messages to them and what providers said.
type crowd struct {
	*file
	t *testing.T
	s fanfare.Store
	m fanfare.MessageNum
}

const crowdVersions = 3

func newCrowd(t *testing.T) *crowd {
	t.Helper()
	c := &crowd{t: t, file: &file{name: filepath.Join(t.TempDir(), "fanfare.db"), o: sqlite.Options{Slots: 2}}}
	c.s = c.open(t)
	for v := 1; v <= crowdVersions; v++ {
		for i := 0; i < people; i += 500 {
			by := make([][]fanfare.RecipientChange, 2)
			for k := i; k < i+500; k++ {
				if p := profileOf(k, v); v == 1 || k%7 == 0 || k < peopleErased {
					s := fanfare.SlotOf(p.ExternalID, 2)
					by[s] = append(by[s], p)
				}
			}
			for s, changes := range by {
				if _, err := c.s.Upsert(t.Context(), fanfare.Slot(s), changes, fanfare.UpsertOptions{Add: []fanfare.SetName{fanfare.ListSet(1)}}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	m := fanfare.Message{ID: "m", Channel: fanfare.ChannelEmail, Revision: 1, State: fanfare.State{Phase: fanfare.PhaseSending, Generation: 1}}
	for i := range 20 {
		m.Audience = fmt.Appendf(m.Audience, `%c{"recipients":[%q]}`, ",["[min(1-min(i, 1), 1)], profileOf(i, 1).ExternalID)
	}
	m.Audience = []byte(`{"any":` + string(m.Audience) + `]}`)
	if err := c.s.Update(t.Context(), func(tx fanfare.ControlTx) error {
		if err := tx.InsertMessage(&m); err != nil {
			return err
		}
		for i := range people / 10 {
			p := profileOf(i, 1)
			if err := tx.StoreAnswer(fanfare.StoredAnswer{Key: fmt.Sprint("answer ", scatter(i)), Body: fmt.Appendf(nil, `{"recipient":%q,"address":%q}`, p.ExternalID, *profileOf(i, crowdVersions).Email)}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	c.m = m.Num
	c.send()
	return c
}

// send has everybody's mail refused, with the address in the text; values get sets of their own.
func (c *crowd) send() {
	c.t.Helper()
	ctx := c.t.Context()
	for s := range fanfare.Slot(2) {
		alive, err := c.s.LoadSet(ctx, s, fanfare.SetAlive)
		if err == nil {
			err = c.s.Spread(ctx, s, c.m, fanfare.SlotPreparing, 1)
		}
		if err == nil {
			_, err = c.s.Freeze(ctx, s, c.m, 1, 500, func(fanfare.FreezeView) (map[fanfare.Part]*set.Set, error) {
				return map[fanfare.Part]*set.Set{fanfare.PartSend: alive}, nil
			})
		}
		if err == nil {
			err = c.s.Spread(ctx, s, c.m, fanfare.SlotSending, 1)
		}
		if err != nil {
			c.t.Fatal(err)
		}
		for b := range fanfare.BatchNo((alive.Len() + 499) / 500) { //nolint:gosec // few
			c.refuse(fanfare.BatchRef{Message: c.m, Slot: s, Batch: b})
		}
		if err := c.s.Edit(ctx, s, func(v fanfare.SlotView) (changes []fanfare.SetChange, err error) {
			return changes, v.Attributes(alive, func(seq fanfare.Seq, a map[string]any) error {
				changes = append(changes, fanfare.SetChange{Name: fanfare.AttributeValueSet(fanfare.AttributeText, "city", a["city"].(string)), Add: set.Of(seq)}) //nolint:forcetypeassert // as made
				return nil
			})
		}); err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c *crowd) refuse(r fanfare.BatchRef) {
	c.t.Helper()
	append1 := func(e fanfare.Entry) fanfare.Batch {
		a := c.s.Append(c.t.Context(), 0, []fanfare.Entry{e})[0]
		if a.Answer != fanfare.Applied {
			c.t.Fatalf("%v: answer %d, %v", r, a.Answer, a.Err)
		}
		return a.Row
	}
	row := append1(fanfare.Entry{Claim: &fanfare.Claim{BatchRef: r, Generation: 1, Owner: fanfare.Owner{Node: "n", Incarnation: 1}, Lease: fanfare.LeaseTime}})
	members, err := c.s.Members(c.t.Context(), r.Message, r.Slot, row.First, row.N)
	if err != nil {
		c.t.Fatal(err)
	}
	rows, err := c.s.Profiles(c.t.Context(), r.Slot, members)
	if err != nil {
		c.t.Fatal(err)
	}
	rec := &fanfare.Record{BatchRef: r, Generation: 1, Fence: row.Fence, Step: row.Step, Next: row.Clone()}
	rec.Next.Pending.Reset()
	rec.Next.Failed = row.N
	for rank, p := range rows {
		rec.Exceptions = append(rec.Exceptions, fanfare.Exception{Rank: rank, Seq: p.Seq, Result: fanfare.ResultFailed, Reason: fanfare.ReasonPermanent, Code: "550", Text: "no such user <" + p.Email + ">", Attempts: 1})
	}
	append1(fanfare.Entry{Record: rec})
}

func (c *crowd) erase() {
	c.t.Helper()
	by := make([][]string, 2)
	for i := range peopleErased {
		id := profileOf(i, 1).ExternalID
		by[fanfare.SlotOf(id, 2)] = append(by[fanfare.SlotOf(id, 2)], id)
	}
	for s, ids := range by {
		done, err := c.s.Erase(c.t.Context(), fanfare.Slot(s), ids)
		if err != nil {
			c.t.Fatal(err)
		}
		for i := range done {
			if done[i] != fanfare.ErasedNow {
				c.t.Errorf("%s: %d", ids[i], done[i])
			}
		}
	}
}

func (c *crowd) purge() {
	c.t.Helper()
	if more, err := c.s.Purge(c.t.Context()); err != nil || more {
		c.t.Fatalf("purge: more %v, error %v", more, err)
	}
}

// nowhere wants the files without a trace of the erased, and the others there.
func (c *crowd) nowhere(when string) {
	c.t.Helper()
	found := traces(c.t, c.name)
	for _, f := range found[:min(len(found), 5)] {
		c.t.Errorf("%s: %s", when, f)
	}
	if len(found) > 5 {
		c.t.Errorf("%s: and %d more", when, len(found)-5)
	}
	other := profileOf(people-1, 1)
	r, err := c.s.Recipient(c.t.Context(), other.ExternalID)
	if err != nil || r.Email == "" {
		c.t.Errorf("%s: %s: %+v, %v", when, other.ExternalID, r, err)
	}
	if damaged, err := c.s.Check(c.t.Context()); err != nil || len(damaged) > 0 {
		c.t.Errorf("%s: %v, %v", when, damaged, err)
	}
}

// TestErasedBytes: of who is erased no byte stays, in no file.
func TestErasedBytes(t *testing.T) {
	t.Parallel()
	t.Run("while serving", func(t *testing.T) {
		c := newCrowd(t)
		if found := traces(t, c.name); len(found) < 10*peopleErased {
			t.Fatalf("only %d traces before: the search finds nothing", len(found))
		}
		c.erase()
		c.purge()
		c.nowhere("after a purge")
		backup := filepath.Join(t.TempDir(), "backup.db")
		if err := c.s.Backup(t.Context(), backup); err != nil {
			t.Fatal(err)
		}
		if found := traces(t, backup); len(found) > 0 {
			t.Errorf("in a backup: %v", found[:min(len(found), 5)])
		}
	})
	t.Run("clean stop", func(t *testing.T) {
		c := newCrowd(t)
		c.erase()
		c.s = c.reopen(t)
		c.nowhere("after a clean stop")
	})
	t.Run("killed", func(t *testing.T) {
		c := newCrowd(t)
		c.erase()
		c.s = c.crash(t)
		c.purge()
		c.nowhere("after a kill, a restart and a purge")
	})
	t.Run("somebody reads", func(t *testing.T) {
		c := newCrowd(t)
		if err := c.s.View(t.Context(), func(v fanfare.ControlView) error {
			if _, err := v.Message("m"); err != nil { // the snapshot stands
				return err
			}
			c.erase()
			if more, err := c.s.Purge(t.Context()); err != nil || !more {
				t.Errorf("with a reader of what was before: more %v, %v", more, err)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		c.purge()
		c.nowhere("after the reader")
	})
}
