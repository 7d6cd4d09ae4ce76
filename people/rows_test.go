package people

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"

	"fanfare"
)

// all reads every row; refused rows come as "line N: why".
func all(t *testing.T, text []byte, f Format, o RowOptions) (changes []fanfare.RecipientChange, refused []string) {
	t.Helper()
	e, err := Detect(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := NewRows(bytes.NewReader(text), f, e, o)
	if err != nil {
		return nil, []string{err.Error()}
	}
	for {
		c, _, err := rows.Next()
		var bad *RowError
		switch {
		case errors.Is(err, io.EOF):
			return changes, refused
		case errors.As(err, &bad):
			refused = append(refused, bad.Error())
		case err != nil:
			return changes, append(refused, err.Error())
		default:
			changes = append(changes, c)
		}
	}
}

func text(s string) *string { return &s }

func TestCSV(t *testing.T) {
	const people = "id,email,city,level,zip:text,ok\nu1,a@example.com,北京,7,02134,true\nu2,,Lima,007,1,\n"
	want := []fanfare.RecipientChange{
		{ExternalID: "u1", Email: text("a@example.com"), EmailState: fanfare.AddressUsable,
			Attributes: map[string]any{"city": "北京", "level": 7.0, "zip": "02134", "ok": true}},
		{ExternalID: "u2", Attributes: map[string]any{"city": "Lima", "level": "007", "zip": "1"}},
	}
	_, want[0].Mailbox = EmailState("a@example.com")
	gb, err := simplifiedchinese.GB18030.NewEncoder().String(people)
	if err != nil {
		t.Fatal(err)
	}
	u16, err := unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder().String(people)
	if err != nil {
		t.Fatal(err)
	}
	plain16, err := unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM).NewEncoder().String(people)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write([]byte(people))
	_ = z.Close()
	for name, in := range map[string][]byte{"plain": []byte(people), "byte order mark": []byte("\uFEFF" + people), "GB18030": []byte(gb), "UTF-16": []byte(u16),
		"UTF-16 without a mark": []byte(plain16), "gzip": packed.Bytes(), "CRLF": []byte(strings.ReplaceAll(people, "\n", "\r\n"))} {
		t.Run(name, func(t *testing.T) {
			got, refused := all(t, in, CSV, RowOptions{})
			if diff := cmp.Diff(want, got); diff != "" || len(refused) > 0 {
				t.Errorf("refused %q, changes (-want +got):\n%s", refused, diff)
			}
		})
	}
}

func TestCSVRefuses(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"empty file":        {"", "the file is empty"},
		"no id":             {"email\na@b.c\n", "no column external_id"},
		"twice":             {"id,a,a\n", "names \"a\" twice"},
		"no name":           {"id,\n", "has no name"},
		"missing id":        {"id,a\n,1\n", "line 2: external_id: is missing"},
		"cells":             {"id,a\nu1\n", "line 2: has 1 cells, the header row has 2"},
		"long id":           {"id\n" + strings.Repeat("x", 256) + "\n", "line 2: external_id: has 256 bytes"},
		"control":           {"id\n\"u\x01\"\n", "line 2: external_id: holds control"},
		"bare quote":        {"id,a\nu1,x\"y\n", "line 2: is no CSV"},
		"zone":              {"id,time_zone\nu1,Mars/Base\n", "line 2: time_zone: is no time zone"},
		"not UTF-8":         {"id,a\nu1,\xff\xfe\xff\n", "line 2"},
		"quote never ended": {"id\n\"" + strings.Repeat("x\n", 1000), "line 2: is no CSV"},
		"line never ended":  {"id\n\"" + strings.Repeat("x", maxLine+1), "a row has more than"},
	} {
		t.Run(name, func(t *testing.T) {
			_, refused := all(t, []byte(c.in), CSV, RowOptions{})
			if len(refused) == 0 || !strings.Contains(refused[0], c.want) {
				t.Errorf("refused %q, want %q", refused, c.want)
			}
		})
	}
}

func TestBadRowsRefuseNoOthers(t *testing.T) {
	got, refused := all(t, []byte("id,a\nu1,1\nu2\nu3,\"x\"y\nu4,2\n"), CSV, RowOptions{})
	if len(got) != 2 || len(refused) != 2 || got[1].ExternalID != "u4" {
		t.Errorf("got %v, refused %q", got, refused)
	}
	got, refused = all(t, []byte("{\"id\":\"u1\"}\nnonsense\n\n{\"id\":7,\"x\":{}}\n{\"id\":\"u2\",\"attributes\":{\"l\":[\"a\"]},\"email\":null}\n"), NDJSON, RowOptions{})
	if len(got) != 2 || len(refused) != 2 || *got[1].Email != "" {
		t.Errorf("got %v, refused %q", got, refused)
	}
}

// TestStrayQuoteCostsItsOwnRowOnly: a quote that was never closed took every row behind it into one cell.
func TestStrayQuoteCostsItsOwnRowOnly(t *testing.T) {
	people := func(quoted ...int) []byte {
		var b strings.Builder
		b.WriteString("id,name\n")
		for i := range 200 {
			name := "N"
			if slices.Contains(quoted, i) {
				name = "\"N"
			}
			fmt.Fprintf(&b, "u%d,%s\n", i, name)
		}
		return []byte(b.String())
	}
	for _, c := range []struct {
		quoted  []int
		refused []string
	}{{[]int{100}, []string{"line 102"}}, {[]int{199}, []string{"line 201"}}, {[]int{0}, []string{"line 2"}},
		{[]int{10, 10 + mostLines}, []string{"line 12", "line " + strconv.Itoa(12+mostLines)}}, {[]int{3, 100, 180}, []string{"line 5", "line 102", "line 182"}}} {
		got, refused := all(t, people(c.quoted...), CSV, RowOptions{})
		if len(got) != 200-len(c.quoted) || len(refused) != len(c.refused) {
			t.Fatalf("quotes at %v: %d rows, refused %q", c.quoted, len(got), refused)
		}
		for i, want := range c.refused {
			if !strings.HasPrefix(refused[i], want+":") {
				t.Errorf("quotes at %v: refused %q, want %s", c.quoted, refused[i], want)
			}
		}
	}
	letter := strings.Repeat("line\n", mostLines-1) // a cell may hold line ends
	got, refused := all(t, []byte("id,name\nu1,\""+letter+"\"\nu2,x\n"), CSV, RowOptions{})
	if len(refused) > 0 || len(got) != 2 || got[0].Attributes["name"] != letter {
		t.Errorf("a letter: %v, refused %q", got, refused)
	}
	got, refused = all(t, []byte("id,name\r\nu1,\"a \"\"b\"\"\r\nc\"\r\nu2,5\" pipe\r\nu3,y"), CSV, RowOptions{})
	if len(refused) != 1 || !strings.HasPrefix(refused[0], "line 4:") || len(got) != 2 || got[0].Attributes["name"] != "a \"b\"\nc" || got[1].ExternalID != "u3" {
		t.Errorf("CRLF: %v, refused %q", got, refused)
	}
}

func TestInvalidAddressIsKeptByName(t *testing.T) {
	got, refused := all(t, []byte("id,email\nu1,a@x> SIZE=1 <b@x\n"), CSV, RowOptions{})
	if len(refused) > 0 || got[0].EmailState != fanfare.AddressInvalid || *got[0].Email != "a@x> SIZE=1 <b@x" {
		t.Errorf("got %+v, refused %q", got, refused)
	}
}

func TestMapAndEmpty(t *testing.T) {
	got, _ := all(t, []byte("用户ID,邮箱,x\nu1,a@b.example,\n"), CSV, RowOptions{Map: map[string]string{"用户ID": "external_id", "邮箱": "email"}, EmptyRemove: true})
	if len(got) != 1 || got[0].ExternalID != "u1" || *got[0].Email != "a@b.example" {
		t.Fatalf("got %+v", got)
	}
	if v, there := got[0].Attributes["x"]; !there || v != nil {
		t.Errorf("an empty cell with empty=remove must remove: %+v", got[0].Attributes)
	}
}

// TestGzipBomb: what unpacks to more than 200 times its size is stopped, once there is enough of it; what is small is not.
// TestMapNamesAColumnOfTheFile: a column that the file does not have was once taken without a word, and its data did not come.
func TestMapNamesAColumnOfTheFile(t *testing.T) {
	for text, o := range map[string]RowOptions{
		`"mail", which the header row "id,email"`: {Map: map[string]string{"mail": "email"}},
		`"Id", which`: {Map: map[string]string{"email": "email", "Id": "external_id"}},
	} {
		if _, err := NewRows(strings.NewReader("id,email\nu1,a@b.c\n"), CSV, UTF8, o); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v: %v", o.Map, err)
		}
	}
	if _, err := NewRows(strings.NewReader("\ufeff 用户 ,email\nu1,a@b.c\n"), CSV, UTF8, RowOptions{Map: map[string]string{"用户": "external_id"}}); err != nil {
		t.Error(err)
	}
}

// TestALineThatIsNoObject is refused in words of this program.
func TestALineThatIsNoObject(t *testing.T) {
	_, refused := all(t, []byte("[1]\n\"x\"\n7\n{\"id\":\n{\"id\":u}\nnull\n"), NDJSON, RowOptions{})
	for i, has := range []string{"type array", "type string", "type number", "no JSON, from byte 7 on", "no JSON, from byte 7 on", "is null"} {
		if i >= len(refused) || !strings.Contains(refused[i], has) || strings.Contains(refused[i], "Go ") {
			t.Errorf("line %d: %q, want %q", i+1, refused, has)
		}
	}
}

func TestGzipBomb(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	row := bytes.Repeat([]byte{'\n'}, 1<<20)
	for range 4 {
		_, _ = z.Write(row)
	}
	_ = z.Close()
	for free, stopped := range map[int64]bool{1 << 20: true, freeUnpacked: false} {
		r, err := unpack(bytes.NewReader(packed.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		r.(*bounded).free = free
		n, err := io.Copy(io.Discard, r)
		if stopped && (err == nil || !strings.Contains(err.Error(), "unpacks to more than") || n > 2<<20) || !stopped && (err != nil || n != 4<<20) {
			t.Errorf("%d bytes are free: %d were read, %v", free, n, err)
		}
	}
}

func FuzzCSV(f *testing.F) {
	f.Add("id,email,a\nu1,x@y.example,5\n")
	f.Add("id,a:text\n\"u\"\"1\",\"x\ny\"\n")
	f.Add("id\nu1,2\n")
	f.Add("\uFEFFid,b\nx,true\n")
	f.Fuzz(func(t *testing.T, s string) {
		if strings.HasPrefix(s, "\x1f\x8b") {
			return // gzip: the oracle reads plain text only
		}
		rows, err := NewRows(strings.NewReader(s), CSV, UTF8, RowOptions{})
		oracle := csv.NewReader(newQuoteGuard(strings.NewReader(strings.TrimPrefix(s, "\uFEFF"))))
		oracle.FieldsPerRecord = -1
		header, herr := oracle.Read()
		if err != nil {
			return
		}
		if herr != nil {
			t.Fatalf("a header was read that is none: %v", herr)
		}
		at := -1
		for i, h := range header {
			if h = strings.TrimSpace(h); h == "id" || h == "external_id" {
				at = i
			}
		}
		for {
			c, _, err := rows.Next()
			record, oerr := oracle.Read()
			if errors.Is(err, io.EOF) != errors.Is(oerr, io.EOF) {
				t.Fatalf("%v, oracle %v", err, oerr)
			}
			if err != nil {
				var bad *RowError
				if errors.As(err, &bad) {
					continue
				}
				return
			}
			if oerr != nil || len(record) != len(header) || c.ExternalID != strings.TrimSpace(record[at]) {
				t.Fatalf("got %+v of %q (%v)", c, record, oerr)
			}
			if c.ExternalID == "" || !utf8.ValidString(c.ExternalID) {
				t.Fatalf("took %q", c.ExternalID)
			}
			sameCells(t, header, record, c)
		}
	})
}

// sameCells holds a change to the cells it was read from: what says something is there, as it stands in the file, and nothing else.
func sameCells(t *testing.T, header, record []string, c fanfare.RecipientChange) {
	t.Helper()
	want, got := map[string]string{}, map[string]string{}
	for i, h := range header {
		cell := record[i]
		if cell == "" {
			continue
		}
		switch h = strings.TrimSpace(h); h {
		case "id", "external_id":
			continue
		case "email", "phone", "locale", "time_zone":
			cell = strings.TrimSpace(cell)
		default:
			h = "attributes." + strings.TrimSuffix(h, ":text")
		}
		want[h] = cell
	}
	for name, field := range map[string]*string{"email": c.Email, "phone": c.Phone, "locale": c.Locale, "time_zone": c.TimeZone} {
		if field != nil {
			got[name] = *field
		}
	}
	for name, v := range c.Attributes {
		text, ok := v.(string)
		if !ok {
			b, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			text = string(b)
		}
		got["attributes."+name] = text
	}
	if !maps.Equal(want, got) {
		t.Fatalf("%q gives %q, want %q", record, got, want)
	}
}

// sameFields holds a change to the object it was read from.
func sameFields(t *testing.T, object map[string]any, c fanfare.RecipientChange) {
	t.Helper()
	want, got := map[string]any{}, map[string]any{}
	for name, v := range object {
		switch name {
		case "id", "external_id":
			if text, ok := v.(string); ok && text != c.ExternalID {
				t.Fatalf("%q was read as %q", text, c.ExternalID)
			}
		case "email", "phone", "locale", "time_zone":
			if want[name] = v; v == nil {
				want[name] = ""
			}
		case "attributes":
			inner, _ := v.(map[string]any)
			for name, v := range inner {
				want["attributes."+name] = v
			}
		default:
			want["attributes."+name] = v
		}
	}
	for name, field := range map[string]*string{"email": c.Email, "phone": c.Phone, "locale": c.Locale, "time_zone": c.TimeZone} {
		if field != nil {
			got[name] = *field
		}
	}
	for name, v := range c.Attributes {
		if list, ok := v.([]string); ok {
			texts := make([]any, len(list))
			for i := range list {
				texts[i] = list[i]
			}
			v = texts
		}
		got["attributes."+name] = v
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
}

// TestGivenTwice: an object that names one field in two ways is refused, whichever way the map goes.
func TestGivenTwice(t *testing.T) {
	for _, line := range []string{`{"id":"a","external_id":"b"}`, `{"id":"a","city":"x","attributes":{"city":"y"}}`, `{"id":"a","用户":"b"}`} {
		for range 20 {
			rows, err := NewRows(strings.NewReader(line), NDJSON, UTF8, RowOptions{Map: map[string]string{"用户": "external_id"}})
			if err != nil {
				t.Fatal(err)
			}
			if c, _, err := rows.Next(); err == nil || !strings.Contains(err.Error(), "twice") {
				t.Fatalf("%s: %+v, %v", line, c, err)
			}
		}
	}
}

func FuzzNDJSON(f *testing.F) {
	f.Add("{\"id\":\"u1\",\"email\":\"a@b.example\",\"attributes\":{\"x\":1}}\n{}\n")
	f.Add("[1]\nnull\n{\"id\":\"u\",\"x\":[\"a\"]}")
	f.Fuzz(func(t *testing.T, s string) {
		if strings.HasPrefix(s, "\x1f\x8b") {
			return // gzip: the oracle reads plain text only
		}
		rows, err := NewRows(strings.NewReader(s), NDJSON, UTF8, RowOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for l := range strings.SplitSeq(strings.TrimPrefix(s, "\uFEFF"), "\n") {
			if strings.TrimSpace(l) != "" {
				lines = append(lines, l)
			}
		}
		for _, l := range lines {
			c, _, err := rows.Next()
			if err != nil {
				var bad *RowError
				if errors.As(err, &bad) {
					continue
				}
				t.Fatal(err)
			}
			var oracle map[string]any
			if err := json.Unmarshal([]byte(l), &oracle); err != nil {
				t.Fatalf("took %q: %v", l, err)
			}
			for name, v := range c.Attributes {
				if x, ok := v.(float64); ok && (math.IsNaN(x) || math.IsInf(x, 0)) {
					t.Fatalf("took %s = %v", name, x)
				}
			}
			if err := Check(&c); err != nil {
				t.Fatal(err)
			}
			sameFields(t, oracle, c)
		}
		if _, _, err := rows.Next(); !errors.Is(err, io.EOF) {
			t.Fatalf("after the last line: %v", err)
		}
	})
}

func FuzzCell(f *testing.F) {
	for _, s := range []string{"1", "-1.5", "02134", "1.50", "1e5", "1e21", "true", "12345678901234567890", "-0", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		switch v := Cell(s).(type) {
		case string:
			if v != s {
				t.Fatalf("%q became %q", s, v)
			}
		case bool:
			if strconv.FormatBool(v) != s {
				t.Fatalf("%q became %v", s, v)
			}
		case float64:
			if b, err := json.Marshal(v); err != nil || string(b) != s {
				t.Fatalf("%q became %v, in JSON %s", s, v, b)
			}
		}
	})
}
