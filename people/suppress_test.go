package people_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"fanfare"
	"fanfare/people"
	"fanfare/set"
	"fanfare/stores/memory"
)

// dying is a store whose changes of suppressions fail from the k-th on, as if the process had been killed there.
type dying struct {
	people.Store
	left atomic.Int64
}

func (s *dying) ChangeSet(ctx context.Context, n fanfare.Slot, name fanfare.SetName, add, remove *set.Set) (int, int, error) {
	if s.left.Add(-1) < 0 {
		return 0, 0, errKilled
	}
	return s.Store.ChangeSet(ctx, n, name, add, remove)
}

func (s *dying) SuppressAddresses(ctx context.Context, name fanfare.SetName, mailboxes []uint64) (int, error) {
	if s.left.Add(-1) < 0 {
		return 0, errKilled
	}
	return s.Store.SuppressAddresses(ctx, name, mailboxes)
}

func (s *dying) Update(ctx context.Context, fn func(fanfare.ControlTx) error) error {
	if s.left.Load() < 0 {
		return errKilled
	}
	return s.Store.Update(ctx, fn)
}

// opened makes an importer on a folder, with small blocks.
func opened(t *testing.T, s people.Store, dir string) *people.Importer {
	t.Helper()
	im, err := people.NewImporter(s, dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	im.SetBlock(50)
	return im
}

// TestSuppressionsAreImportedThroughAKill: of people and of addresses that somebody has or nobody has yet; wherever the import is killed, in the
// end everybody is suppressed, and each row is counted once.
func TestSuppressionsAreImportedThroughAKill(t *testing.T) {
	const n, slots = 100, 3
	var rows strings.Builder
	rows.WriteString("\ufeffexternal_id,address,channel,topic,reason\n")
	for i := range n {
		fmt.Fprintf(&rows, "u%d,,email,news,unsubscribed\n,U%d@EXAMPLE.com,,,complained\n,later%d@example.com,email,,\n", i, i, i)
	}
	rows.WriteString("ghost,,email,,\nu1,,pigeon,,\nu1,,,,because\nu1,a@b.example,,,\n,nonsense,,,\n,,,,\nu1,,email,news,bounced\n,a@b.example,inbox,,\nu1,,inbox,,\nshort\n")
	for kill := int64(0); kill < 60; kill += 3 {
		t.Run(fmt.Sprint(kill), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := memory.Open(memory.Config{Slots: slots})
				upsert := func(ids, mail string) {
					for i := range n {
						email := fmt.Sprintf(mail, i)
						c := fanfare.RecipientChange{ExternalID: fmt.Sprintf(ids, i), Email: &email}
						if err := people.Check(&c); err != nil {
							t.Fatal(err)
						}
						if _, err := store.Upsert(t.Context(), fanfare.SlotOf(c.ExternalID, slots), []fanfare.RecipientChange{c}, fanfare.UpsertOptions{}); err != nil {
							t.Fatal(err)
						}
					}
				}
				upsert("u%d", "u%d@example.com")
				dir := t.TempDir()
				imp, err := opened(t, store, dir).Accept(t.Context(), strings.NewReader(rows.String()), "", people.Options{Format: people.CSV, Suppressions: true})
				if err != nil {
					t.Fatal(err)
				}
				killed := &dying{Store: store}
				killed.left.Store(kill)
				ctx, stop := context.WithCancel(t.Context())
				im := opened(t, killed, dir)
				go func() { synctest.Wait(); stop() }()
				_ = im.Run(ctx)
				im = opened(t, store, dir)
				run(t, im)
				got := state(t, store, imp.ID)
				if got.State != fanfare.ImportDone || got.Rows != 3*n+10 || got.Failed != 9 || got.Created+got.Unchanged != 3*n+1 || got.Updated != 0 {
					t.Errorf("%+v", got)
				}
				refused, err := os.ReadFile(im.ErrorsFile(imp.ID))
				if err != nil || bytes.Count(refused, []byte("\n")) != 10 {
					t.Errorf("refused rows: %s %v", refused, err)
				}
				upsert("later%d", "later%d@example.com")
				for name, want := range map[fanfare.SetName]int{
					fanfare.SuppressionSet(fanfare.ChannelEmail, "news", fanfare.ReasonUnsubscribed): n, fanfare.SuppressionSet(fanfare.ChannelEmail, "", fanfare.ReasonComplained): n,
					fanfare.SuppressionSet(fanfare.ChannelEmail, "", fanfare.ReasonSuppressed): n, fanfare.SuppressionSet(fanfare.ChannelInbox, "", fanfare.ReasonSuppressed): 1,
				} {
					count := 0
					for s := range slots {
						members, err := store.LoadSet(t.Context(), fanfare.Slot(s), name)
						if err != nil {
							t.Fatal(err)
						}
						count += members.Len()
					}
					if count != want {
						t.Errorf("%s holds %d, want %d", name, count, want)
					}
				}
				var topics []string
				if err := store.View(t.Context(), func(v fanfare.ControlView) (err error) { topics, err = fanfare.Topics(v); return err }); err != nil || fmt.Sprint(topics) != "[news]" {
					t.Errorf("topics %v, %v", topics, err)
				}
			})
		})
	}
}

// TestWhatIsNoFileOfSuppressions is told before anything is queued.
func TestWhatIsNoFileOfSuppressions(t *testing.T) {
	im := opened(t, memory.Open(memory.Config{Slots: 1}), t.TempDir())
	for text, says := range map[string]string{"": "is empty", "channel,topic\n": "no column external_id or address", "address,address\n": "twice", "address,colour\n": `"colour" is unknown`} {
		_, err := im.Accept(t.Context(), strings.NewReader(text), "", people.Options{Format: people.CSV, Suppressions: true})
		if !errors.Is(err, fanfare.ErrUsage) || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := im.Accept(t.Context(), strings.NewReader("邮箱\na@b.example\n"), "", people.Options{Format: people.CSV, Suppressions: true, Map: map[string]string{"邮箱": "address"}}); err != nil {
		t.Error(err)
	}
}
