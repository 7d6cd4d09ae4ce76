package audience_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"fanfare/audience"

	"github.com/google/go-cmp/cmp"
)

func text(s string) audience.Value   { return audience.Value{Kind: audience.Text, Text: s} }
func number(s string) audience.Value { return audience.Value{Kind: audience.Number, Text: s} }

func TestParse(t *testing.T) {
	attribute := func(name string, op audience.Op, vs ...audience.Value) audience.Expr {
		return audience.Attribute{Name: name, Op: op, Values: vs}
	}
	for doc, want := range map[string]audience.Expr{
		`{"all": true}`:                                         audience.All{},
		" {\n\t\"list\" : \"vip\" }\r\n":                        audience.List{Name: "vip"},
		`{"l\u0069st":"贵宾\n\"a\\/"}`:                            audience.List{Name: "贵宾\n\"a\\/"},
		`{"segment":"x"}`:                                       audience.Segment{Name: "x"},
		`{"recipients":["u1", "u2"]}`:                           audience.Recipients{IDs: []string{"u1", "u2"}},
		`{"recipients":[]}`:                                     audience.Recipients{IDs: []string{}},
		`{"unknown":"skip","recipients":[" "]}`:                 audience.Recipients{IDs: []string{" "}, SkipUnknown: true},
		`{"message":"m","result":"sent"}`:                       audience.Message{ID: "m", Result: "sent"},
		`{"reason":"no_address","message":"m"}`:                 audience.Message{ID: "m", Reason: "no_address"},
		`{"message":"m","read":false}`:                          audience.Message{ID: "m", Receipt: "read"},
		`{"message":"m","doubted":true}`:                        audience.Message{ID: "m", Receipt: "doubted", Is: true},
		`{"attribute":"city","eq":"Beijing"}`:                   attribute("city", audience.Eq, text("Beijing")),
		`{"ne":1.50e2,"attribute":"n"}`:                         attribute("n", audience.Ne, number("150")),
		`{"attribute":"n","in":["1",1,true]}`:                   attribute("n", audience.In, text("1"), number("1"), audience.Value{Kind: audience.Bool, Text: "true"}),
		`{"attribute":"n","in":[]}`:                             audience.Attribute{Name: "n", Op: audience.In, Values: []audience.Value{}},
		`{"attribute":"n","gte":-0.0}`:                          attribute("n", audience.Gte, number("0")),
		`{"attribute":"t","lt":"2026-01-31T08:00:00.50+08:00"}`: attribute("t", audience.Lt, audience.Value{Kind: audience.Time, Text: "2026-01-31T00:00:00.5Z"}),
		`{"attribute":"t","eq":"2026-01-31T08:00:00+08:00"}`:    attribute("t", audience.Eq, text("2026-01-31T08:00:00+08:00")),
		`{"attribute":"tags","contains":"new"}`:                 attribute("tags", audience.Contains, text("new")),
		`{"attribute":"n","exists":false}`:                      attribute("n", audience.Exists, audience.Value{Kind: audience.Bool, Text: "false"}),
		`{"any":[{"all":true},{"not":{"every":[{"list":"a"}]}}]}`: audience.Any{Parts: []audience.Expr{audience.All{},
			audience.Not{Part: audience.Every{Parts: []audience.Expr{audience.List{Name: "a"}}}}}},
	} {
		got, err := audience.Parse([]byte(doc))
		if err != nil {
			t.Errorf("%s: %v", doc, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", doc, diff)
		}
		roundTrip(t, got)
	}
}

// roundTrip checks that the canonical JSON of e means e and is stable.
func roundTrip(t *testing.T, e audience.Expr) []byte {
	t.Helper()
	doc, err := json.Marshal(e)
	if err != nil {
		t.Fatalf("%#v: %v", e, err)
	}
	back, err := audience.Parse(doc)
	if err != nil {
		t.Fatalf("%s: %v", doc, err)
	}
	if diff := cmp.Diff(e, back); diff != "" {
		t.Fatalf("%s: %s", doc, diff)
	}
	direct, err := back.MarshalJSON()
	if err != nil || string(direct) != string(doc) {
		t.Fatalf("%s, then %s, %v", doc, direct, err)
	}
	return doc
}

func TestCanonicalJSON(t *testing.T) {
	e, err := audience.Parse([]byte(`{ "every": [ {"unknown":"skip","recipients":["a<b"]}, {"in":[1.0,"x"],"attribute":"n"}, {"read":false,"message":"m"}, {"not":{"attribute":"t","gt":1e30}} ] }`))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"every":[{"recipients":["a\u003cb"],"unknown":"skip"},{"attribute":"n","in":[1,"x"]},{"message":"m","read":false},{"not":{"attribute":"t","gt":1e+30}}]}`
	if got := string(roundTrip(t, e)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func nested(depth int, inner string) string {
	return strings.Repeat(`{"not":`, depth-1) + inner + strings.Repeat("}", depth-1)
}

func many(n int, one string) string {
	return `{"any":[` + strings.TrimSuffix(strings.Repeat(one+",", n), ",") + `]}`
}

func ids(n int) string {
	return `{"recipients":[` + strings.TrimSuffix(strings.Repeat(`"u",`, n), ",") + `]}`
}

func TestLimitsAreReached(t *testing.T) {
	for name, doc := range map[string]string{
		"depth": nested(audience.MaxDepth, `{"all":true}`), "nodes": many(audience.MaxNodes-1, `{"all":true}`), "recipients": ids(audience.MaxRecipients),
		"values": many(2, ids(audience.MaxRecipients)),
	} {
		e, err := audience.Parse([]byte(doc))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		roundTrip(t, e)
	}
}

func TestProblems(t *testing.T) {
	for doc, want := range map[string][]string{ // pointer and code of each problem
		``:                                {"# not_json"},
		`{"all": true`:                    {"# not_json"},
		`{"all": true} {}`:                {"# not_json"},
		"{\"list\": \"\xff\"}":            {"# not_json"},
		strings.Repeat("[", 1_000_000):    {"# not_json"},
		strings.Repeat(`{"not":`, 20_000): {"# not_json"},
		`null`:                            {"# wrong_type"},
		`[{"all":true}]`:                  {"# wrong_type"},
		`"all"`:                           {"# wrong_type"},
		`7`:                               {"# wrong_type"},
		`{}`:                              {"# no_kind"},
		`{"lists":"vip"}`:                 {"# no_kind"},
		`{"ALL":true}`:                    {"# no_kind"},
		`{"list":"a","all":true}`:         {"# several_kinds"},
		`{"all":false}`:                   {"#/all invalid"},
		`{"all":1}`:                       {"#/all invalid"},
		`{"all":true,"x/y~ 中":1,"b":2}`:   {"#/b unknown_field", "#/x~1y~0%20%E4%B8%AD unknown_field"},
		`{"all":true,"` + strings.Repeat("x", 200) + `":1}`:                     {"# unknown_field"},
		`{"list":"a","list":"b","list":"c"}`:                                    {"#/list duplicate_field"},
		`{"list":"a","l\u0069st":"a"}`:                                          {"#/list duplicate_field"},
		`{"list":""}`:                                                           {"#/list invalid"},
		`{"list":"a\u0000"}`:                                                    {"#/list invalid"},
		`{"list":["a"]}`:                                                        {"#/list wrong_type"},
		`{"segment":null}`:                                                      {"#/segment wrong_type"},
		`{"recipients":"u1"}`:                                                   {"#/recipients wrong_type"},
		`{"recipients":["u1",2,"",{}],"unknown":"drop"}`:                        {"#/unknown invalid", "#/recipients/1 wrong_type", "#/recipients/2 invalid", "#/recipients/3 wrong_type"},
		`{"list":"a","unknown":"skip"}`:                                         {"#/unknown unknown_field"},
		ids(audience.MaxRecipients + 1):                                         {"#/recipients too_many"},
		`{"message":"m"}`:                                                       {"# missing"},
		`{"message":"","result":"sent"}`:                                        {"#/message invalid"},
		`{"message":"m","result":"processed"}`:                                  {"#/result invalid"},
		`{"message":"m","reason":7}`:                                            {"#/reason invalid"},
		`{"message":"m","read":"yes"}`:                                          {"#/read wrong_type"},
		`{"message":"m","read":true,"seen":true}`:                               {"# several"},
		`{"message":"m","result":"sent","eq":1}`:                                {"#/eq unknown_field"},
		`{"attribute":"a"}`:                                                     {"# missing"},
		`{"attribute":1,"eq":1,"ne":2}`:                                         {"#/attribute wrong_type", "# several"},
		`{"attribute":"a","eq":null}`:                                           {"#/eq wrong_type"},
		`{"attribute":"a","eq":[1]}`:                                            {"#/eq wrong_type"},
		`{"attribute":"a","eq":"\u0000"}`:                                       {"#/eq invalid"},
		`{"attribute":"a","eq":1e999}`:                                          {"#/eq invalid"},
		`{"attribute":"a","in":"x"}`:                                            {"#/in wrong_type"},
		`{"attribute":"a","in":[1,null]}`:                                       {"#/in/1 wrong_type"},
		`{"attribute":"a","lt":"soon"}`:                                         {"#/lt invalid"},
		`{"attribute":"a","gt":"9999-12-31T23:59:59-01:00"}`:                    {"#/gt invalid"},
		`{"attribute":"a","gt":"0000-01-01T00:00:00+01:00"}`:                    {"#/gt invalid"},
		`{"attribute":"a","gt":true}`:                                           {"#/gt invalid"},
		`{"attribute":"a","contains":1}`:                                        {"#/contains wrong_type"},
		`{"attribute":"a","exists":"x"}`:                                        {"#/exists wrong_type"},
		`{"any":[]}`:                                                            {"#/any missing"},
		`{"every":{"list":"a"}}`:                                                {"#/every wrong_type"},
		`{"not":[{"all":true}]}`:                                                {"#/not wrong_type"},
		`{"every":[{"list":7},{"any":[{"all":true},3]},{"not":{}}]}`:            {"#/every/0/list wrong_type", "#/every/1/any/1 wrong_type", "#/every/2/not no_kind"},
		nested(audience.MaxDepth+1, `{"all":true}`):                             {"#" + strings.Repeat("/not", audience.MaxDepth) + " too_deep"},
		nested(5_000, `{"all":true}`):                                           {"#" + strings.Repeat("/not", audience.MaxDepth) + " too_deep"},
		many(audience.MaxNodes, `{"all":true}`):                                 {"#/any/999 too_many"},
		many(100_000, `{"all":true}`):                                           {"#/any/999 too_many"},
		many(900, ids(7_000)):                                                   {"#/any/2/recipients too_many"},
		many(20_001, `{"attribute":"a","in":[1,2]}`):                            {"#/any/999 too_many"},
		`{"every":[` + many(2, ids(10_000)) + `,{"attribute":"a","in":["x"]}]}`: {"#/every/1/in too_many"},
	} {
		e, err := audience.Parse([]byte(doc))
		var got []string
		var problems audience.Problems
		if errors.As(err, &problems) {
			for _, p := range problems {
				got = append(got, p.Pointer+" "+p.Code)
				if p.Detail == "" || len(p.Detail) > 700 {
					t.Errorf("%.60s: detail of %d bytes", doc, len(p.Detail))
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" || e != nil {
			t.Errorf("%.60s: %v %v %s", doc, e, err, diff)
		}
	}
}

func TestProblemsEndAfterAHundred(t *testing.T) {
	_, err := audience.Parse([]byte(many(900, `{"all":false}`)))
	var problems audience.Problems
	if !errors.As(err, &problems) || len(problems) != 101 || problems[100].Code != audience.CodeMoreProblems {
		t.Fatalf("%d problems: %v", len(problems), err)
	}
	if !strings.Contains(err.Error(), "#/any/0/all") || !strings.Contains(err.Error(), "100 more") {
		t.Errorf("says %q", err)
	}
}

func TestProblemsAreMovedIntoTheDocumentAround(t *testing.T) {
	ps := audience.Problems{{Pointer: "#/every/0/list", Code: "x", Detail: "y"}, {Pointer: "#", Code: "x", Detail: "y"}}
	got := ps.At("#/audience")
	if got[0].Pointer != "#/audience/every/0/list" || got[1].Pointer != "#/audience" || ps[1].Pointer != "#" {
		t.Errorf("%v from %v", got, ps)
	}
	b, err := json.Marshal(got[0])
	if want := `{"pointer":"#/audience/every/0/list","code":"x","detail":"y"}`; err != nil || string(b) != want {
		t.Errorf("%s, %v", b, err)
	}
}

func TestCheckReportsWhatAnEvaluatorCannotDo(t *testing.T) {
	e, err := audience.Parse([]byte(`{"every":[{"list":"a"},{"not":{"attribute":"n","eq":1}},{"any":[{"segment":"s"},{"all":true}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range audience.Check(e, audience.KindAll, audience.KindList, audience.KindRecipients) {
		got = append(got, p.Pointer+" "+p.Code)
	}
	if diff := cmp.Diff([]string{"#/every/1/not/attribute not_supported", "#/every/2/any/0/segment not_supported"}, got); diff != "" {
		t.Error(diff)
	}
	if ps := audience.Check(e, audience.Kinds()...); ps != nil {
		t.Errorf("everything is supported, but %v", ps)
	}
	leaves := slices.Collect(audience.Leaves(e))
	if len(leaves) != 4 || leaves[0] != (audience.List{Name: "a"}) || leaves[3] != (audience.All{}) {
		t.Errorf("leaves %v", leaves)
	}
	for range audience.Leaves(e) { // ends early without a panic
		break
	}
}

func TestCanonicalNumber(t *testing.T) {
	for literal, want := range map[string]string{
		"0": "0", "-0": "0", "0.000": "0", "0e5": "0", "1": "1", "-1": "-1", "10": "10", "1.0": "1", "1e3": "1000", "1E+3": "1000", "0.10": "0.1", "12.5e1": "125", "1.25e1": "12.5",
		"123456789012345678901": "123456789012345678901", "1e20": "100000000000000000000", "1e21": "1e+21", "1234567890123456789012": "1.234567890123456789012e+21",
		"0.000001": "0.000001", "0.0000001": "1e-7", "1.5e-7": "1.5e-7", "9007199254740993": "9007199254740993", "0.1e1": "1", "1e400": "1e+400", "1e-400": "1e-400", "5e-324": "5e-324",
	} {
		got, ok := audience.CanonicalNumber(literal)
		if !ok || got != want {
			t.Errorf("%s: %s, %v; want %s", literal, got, ok, want)
		}
		if again, ok := audience.CanonicalNumber(got); !ok || again != got {
			t.Errorf("%s is not stable: %s", got, again)
		}
	}
	for _, literal := range []string{"", "-", "+1", "01", "1.", ".5", "1e", "1e+", "0x1", "1_0", "NaN", "1e401", "1e-401", "1e99999999999999999999", "1e-999999999", strings.Repeat("1", 1001), "1 ", "１"} {
		if got, ok := audience.CanonicalNumber(literal); ok {
			t.Errorf("%q: %s", literal, got)
		}
	}
}

// TestCanonicalNumberEqualsJavaScript compares with encoding/json, which writes the shortest form of a double as JavaScript does.
func TestCanonicalNumberEqualsJavaScript(t *testing.T) {
	for _, f := range []float64{0, 1, -1, 0.1, 1.0 / 3, 1e20, 1e21, 123456789, 1e-6, 1e-7, 1.5e300, 4.9e-324, 1 << 53, 0.5} {
		b, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, literal := range []string{string(b), strconv.FormatFloat(f, 'e', -1, 64)} {
			if got, ok := audience.CanonicalNumber(literal); !ok || got != string(b) {
				t.Errorf("%s became %s, not %s", literal, got, b)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, doc := range []string{`{"all":true}`, `{"every":[{"list":"a"},{"not":{"recipients":["x"],"unknown":"skip"}}]}`, `{"message":"m","read":false}`,
		`{"any":[{"attribute":"n","in":[1,"2",true]},{"attribute":"t","gte":"2026-01-31T00:00:00Z"},{"segment":"s"}]}`, `{"attribute":"x","eq":-1.5e-9}`,
		`{"list":"a","list":"b"}`, `[[[`, `{"list":"\ud800"}`, "{\"list\":\"\u2028\"}", `{"not":{"not":{"all":true}}}`} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		e, err := audience.Parse(doc)
		if err != nil {
			var problems audience.Problems
			if !errors.As(err, &problems) || len(problems) == 0 || e != nil {
				t.Fatalf("%v beside %v", err, e)
			}
			if syntax := problems[0].Code == audience.CodeNotJSON; syntax && json.Valid(doc) && strings.ToValidUTF8(string(doc), "") == string(doc) {
				t.Fatal("refused as no JSON, which it is")
			}
			return
		}
		if !json.Valid(doc) {
			t.Fatal("accepted what is no JSON")
		}
		onlyTheLanguage(t, doc, e)
	})
}

// onlyTheLanguage checks that nothing of the document was dropped: its canonical form has as many fields and elements.
func onlyTheLanguage(t *testing.T, doc []byte, e audience.Expr) {
	t.Helper()
	canonical := roundTrip(t, e)
	if a, b := shape(t, doc), shape(t, canonical); a != b {
		t.Fatalf("%s has %d parts, its canonical form %s %d", doc, a, canonical, b)
	}
}

// shape counts the tokens of a document, a field that is there twice included.
func shape(t *testing.T, doc []byte) int {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(string(doc)))
	d.UseNumber()
	n := 0
	for {
		if _, err := d.Token(); err != nil {
			return n
		}
		n++
	}
}
