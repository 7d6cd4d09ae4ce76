package merge

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func testVars() Map {
	return Map{
		"name": "Ada", "empty_text": "", "spaces": " \u3000\t", "nothing": nil, "yes": true, "no": false, "n": 20.0, "f": 1.5, "big": float64(1 << 53),
		"million": 1e6, "num": json.Number("12.50"), "html": `<b a="1">'&'</b>`, "tags": []string{"a", "b", "c"}, "none": []string{}, "城市": "北京", "First Name": "Grace",
		"date": "2026-03-09T08:05:03+08:00", "time": time.Date(2026, 3, 9, 0, 5, 3, 0, time.UTC), "lines": "a\r\nb\nc",
		"data": map[string]any{"items": []any{map[string]any{"name": "pen", "price": 2.5}, map[string]any{"name": "ink", "price": 10.0}}, "k": map[string]string{"x": "y"}, "size": 7.0},
	}
}

// render compiles and renders; an error is answered as text.
func render(src string, part Part) string {
	t, err := Compile(src, Options{Part: part})
	if err != nil {
		return "compile: " + err.Error()
	}
	out, err := t.Render(nil, testVars(), Limits{})
	if err != nil {
		return "error: " + err.Error()
	}
	return string(out)
}

// What Shopify's documentation of Liquid says of the same templates.
func TestLiquid(t *testing.T) {
	for _, c := range [][2]string{
		{`plain`, `plain`},
		{`{{ name }}!`, `Ada!`},
		{`{{ "Adam!" | append: ".html" }}`, `Adam!.html`},
		{`{{ "title" | capitalize }}|{{ "my GREAT title" | capitalize }}`, `Title|My great title`},
		{`{{ "Parker Moore" | upcase }}{{ "Parker Moore" | downcase }}`, `PARKER MOOREparker moore`},
		{`{{ nothing | default: 2.99 }}|{{ "" | default: 2.99 }}|{{ 4.99 | default: 2.99 }}|{{ none | default: 1 }}`, `2.99|2.99|4.99|1`},
		{`{{ false | default: 2 }}|{{ no | default: true, allow_false: true }}|{{ no | default: 1 }}`, `2|false|1`},
		{`{{ 16 | divided_by: 4 }},{{ 5 | divided_by: 3 }},{{ 20 | divided_by: 7 }},{{ 20 | divided_by: 7.0 }}`, `4,1,2,2.857142857142857`},
		{`{{ 4 | plus: 2 }} {{ 183.357 | plus: 12 }} {{ 16 | minus: 4 }} {{ 183.357 | minus: 12 }}`, `6 195.357 12 171.357`},
		{`{{ -5 | divided_by: 3 }} {{ 5 | divided_by: -3 }} {{ -6 | divided_by: 3 }} {{ -5 | modulo: 3 }} {{ 5 | modulo: -3 }} {{ -5.5 | modulo: 3 }} {{ 7 | divided_by: -1 }} {{ 7 | modulo: -1 }}`, `-2 -2 -2 1 -1 0.5 -7 0`},
		{`{{ 9223372036854775807 | plus: 1 }} {{ -9223372036854775808 | minus: 1 }} {{ 9223372036854775807 | times: -2 }} {{ -9223372036854775808 | abs }}`,
			`9223372036854780000 -9223372036854780000 -18446744073709600000 9223372036854776000`},
		{`{{ 1234567 | round: -3 }} {{ 2.5 | round }} {{ -2.5 | round }} {{ 1.005 | round: 2 }} {{ "x" | plus: 1 | default: "nan" }} {{ "5" | plus: "2.5" }}`, `1235000 3 -3 1.01 nan 7.5`},
		{`{{ 3 | times: 2 }} {{ 24 | times: 7 }} {{ 183.357 | times: 12 }}`, `6 168 2200.284`},
		{`{{ 3 | modulo: 2 }} {{ 24 | modulo: 7 }} {{ 183.357 | modulo: 12 }}`, `1 3 3.357`},
		{`{{ 1.2 | round }} {{ 2.7 | round }} {{ 183.357 | round: 2 }}`, `1 3 183.36`},
		{`{{ 1.2 | ceil }} {{ 2.0 | ceil }} {{ "3.5" | ceil }} {{ 1.2 | floor }} {{ "3.5" | floor }} {{ -17 | abs }} {{ "-19.86" | abs }}`, `2 2 4 1 3 17 19.86`},
		{`{{ "          So much room for activities          " | strip }}!`, `So much room for activities!`},
		{`{{ "Ground control to Major Tom." | truncate: 20 }}`, `Ground control to...`},
		{`{{ "Ground control to Major Tom." | truncate: 25, ", and so on" }}`, `Ground control, and so on`},
		{`{{ "Ground control to Major Tom." | truncate: 20, "" }}`, `Ground control to Ma`},
		{`{{ "Ground control to Major Tom." | truncatewords: 3 }}`, `Ground control to...`},
		{`{{ "Ground control to Major Tom." | truncatewords: 3, "--" }}`, `Ground control to--`},
		{`{{ "Take my protein pills and put my helmet on" | replace: "my", "your" }}`, `Take your protein pills and put your helmet on`},
		{`{{ "I strained to see the train through the rain" | remove: "rain" }}`, `I sted to see the t through the `},
		{`{{ "Ground control to Major Tom." | size }} {{ tags.size }} {{ tags | size }}`, `28 3 3`},
		{`{{ "apples, oranges" | prepend: "Some fruit: " }}`, `Some fruit: apples, oranges`},
		{`{{ "John, Paul, George, Ringo" | split: ", " | join: " and " }}`, `John and Paul and George and Ringo`},
		{`{{ "Ground control to Major Tom." | split: " " | first }} {{ "Ground control to Major Tom." | split: " " | last }}`, `Ground Tom.`},
		{`{{ "Have you read 'James & the Giant Peach'?" | escape }}`, `Have you read &#39;James &amp; the Giant Peach&#39;?`},
		{`{{ "john@liquid.com" | url_encode }} {{ "Tetsuro Takara" | url_encode }}`, `john%40liquid.com Tetsuro+Takara`},
		{`{{ lines | newline_to_br }}`, "a<br />\nb<br />\nc"},
		{`{{ "Have <em>you</em> read <strong>Ulysses</strong>?<script>alert(1)</script><!-- x -->" | strip_html }}`, `Have you read Ulysses?`},
		{`{{ "a <b c><SCRIPT>x</script>d <!-- e > f" | strip_html }}|{{ "1 < 2 <" | strip_html }}`, `a d  f|1 < 2 <`},
		{`{% for t in tags %}{{ forloop.index }}{{ t }}{% unless forloop.last %},{% endunless %}{% endfor %}`, `1a,2b,3c`},
		{`{% for t in tags limit:2 offset:1 %}{{ t }}{% endfor %}{% for t in tags reversed %}{{ t }}{{ forloop.rindex }}{% endfor %}`, `bcc3b2a1`},
		{`{% for t in none %}x{% else %}The collection is empty.{% endfor %}{% for t in absent %}x{% else %}!{% endfor %}`, `The collection is empty.!`},
		{`{% for i in data.items %}{{ i.name }}={{ i.price }};{% endfor %}`, `pen=2.5;ink=10;`},
		{`{% for e in data.k %}{{ e[0] }}:{{ e[1] }}{% endfor %}`, `x:y`},
		{`{% if true or false and false %}A{% endif %}{% if true and false and false or true %}B{% endif %}`, `A`},
		{`{% if name == "Kevin" %}K{% elsif name == 'Ada' %}A{% else %}?{% endif %}`, `A`},
		{`{% if empty_text %}text is true{% endif %}{% if nothing %}nil{% endif %}{% unless no %}!{% endunless %}`, `text is true!`},
		{`{% if "Shirt pack" contains "pack" %}1{% endif %}{% if tags contains "b" %}2{% endif %}{% if tags contains "z" %}3{% endif %}`, `12`},
		{`{% if none == empty %}1{% endif %}{% if empty_text == blank %}2{% endif %}{% if nothing == blank %}3{% endif %}{% if spaces == empty %}4{% endif %}`, `123`},
		{`{% if n > 19 and n <= 20 and n != 3 %}1{% endif %}{% if n == 20.0 %}2{% endif %}{% if n == "20" %}3{% endif %}{% if n > name %}4{% endif %}`, `12`},
		{"a \n{%- if yes -%}\n b \n{%- endif -%} \n c {{- name -}} d", `abcAdad`},
		{"{% raw %}In Handlebars, {{ this }} will be{% endraw %} {% comment %}don't {{ worry }}{% endcomment %}.", `In Handlebars, {{ this }} will be .`},
		{"a {%- raw -%} {{x}} {%- endraw -%} b", `a{{x}}b`},
		{`{{ "March 14, 2016" | date: "%b %d, %y" }} {{ "soon" | date: "%Y" }}`, `Mar 14, 16 soon`},
		{`{{ date | date: "%a, %b %d, %y" }} {{ date | date: "%Y" }} {{ date | date: "%-d/%-m %l:%M%P %j %:z" }}`, `Mon, Mar 09, 26 2026 9/3  8:05am 068 +08:00`},
		{`{{ date | date: "%F %T", "UTC" }} {{ time | date: "%H:%M %Z", "Asia/Shanghai" }} {{ 0 | date: "%s %c" }} {{ date | date: "%^b%e %U %W %V %u %w %I" }}`,
			`2026-03-09 00:05:03 08:05 CST 0 Thu Jan  1 00:00:00 1970 MAR 9 10 10 11 1 1 08`},
		{`{{ n }} {{ million }} {{ big }} {{ num }} {{ f }} {{ 0.1 | plus: 0.2 }} {{ 1.0 }} {{ -0.0 }} {{ 100000000000000000000.5 }}`, `20 1000000 9007199254740992 12.5 1.5 0.3 1 0 100000000000000000000`},
		{`{{ yes }} {{ no }} {{ tags }} {{ 城市 }} {{ ["First Name"] }} {{ data["items"][-1].name }} {{ data.size }}`, `true false abc 北京 Grace ink 7`},
		{`{{ data.items | json }} {{ f | json }} {{ html | json }}`, `[{"name":"pen","price":2.5},{"name":"ink","price":10}] 1.5 "\u003cb a=\"1\"\u003e'\u0026'\u003c/b\u003e"`},
		{`{{ "}}" }}{ { %} }} {`, `}}{ { %} }} {`},
	} {
		if got := render(c[0], Text); got != c[1] {
			t.Errorf("%s\n got %q\nwant %q", c[0], got, c[1])
		}
	}
}

func TestMissing(t *testing.T) {
	for _, c := range []struct{ src, path string }{
		{`Dear {{ absent }},`, "absent"},
		{`{{ nothing }}`, "nothing"},
		{`{{ empty_text }}`, "empty_text"},
		{`{{ spaces }}`, "spaces"},
		{`{{ none }}`, "none"},
		{`{{ absent | upcase | append: "!" }}`, "absent"},
		{`{{ empty_text | prepend: "Dear " }}`, "empty_text"},
		{`{{ "Dear " | append: absent }}`, "absent"},
		{`{{ "Dear " | append: empty_text }}`, "empty_text"},
		{`{{ absent | default: data.absent }}`, "absent"},
		{`{{ absent | default: spaces }}`, "absent"},
		{`{{ data.items[7].name }}`, "data.items[7].name"},
		{`{{ ["Last Name"] }}`, `["Last Name"]`},
		{`{% for i in data.items %}{{ i.colour }}{% endfor %}`, "i.colour"},
		{`{{ n | divided_by: no }}`, "n"},
		{`{{ name | plus: 1 }}`, "name"},
		{`{{ html | remove: "<" | first }}`, "html"},
		{`{{ tags | join: "" | remove: "a" | remove: "bc" }}`, "tags"},
		{`{{ "now" | date: "%Y" }}`, "now"},
	} {
		tpl, err := Compile(c.src, Options{})
		if err != nil {
			t.Errorf("%s: %v", c.src, err)
			continue
		}
		out, err := tpl.Render([]byte("kept"), testVars(), Limits{})
		var missing *MissingError
		if !errors.Is(err, ErrMissing) || !errors.As(err, &missing) || missing.Path != c.path || string(out) != "kept" {
			t.Errorf("%s: got %q, %v; want %s missing", c.src, out, err, c.path)
		}
	}
	for _, c := range [][2]string{
		{`{{ absent | default: "friend" }}{{ empty_text | default: "x" }}{{ spaces | default: "y" }}{{ nothing | default: name }}`, "friendxyAda"},
		{`{{ absent | default: "" }}.{{ absent | default: "" | append: "!" }}`, ".!"},
		{`{{ "" }}{{ " " }}.`, " ."},
		{`{% if absent %}{{ absent }}{% else %}none{% endif %}`, "none"},
		{`{% if data.items[9].name == nil %}nil{% endif %}{% unless absent > 3 %}!{% endunless %}`, "nil!"},
		{`{{ empty_text | size }}{{ empty_text | json }}`, `0""`},
	} {
		if got := render(c[0], Text); got != c[1] {
			t.Errorf("%s: got %q, want %q", c[0], got, c[1])
		}
	}
}

func TestEscaping(t *testing.T) {
	hostile := "a\r\nBcc: x\x00\u0085y\u2028z\xff\"\\<&>'"
	vars := Map{"v": hostile, "u": "https://x.example/a b?q=<é>&y=1", "j": "javascript:alert(1)", "d": map[string]any{"a": "</script>"}, "n": 3.0, "e": "", "lines": "<\n"}
	for _, c := range []struct {
		part      Part
		src, want string
	}{
		{Text, `{{ v }}`, hostile},
		{HTML, `<p>&{{ v }}`, "<p>&a\r\nBcc: x\x00\u0085y\u2028z\xff&quot;\\&lt;&amp;&gt;&#39;"},
		{HTML, `{{ v | raw }}`, hostile},
		{HTML, `{{ v | downcase | raw }}`, strings.ToLower(hostile)},
		{HTML, `{{ "<" | escape }}{{ "<" | escape | escape }}{{ "<" | escape | append: "<" }}{{ lines | newline_to_br }}{{ lines | escape | newline_to_br }}`,
			"&lt;&lt;&amp;lt;&lt;&lt;<br />\n&lt;<br />\n"},
		{HTML, `{{ "" | escape | default: u }}`, "https://x.example/a b?q=&lt;é&gt;&amp;y=1"},
		{HTML, `{{ "<" | escape | json }}`, `&quot;\u0026lt;&quot;`},
		{HTML, `{{ d | json }}{{ n }}`, `{&quot;a&quot;:&quot;\u003c/script\u003e&quot;}3`},
		{Header, "a\r\nb {{ v }}", "a b a Bcc: x y z\ufffd\"\\<&>'"},
		{URL, `https://h/{{ v }}?{{ n }}`, "https://h/a%0D%0ABcc%3A%20x%00%C2%85y%E2%80%A8z%FF%22%5C%3C%26%3E%27?3"},
		{URL, `{{ u }}`, "https://x.example/a%20b?q=%3C%C3%A9%3E&y=1"},
		{URL, `{{ j }}`, "javascript%3Aalert%281%29"},
		{JSON, `{"a":"{{ v }}","n":{{ n }},"d":{{ d | json }}}`, "{\"a\":\"a\\r\\nBcc: x\\u0000\u0085y\\u2028z\ufffd\\\"\\\\\\u003C\\u0026\\u003E'\",\"n\":3,\"d\":{\"a\":\"\\u003c/script\\u003e\"}}"},
	} {
		tpl, err := Compile(c.src, Options{Part: c.part})
		if err != nil {
			t.Errorf("%s: %v", c.src, err)
			continue
		}
		got, err := tpl.Render(nil, vars, Limits{})
		if err != nil || string(got) != c.want {
			t.Errorf("part %d %s\n got %q %v\nwant %q", c.part, c.src, got, err, c.want)
		}
		if c.part == JSON && !json.Valid(got) {
			t.Errorf("no JSON: %s", got)
		}
	}
}

func TestSyntaxErrors(t *testing.T) {
	for _, c := range [][2]string{
		{"a\nb {{ name | upcse }}", "line 2, column 13: unknown filter upcse; the filters are"},
		{"北京{{ name", "line 1, column 3: {{ is never closed"},
		{"{{ 'x }}", "line 1, column 1: {{ is never closed"},
		{"{% if x %}", "line 1, column 1: this block is never ended; add {% endif %}"},
		{"{% for x in y %}{% else %}", "never ended; add {% endfor %}"},
		{"{% comment %}", "never ended; add {% endcomment %}"},
		{"{% endif %}", "endif has nothing to end"},
		{"{% if x %}{% endfor %}", "column 14: endfor does not fit here; the open block wants elsif or else or endif"},
		{"{% if x %}{% else %}{% elsif y %}{% endif %}", "the open block wants endif"},
		{"{% if x %}{% else if y %}{% endif %}", "it is called elsif"},
		{"{% elseif %}", "it is called elsif"},
		{"{% assign x = 1 %}", "unexpected '='"},
		{"{% include 'x' %}", "unknown tag include; the tags are"},
		{"{{ }}", "expected a name"},
		{"{{ name name }}", "unexpected \"name\"; filters are written"},
		{"{{ name | truncate: 1, 2, 3 }}", "truncate takes 0 to 2 arguments, not 3"},
		{"{{ name | upcase: 1 }}", "upcase takes no argument, not 1"},
		{"{{ name | append }}", "append takes 1 argument, not 0"},
		{"{{ n | divided_by: 0 }}", "divided_by by zero"},
		{"{{ n | modulo: 0.0 }}", "modulo by zero"},
		{"{{ d | date: '%Q' }}", "unknown date directive %Q"},
		{"{{ d | date: '%' }}", "ends within"},
		{"{{ d | date: f }}", "must be a quoted text"},
		{"{{ d | date: '%Y', 'Mars/Olympus' }}", "unknown time zone"},
		{"{% if (a or b) %}{% endif %}", "unexpected '('"},
		{"{% if a | size > 1 %}{% endif %}", "terms are joined by and, or"},
		{"{% for x of y %}{% endfor %}", "expected in, not \"of\""},
		{"{% for x in y max: 3 %}{% endfor %}", "unexpected \"max\""},
		{"{% for x in y %}{{ forloop.parent }}{% endfor %}", "forloop has index"},
		{"{{ x | raw }}", "raw is for HTML only"},
		{"{{ a[b] }}", "expected a number or a quoted name"},
		{"{{ nil }}", "nil is nothing to write out"},
		{strings.Repeat("{% if a %}", 40), "nested deeper than 32"},
		{"{% if a" + strings.Repeat(" or a", 200) + "%}{% endif %}", "at most 100 terms"},
		{strings.Repeat("x", maxSource+1), "larger than 2 MB"},
		{"{{ " + strings.Repeat("9", 400) + " }}", "is too large"},
	} {
		_, err := Compile(c[0], Options{})
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || !strings.Contains(err.Error(), c[1]) {
			t.Errorf("%.60s\n got %v\nwant %s", c[0], err, c[1])
		}
	}
}

func TestLimits(t *testing.T) {
	list := make([]any, 1000)
	for i := range list {
		list[i] = "x"
	}
	vars := Map{"l": list, "s": strings.Repeat("a", 1000)}
	for _, c := range []struct {
		src    string
		limits Limits
		want   error
	}{
		{`{% for a in l %}{% for b in l %}{% endfor %}{% endfor %}`, Limits{}, ErrTooManySteps},
		{`{% for a in l %}{{ a }}{% endfor %}`, Limits{Steps: 500}, ErrTooManySteps},
		{`{% for a in l %}{{ s }}{% endfor %}`, Limits{Output: 100_000}, ErrOutputTooLarge},
		{`{{ s | replace: "a", s }}`, Limits{Output: 100_000}, ErrOutputTooLarge},
		{`{{ l | join: s }}`, Limits{Output: 100_000}, ErrOutputTooLarge},
		{`{{ s | split: "" | size }}`, Limits{Steps: 100}, ErrTooManySteps},
		{strings.Repeat("x", 101), Limits{Output: 100}, ErrOutputTooLarge},
		{`{{ s }}`, Limits{Output: 1000}, nil},
	} {
		tpl, err := Compile(c.src, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tpl.Render(nil, vars, c.limits); !errors.Is(err, c.want) {
			t.Errorf("%.60s: %v, want %v", c.src, err, c.want)
		}
	}
}

func TestVariables(t *testing.T) {
	tpl, err := Compile(`{{ a }}{{ a | upcase }}{{ b | default: c.d }}{% if e %}{{ f }}{% endif %}{% for x in g %}{{ x.y }}{{ forloop.index }}{{ h }}{% endfor %}{{ "x" | append: i }}`, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "b", "c.d", "e", "f", "g", "h", "i"}, tpl.Variables()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"a", "i"}, tpl.Required()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([][]string{{"a"}, {"a"}, {"f"}, {"h"}, {"i"}}, tpl.Written()); diff != "" {
		t.Error(diff)
	}
	if _, ok := tpl.Static(); ok {
		t.Error("static")
	}
}

type recorder struct {
	t   *Template
	out strings.Builder
}

func (r *recorder) Literal(id int) { r.out.WriteString("L(" + r.t.Literals()[id] + ")") }
func (r *recorder) Value(b []byte) { r.out.WriteString("V(" + string(b) + ")") }

func TestRenderTo(t *testing.T) {
	tpl, err := Compile(`a{{ name }}b{% for t in tags %}-{{ t }}{% endfor %}`, Options{Part: HTML})
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{t: tpl}
	if err := tpl.RenderTo(r, testVars(), Limits{}); err != nil {
		t.Fatal(err)
	}
	if got := r.out.String(); got != "L(a)V(Ada)L(b)L(-)V(a)L(-)V(b)L(-)V(c)" {
		t.Error(got)
	}
}

func TestFields(t *testing.T) {
	f := &Fields{Attributes: map[string]any{"city": "X", "data": "shadowed", "deep": map[string]any{"a": 1}}, ExternalID: "u1", Email: "a@b.example", MessageID: "m", MessageName: "n",
		MessageMetadata: Of(map[string]any{"k": "v"}), Data: Of(map[string]any{"x": 2.0}), UnsubscribeURL: "https://u", Now: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)}
	tpl, err := Compile(`{{ city }} {{ deep.a }} {{ recipient.external_id }} {{ recipient.email }} {{ message.id }} {{ message.name }} {{ message.metadata.k }} {{ data.x }} {{ unsubscribe_url }} {{ "now" | date: "%F" }}{{ recipient.locale | default: "?" }}`, Options{})
	if err != nil {
		t.Fatal(err)
	}
	out, err := tpl.Render(nil, f, Limits{})
	if want := "X 1 u1 a@b.example m n v 2 https://u 2026-01-02?"; err != nil || string(out) != want {
		t.Errorf("%s %v", out, err)
	}
	for _, path := range [][]string{{"recipient"}, {"message"}, {"recipient", "x"}, {"message", "id", "x"}, {"x"}, {"now", "x"}} {
		if v := f.Lookup(path); !v.IsNil() {
			t.Errorf("%v is %v", path, v)
		}
	}
}

func TestValues(t *testing.T) {
	for _, c := range []struct {
		x    any
		want string
	}{
		{int8(-3), "-3"}, {uint64(math.MaxUint64), "18446744073709551615"}, {float32(0.5), "0.5"}, {math.NaN(), ""}, {math.Inf(1), ""}, {1e-7, "0.0000001"}, {struct{}{}, ""}, {nil, ""},
		{json.Number("x"), ""}, {json.Number("9007199254740993"), "9007199254740993"}, {float64(1<<53 + 2), "9007199254740994"}, {map[string]any{"b": 1, "a": nil}, `{"a":null,"b":1}`}, {uint(7), "7"},
	} {
		if got := string(Of(c.x).Append(nil)); c.x != any(uint64(math.MaxUint64)) && got != c.want {
			t.Errorf("%v: %q, want %q", c.x, got, c.want)
		}
	}
}

// What is quadratic by nature is not: each of these took minutes once, or would.
func TestHostileSizes(t *testing.T) {
	many := func(s string) string { return strings.Repeat(s, 200_000/len(s)) }
	for _, src := range []string{"{% raw %}" + many("{%"), "{% comment %}" + many("{%-"), many("{% raw %}a{% endraw %}"), many("{{'"), many("{"), many("{{}}"), many("{% comment %}{% endcomment %}")} {
		if tpl, err := Compile(src, Options{}); err == nil {
			tpl.Static()
		}
	}
	tpl, err := Compile("{{ s | strip_html }}", Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{many("<"), many("<!--"), many("<script"), many("<style>"), many("<!-->"), many("<script></style>")} {
		if _, err := tpl.Render(nil, Map{"s": s}, Limits{}); err != nil && !errors.Is(err, ErrMissing) {
			t.Error(err)
		}
	}
}

func TestManyGoroutines(t *testing.T) {
	tpl, err := Compile("{% for t in tags %}{{ name }}{{ t }}{% endfor %}", Options{Part: HTML})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			vars := testVars()
			for range 100 {
				if out, err := tpl.Render(nil, vars, Limits{}); err != nil || string(out) != "AdaaAdabAdac" {
					t.Errorf("%q %v", out, err)
				}
			}
		})
	}
	group.Wait()
}

// TestLenient: what is missing is left out, with the filters that have nothing to work on; nothing else changes.
func TestLenient(t *testing.T) {
	tpl, err := Compile("Dear {{ name }}{{ greeting | append: name }}, {{ city | default: 'you' }}{% for x in list %}{{ x }}{{ y }};{% endfor %}", Options{})
	if err != nil {
		t.Fatal(err)
	}
	vars := Map{"name": "", "greeting": "Hi ", "list": []any{"a", "b"}}
	got, err := tpl.Render([]byte(">"), vars, Limits{Lenient: true})
	if err != nil || string(got) != ">Dear , youa;b;" {
		t.Errorf("%q (%v)", got, err)
	}
	if _, err := tpl.Render(nil, vars, Limits{}); !errors.Is(err, ErrMissing) {
		t.Errorf("the next rendering is not lenient: %v", err)
	}
}
