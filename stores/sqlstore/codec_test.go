package sqlstore

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"fanfare"
)

// drawAttributes draws what a recipient's attributes can be.
func drawAttributes(r *rapid.T) map[string]any {
	texts := rapid.OneOf(rapid.StringMatching(`[ -~]{0,12}`), rapid.String(), rapid.SampledFrom([]string{"", `"`, `\`, "\n", "\u2028", "<&>", "名", "\x7f", `",}]`}))
	value := rapid.OneOf(
		rapid.Custom(func(r *rapid.T) any { return texts.Draw(r, "text") }),
		rapid.Custom(func(r *rapid.T) any { return rapid.Float64().Draw(r, "number") }),
		rapid.Custom(func(r *rapid.T) any { return rapid.Bool().Draw(r, "truth") }),
		rapid.Custom(func(r *rapid.T) any { return rapid.SliceOfN(texts, 0, 4).Draw(r, "list") }),
	)
	return rapid.MapOfN(texts, value, 0, 20).Draw(r, "attributes")
}

// TestAttributes: what is written reads as it was, and encoding/json reads the same.
func TestAttributes(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		want := drawAttributes(r)
		packed, err := appendAttributes(nil, want)
		if err != nil {
			for _, v := range want {
				if f, ok := v.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
					return
				}
			}
			r.Fatal(err)
		}
		if len(want) == 0 {
			if packed != nil {
				r.Fatalf("no attributes are %q", packed)
			}
			return
		}
		got, err := attributesOf(string(packed))
		if err != nil {
			r.Fatalf("%q: %v", packed, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			r.Fatalf("%q: -want +got\n%s", packed, d)
		}
		var judged map[string]any
		if err := json.Unmarshal(packed, &judged); err != nil {
			r.Fatalf("%q: %v", packed, err)
		}
		if d := cmp.Diff(plain(got), judged); d != "" {
			r.Fatalf("%q: -ours +encoding/json\n%s", packed, d)
		}
	})
}

// plain turns lists into what encoding/json makes of them.
func plain(attributes map[string]any) map[string]any {
	out := make(map[string]any, len(attributes))
	for name, value := range attributes {
		if list, ok := value.([]string); ok {
			any := []any{}
			for _, s := range list {
				any = append(any, s)
			}
			value = any
		}
		out[name] = value
	}
	return out
}

// FuzzAttributes reads any bytes: what is accepted is JSON that encoding/json reads the same, and what is written of it reads the same again.
func FuzzAttributes(f *testing.F) {
	for _, seed := range []string{"", "{}", `{"a":"b"}`, `{"a":1e300,"b":true,"c":["x","\u00e9"]}`, `{"a":`, `{"a":01}`, `{"a":"\ud800"}`, `{"a":+1}`, `{"":[]}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := attributesOf(text)
		if err != nil || len(got) == 0 || !utf8.ValidString(text) {
			return
		}
		packed, err := appendAttributes(nil, got)
		if err != nil {
			return // a number that JSON has not
		}
		again, err := attributesOf(string(packed))
		if err != nil || cmp.Diff(got, again) != "" {
			t.Errorf("%q reads as %v, is written as %q, reads as %v (%v)", text, got, packed, again, err)
		}
		var judged map[string]any
		if json.Unmarshal([]byte(text), &judged) == nil && cmp.Diff(plain(got), judged) != "" {
			t.Errorf("%q reads as %v, encoding/json says %v", text, got, judged)
		}
	})
}

func TestAttributesThatCannotBe(t *testing.T) {
	for _, v := range []any{1, math.NaN(), math.Inf(1), []any{"a"}, map[string]any{}, struct{}{}} {
		if packed, err := appendAttributes(nil, map[string]any{"a": v}); err == nil {
			t.Errorf("%T is kept as %q", v, packed)
		}
	}
	for _, text := range []string{"{", `{"a"}`, `{"a":}`, `{"a":x}`, `{"a":1}x`, `{"a":1,}`, `{,}`, `[]`, "null", `{"a":["x"}`, `{"a":[1]}`, `{"a":"x`, `{"a":"\x"}`, `{"a":1 "b":2}`} {
		if got, err := attributesOf(text); err == nil {
			t.Errorf("%q reads as %v", text, got)
		}
	}
}

func TestRuns(t *testing.T) {
	at := time.UnixMicro(1_770_000_000_123_456).UTC()
	for _, want := range [][]fanfare.Run{
		{{Revision: 1}},
		{{Revision: 1, At: at}, {Revision: 7, Sent: []byte{0, 255, 3}, At: at.Add(time.Hour)}},
		{{Revision: -1, Sent: []byte{}, At: time.UnixMicro(-5).UTC()}},
	} {
		packed := appendRuns(nil, want)
		got, err := runsOf(packed)
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%s (%v): -want +got\n%s", packed, err, d)
		}
	}
}

func TestOutcomes(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		want := rapid.SliceOf(rapid.Custom(func(r *rapid.T) fanfare.Upserted {
			return fanfare.Upserted{Person: fanfare.Person{Slot: 3, Seq: rapid.OneOf(rapid.Uint32Range(0, 5), rapid.Uint32Max(1<<32-2)).Draw(r, "seq")},
				Outcome: fanfare.UpsertOutcome(rapid.IntRange(1, 5).Draw(r, "outcome"))} //nolint:gosec // small
		})).Draw(r, "outcomes")
		packed := appendOutcomes(nil, want)
		got, err := outcomesOf(3, packed)
		if d := cmp.Diff(want, got); err != nil || d != "" && len(want) > 0 {
			r.Fatalf("%x (%v): -want +got\n%s", packed, err, d)
		}
		if len(packed) > 0 {
			if _, err := outcomesOf(3, packed[:len(packed)-1]); err == nil && len(packed) < 5 {
				r.Fatalf("%x is read though its end is missing", packed)
			}
		}
	})
	for _, bad := range [][]byte{{0, 1, 1}, {6, 1, 1}, {1}, {1, 1}, {1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0}, {1, 1, 0x80}} {
		if got, err := outcomesOf(0, bad); err == nil {
			t.Errorf("%x reads as %v", bad, got)
		}
	}
}

// TestStatements: each statement is used, each that is used is there.
func TestStatements(t *testing.T) {
	texts, err := loadStatements(SQLite())
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(text)
	}
	for name, text := range texts.texts {
		if !strings.Contains(source.String(), `"`+name+`"`) {
			t.Errorf("statement %s is not used", name)
		}
		filled, err := texts.of(inSlot(7, name), 2)
		if err != nil || strings.Contains(filled, "/*") || strings.Contains(text, "SELECT *") || strings.Contains(text, "recipients_") != strings.Contains(filled, "recipients_7") {
			t.Errorf("statement %s: %s", name, text)
		}
	}
	for _, used := range regexp.MustCompile(`"((?:messages|locks|batches|recipients|exceptions|sets|audiences|latch|slots|shard|marks|settings|lists|providers|keys|idempotency|imports|nodes|audit|leases|rates|tags|mailboxes)\.[a-z_]+)"`).
		FindAllStringSubmatch(source.String(), -1) {
		if _, there := texts.texts[used[1]]; !there {
			t.Errorf("there is no statement %s", used[1])
		}
	}
	if _, err := texts.of("nothing.like_this", 1); err == nil {
		t.Error("an unknown statement is given")
	}
	many, err := texts.of("batches.insert", 3)
	if err != nil || strings.Count(many, "(?, ?, ?, ?, ?, 0)") != 3 || slices.Contains(strings.Split(many, " "), "/*rows*/") {
		t.Errorf("for three rows: %s (%v)", many, err)
	}
}

// TestDialects: a number of a migration means the same tables in all dialects, and each statement can be said in each.
func TestDialects(t *testing.T) {
	all := 0
	for _, d := range []Dialect{SQLite(), PostgreSQL(), MySQL()} {
		steps, err := migrations(d)
		if err != nil {
			t.Fatal(err)
		}
		if all = max(all, len(steps)); len(steps) != all {
			t.Errorf("%s has %d migrations, others %d: the same change is to be made in each", d.Name, len(steps), all)
		}
		texts, err := loadStatements(d)
		if err != nil {
			t.Fatal(err)
		}
		for name := range texts.texts {
			text, err := texts.of(inSlot(7, name), 2)
			if err != nil || strings.Contains(text, "/*") || d.Numbered && strings.Contains(text, "?") {
				t.Errorf("%s: %s: %s (%v)", d.Name, name, text, err)
			}
		}
	}
}

func TestNumbered(t *testing.T) {
	for text, want := range map[string]string{
		"a = ? AND b = ?":             "a = $1 AND b = $2",
		"VALUES (?1, ?, ?), (?1, ?)":  "VALUES ($1, $2, $3), ($1, $4)",
		"h > ?1 OR h = ?1 AND n > ?2": "h > $1 OR h = $1 AND n > $2",
		"nothing":                     "nothing",
	} {
		if got := numbered(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

func TestEachSlot(t *testing.T) {
	for text, want := range map[string]string{
		"a;":                              "a;",
		"a; /*each*/t_/*slot*/;/*end*/ b": "a; t_0;t_1;t_2; b",
		"/*each*/x/*end*//*each*//*slot*/ < /*slot*/ + 1,/*end*/": "xxx0 < 0 + 1,1 < 1 + 1,2 < 2 + 1,",
	} {
		if got := eachSlot(text, 3); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}
