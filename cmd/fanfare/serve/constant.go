package serve

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"fanfare"
	"fanfare/api"
	"fanfare/stores/memory"
)

// BenchSecret is what signs the tokens of a constant server.
const BenchSecret = "bench"

// Constant serves the very API with an inbox that always answers the same page of twenty, until ctx ends: the bare loop beside the row page.
func Constant(ctx context.Context, listenOn string, log *slog.Logger) error {
	store := memory.Open(memory.Config{})
	keys, err := json.Marshal([]map[string]string{{"id": BenchSecret, "secret": BenchSecret}})
	if err != nil {
		return err
	}
	if err := store.Update(ctx, func(tx fanfare.ControlTx) error { return tx.PutSetting("inbox_keys", keys) }); err != nil {
		return err
	}
	plain := func(_, text string) (string, error) { return text, nil }
	s, err := api.New(api.Config{Store: store, Inbox: newConstant(), Tokens: api.NewTokens(nil), Open: plain, Log: log})
	if err != nil {
		return err
	}
	l, err := listen(ctx, listenOn)
	if err != nil {
		return err
	}
	log.Info("listening", "addr", l.Addr().String())
	return answer(ctx, l, s, log)
}

// constant is an inbox that is always the same.
type constant struct{ page api.InboxPage }

func newConstant() constant {
	c := constant{api.InboxPage{InboxCounts: api.InboxCounts{Unread: 700, Unseen: 700, Total: 700}, Next: "abcdefgh.abc"}}
	for i := range 20 {
		c.page.Items = append(c.page.Items, api.InboxItem{Message: fanfare.MessageID(fmt.Sprintf("msg_ABCDEFGHIJKLMNOPQRSTUVWX%02d", i)), SentAt: time.Date(2026, 3, 1, 9, 30, 0, 123456000, time.UTC),
			Content: []byte(`"title":"News 000","body":"The news of this autumn.","url":"https://example.com/news"`)})
	}
	return c
}

func (constant) Who(context.Context, string) (who fanfare.Person, erased time.Time, err error) {
	return who, erased, nil
}

func (c constant) Page(context.Context, fanfare.Person, api.InboxQuery) (api.InboxPage, error) {
	return c.page, nil
}

func (c constant) Count(context.Context, fanfare.Person) (api.InboxCounts, error) {
	return c.page.InboxCounts, nil
}

func (constant) Mark(context.Context, fanfare.Person, fanfare.MessageID, fanfare.ReceiptKind) error {
	return nil
}

func (constant) Seen(context.Context, fanfare.Person, []fanfare.MessageID) error { return nil }

func (constant) ReadAll(context.Context, fanfare.Person, fanfare.MessageID) error { return nil }
