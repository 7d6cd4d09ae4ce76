package merge

import (
	"errors"
	"fmt"
	"html"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// The model: a tree that prints itself as a template and evaluates itself by the words of the documentation, on strings only.
type model interface {
	source() string
	eval(m *modelRun)
}

type modelRun struct {
	vars    map[string]string // absent: missing
	lists   map[string][]string
	item    string
	in      bool
	out     strings.Builder
	missing bool
}

type modelText string

func (t modelText) source() string   { return string(t) }
func (t modelText) eval(m *modelRun) { m.write(string(t)) }

func (m *modelRun) write(s string) {
	if !m.missing {
		m.out.WriteString(s)
	}
}

func (m *modelRun) value(name string) (string, bool) {
	if name == "x" && m.in {
		return m.item, true
	}
	s, ok := m.vars[name]
	return s, ok
}

type modelOutput struct {
	name                     string
	upper                    bool
	prefix, suffix, fallback *string
}

func (o modelOutput) source() string {
	s := "{{ " + o.name
	if o.upper {
		s += " | upcase"
	}
	if o.suffix != nil {
		s += " | append: '" + *o.suffix + "'"
	}
	if o.fallback != nil {
		s += " | default: \"" + *o.fallback + "\""
	}
	if o.prefix != nil {
		s += " | prepend: '" + *o.prefix + "'"
	}
	return s + "}}"
}

func (o modelOutput) eval(m *modelRun) {
	s, ok := m.value(o.name)
	ok = ok && strings.TrimSpace(s) != ""
	if ok && o.upper {
		s = strings.ToUpper(s)
	}
	if ok && o.suffix != nil {
		s += *o.suffix
	}
	if !ok && o.fallback != nil {
		s, ok = *o.fallback, true
	}
	if !ok {
		m.missing = true
	}
	if o.prefix != nil {
		s = *o.prefix + s
	}
	m.write(s)
}

type modelIf struct {
	unless    bool
	name, op  string
	with      string
	yes, no   []model
	otherwise bool
}

func (i modelIf) source() string {
	word := "if"
	if i.unless {
		word = "unless"
	}
	s := "{% " + word + " " + i.name
	if i.op != "" {
		s += " " + i.op + " '" + i.with + "'"
	}
	s += " %}" + sources(i.yes)
	if i.otherwise {
		s += "{% else %}" + sources(i.no)
	}
	return s + "{% end" + word + " %}"
}

func (i modelIf) eval(m *modelRun) {
	s, ok := m.value(i.name)
	var yes bool
	switch i.op {
	case "":
		yes = ok
	case "==":
		yes = ok && s == i.with
	case "!=":
		yes = !ok || s != i.with
	case "<":
		yes = ok && s < i.with
	case ">=":
		yes = ok && s >= i.with
	case "contains":
		yes = ok && strings.Contains(s, i.with)
	}
	if yes != i.unless {
		evals(m, i.yes)
	} else if i.otherwise {
		evals(m, i.no)
	}
}

type modelFor struct {
	list  string
	limit int
	body  []model
	none  []model
}

func (f modelFor) source() string {
	return fmt.Sprintf("{%% for x in %s limit:%d %%}{{ forloop.index }}%s{%% else %%}%s{%% endfor %%}", f.list, f.limit, sources(f.body), sources(f.none))
}

func (f modelFor) eval(m *modelRun) {
	list := m.lists[f.list]
	list = list[:min(len(list), f.limit)]
	item, in := m.item, m.in
	for i, x := range list {
		m.item, m.in = x, true
		m.write(strconv.Itoa(i + 1))
		evals(m, f.body)
	}
	m.item, m.in = item, in
	if len(list) == 0 {
		evals(m, f.none)
	}
}

func sources(list []model) string {
	var b strings.Builder
	for _, n := range list {
		b.WriteString(n.source())
	}
	return b.String()
}

func evals(m *modelRun, list []model) {
	for _, n := range list {
		n.eval(m)
	}
}

func drawModel(t *rapid.T, depth int) []model {
	word := rapid.StringMatching(`[a-z<&é界 .\n]{0,6}`)
	name := rapid.SampledFrom([]string{"a", "b", "c", "x"})
	maybe := func(label string) *string {
		if !rapid.Bool().Draw(t, label) {
			return nil
		}
		s := rapid.StringMatching(`[a-z!]{1,4}`).Draw(t, label)
		return &s
	}
	var list []model
	for range rapid.IntRange(0, 4).Draw(t, "nodes") {
		kind := rapid.IntRange(0, 3).Draw(t, "kind")
		if depth == 0 {
			kind %= 2
		}
		switch kind {
		case 0:
			list = append(list, modelText(word.Draw(t, "text")))
		case 1:
			list = append(list, modelOutput{name: name.Draw(t, "name"), upper: rapid.Bool().Draw(t, "upper"), prefix: maybe("prefix"), suffix: maybe("suffix"), fallback: maybe("default")})
		case 2:
			list = append(list, modelIf{unless: rapid.Bool().Draw(t, "unless"), name: name.Draw(t, "name"), op: rapid.SampledFrom([]string{"", "==", "!=", "<", ">=", "contains"}).Draw(t, "op"),
				with: word.Draw(t, "with"), yes: drawModel(t, depth-1), otherwise: rapid.Bool().Draw(t, "else"), no: drawModel(t, depth-1)})
		case 3:
			list = append(list, modelFor{list: rapid.SampledFrom([]string{"l", "m"}).Draw(t, "list"), limit: rapid.IntRange(0, 3).Draw(t, "limit"), body: drawModel(t, depth-1), none: drawModel(t, depth-1)})
		}
	}
	return list
}

// renderLikeModel: a template made from a random tree renders to what the tree evaluates to.
func renderLikeModel(t *rapid.T) {
	tree := drawModel(t, 3)
	m := &modelRun{vars: map[string]string{}, lists: map[string][]string{}}
	vars := Map{}
	for _, name := range []string{"a", "b", "c"} {
		if rapid.IntRange(0, 3).Draw(t, "present") > 0 {
			s := rapid.StringMatching(`[a-z<é \n]{0,5}`).Draw(t, name)
			m.vars[name], vars[name] = s, s
		}
	}
	for _, name := range []string{"l", "m"} {
		list := rapid.SliceOfN(rapid.StringMatching(`[a-z ]{1,3}`), 0, 4).Draw(t, name)
		m.lists[name], vars[name] = list, list
	}
	src := sources(tree)
	tpl, err := Compile(src, Options{})
	if err != nil {
		t.Fatalf("%s: %v", src, err)
	}
	evals(m, tree)
	got, err := tpl.Render(nil, vars, Limits{})
	if errors.Is(err, ErrMissing) != m.missing || !m.missing && (err != nil || string(got) != m.out.String()) {
		t.Fatalf("%q\n got %q, %v\nwant %q, missing %v", src, got, err, m.out.String(), m.missing)
	}
}

func TestRenderLikeModel(t *testing.T) { rapid.Check(t, renderLikeModel) }

func FuzzRender(f *testing.F) { f.Fuzz(rapid.MakeFuzz(renderLikeModel)) }

// FuzzCompile gives any source and any value: compiling never panics, an error has a place in the source, rendering ends within its
// limits and is the same twice, and a spliced value comes back from its escape.
func FuzzCompile(f *testing.F) {
	for _, s := range []string{"Dear {{ a | default: 'x' }}", "{% if a == 'b' %}{{ a }}{% elsif a %}{% else %}{% endif %}", "{% for x in a limit: 2 %}{{ x }}{{ forloop.last }}{% endfor %}",
		"{%- raw -%} {{ {% endraw %}", "{{ a | date: '%Y' | truncate: 3, '' | split: ' ' | json }}", "{{ a['b'][0].c }}", "{% comment %}{% endcomment %}{{-}}", "{{ 1 | divided_by: a | round: 2 }}", "{% unless a contains b and c or d %}{% endunless %}"} {
		f.Add(s, "value")
		f.Add(s, "a\r\n<b>\"'&\x00\xff\u2028")
	}
	f.Fuzz(func(t *testing.T, src, value string) {
		vars := Map{"a": value, "b": []any{value, 1.5, nil}, "c": map[string]any{"d": value}, "v": value}
		for part := Text; part <= JSON; part++ {
			tpl, err := Compile(src, Options{Part: part})
			if err != nil {
				var syntax *SyntaxError
				if !errors.As(err, &syntax) || syntax.Line < 1 || syntax.Line > strings.Count(src, "\n")+1 || syntax.Column < 1 || syntax.Column > len(src)+1 {
					t.Fatalf("%q: %#v", src, err)
				}
				break
			}
			limits := Limits{Steps: 1000, Output: 10_000}
			one, err1 := tpl.Render(nil, vars, limits)
			two, err2 := tpl.Render(nil, vars, limits)
			if string(one) != string(two) || (err1 == nil) != (err2 == nil) || len(one) > limits.Output {
				t.Fatalf("%q renders to %q (%v) and %q (%v)", src, one, err1, two, err2)
			}
			if part == Header && strings.ContainsFunc(string(one), unicode.IsControl) {
				t.Fatalf("%q: control characters in a header: %q", src, one)
			}
		}
		checkEscape(t, value)
	})
}

func checkEscape(t *testing.T, value string) {
	for part, back := range map[Part]func(string) string{
		Text: func(s string) string { return s },
		HTML: html.UnescapeString,
		URL:  func(s string) string { s, _ = url.PathUnescape(s[1:]); return "/" + s },
		JSON: func(s string) string { return s },
	} {
		tpl, err := Compile("/{{ v }}", Options{Part: part})
		if err != nil {
			t.Fatal(err)
		}
		got, err := tpl.Render(nil, Map{"v": value}, Limits{})
		if String(value).IsMissing() {
			if !errors.Is(err, ErrMissing) {
				t.Fatalf("%q: %v", value, err)
			}
			continue
		}
		want := "/" + value
		if part == JSON {
			var s string
			if s, err = unquoteJSON(string(got)); utf8.ValidString(value) && s != want {
				t.Fatalf("%q in JSON: %q (%v)", value, got, err)
			}
			continue
		}
		if part == HTML && strings.ContainsAny(string(got), "<>\"'") || back(string(got)) != want {
			t.Fatalf("%q in part %d: %q", value, part, got)
		}
	}
}
