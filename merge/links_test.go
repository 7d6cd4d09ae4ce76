package merge

import (
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"
	"pgregory.net/rapid"
)

func renderedHTML(t testing.TB, src string, vars Vars, o Options) string {
	t.Helper()
	tpl, err := Compile(src, o)
	if err != nil {
		t.Fatalf("%s: %v", src, err)
	}
	out, err := tpl.Render(nil, vars, Limits{})
	if err != nil {
		t.Fatalf("%s: %v", src, err)
	}
	return string(out)
}

// TestAValueBringsNoScheme: javascript: in a value of a link once came out as a link.
func TestAValueBringsNoScheme(t *testing.T) {
	const js = "javascript:alert(1)"
	for _, c := range []struct{ src, x, want string }{
		{`<a href="{{ x }}">`, js, `<a href="#">`},
		{`<a href="{{ x }}">`, "JaVa\tScript :alert(1)", `<a href="#">`},
		{`<a href="{{ x }}">`, " \x01data:text/html,x", `<a href="#">`},
		{`<a href="{{ x }}">`, "https://x.example/?a=b:c", `<a href="https://x.example/?a=b:c">`},
		{`<a href="{{ x }}">`, "HTTP://x.example", `<a href="HTTP://x.example">`},
		{`<a href="{{ x }}">`, "mailto:a@b.example", `<a href="mailto:a@b.example">`},
		{`<a href="{{ x }}">`, "tel:+1", `<a href="tel:+1">`},
		{`<a href="{{ x }}">`, "/path:1", `<a href="/path:1">`},
		{`<a href="{{ x }}">`, "page", `<a href="page">`},
		{`<a href="{{ x | raw }}">`, js, `<a href="#">`},
		{`<a href="{{ x | escape }}">`, js, `<a href="#">`},
		{`<a href="{{ none | default: x }}">`, js, `<a href="#">`},
		{`<A HREF = '{{ x }}'>`, js, `<A HREF = '#'>`},
		{`<a href={{ x }}>`, js, `<a href=#>`},
		{`<img src="{{ x }}">`, js, `<img src="#">`},
		{`<a title="{{ x }}" href="https://h/{{ x }}">{{ x }}`, js, `<a title="javascript:alert(1)" href="https://h/javascript:alert(1)">javascript:alert(1)`},
		{`<a href="java{{ x }}">`, "script:alert(1)", `<a href="java#">`},
		{`<a href="{{ a }}{{ x }}">`, "script:alert(1)", `<a href="java#">`},
		{`<a href="{{ a }}{{ x }}">`, ":alert(1)", `<a href="java#">`},
		{`<a href="{{ x }}:alert(1)">`, "javascript", `<a href="#:alert(1)">`},
		{`<a href="{{ x }}://h/">`, "https", `<a href="https://h/">`},
		{`<a href="{% if a %}{{ x }}{% else %}https://h/{% endif %}">`, js, `<a href="#">`},
		{`<a href="{% if b %}https://h/{% else %}{{ x }}{% endif %}">`, js, `<a href="#">`},
		{`<a href="{% if b %}https://h/{% endif %}{{ x }}">`, js, `<a href="#">`},
		{`<a href="{% unless b %}{% else %}https://h/{% endunless %}{{ x }}">`, js, `<a href="#">`},
		{`<a href="{% for i in b %}https://h/{% endfor %}{{ x }}">`, js, `<a href="#">`},
		{`{% for i in l %}<a href="{{ x }}">{% endfor %}`, js, `<a href="#"><a href="#">`},
		{`<a {% if a %}href="{% endif %}{{ x }}">`, js, `<a href="#">`},
		{`<!-- <a href=" --><a href="{{ x }}">`, js, `<!-- <a href=" --><a href="#">`},
		{`<script>"<a href='"</script><a href="{{ x }}">`, js, `<script>"<a href='"</script><a href="#">`},
		{`<a data-x='>' href="{{ x }}">`, js, `<a data-x='>' href="#">`},
		{`a < b <a href="{{ x }}">`, js, `a < b <a href="#">`},
		{`<a hidden href="{{ x }}">`, js, `<a hidden href="#">`},
		{`<form/action="{{ x }}">`, js, `<form/action="#">`},
		{`<a href="#{{ x }}">`, js, `<a href="#javascript:alert(1)">`},
		{`<a href="?{{ x }}">`, js, `<a href="?javascript:alert(1)">`},
	} {
		vars := Map{"x": c.x, "a": "java", "l": []string{"1", "2"}}
		if got := renderedHTML(t, c.src, vars, Options{Part: HTML}); got != c.want {
			t.Errorf("%s with %q: %s, want %s", c.src, c.x, got, c.want)
		}
	}
}

// TestNoValueBringsASchemeAnywhere: whatever pieces a page is put together of, a browser's parser finds no scheme in a link that a value brought.
func TestNoValueBringsASchemeAnywhere(t *testing.T) {
	pieces := rapid.SampledFrom([]string{`<a href="`, `<a href='`, `">`, `'>`, `"`, `'`, `<b title="x" `, `>`, `</a>`, `{{ x }}`, `{{ y }}`, ` `, `href=`, `src="`, `<img `, `text`, `/`, `-`, `<p>`,
		`{% if a %}`, `{% else %}`, `{% endif %}`, `{% for i in l %}`, `{% endfor %}`, `<!--`, `-->`, `<style>`, `</style>`})
	values := rapid.SampledFrom([]string{"javascript:alert(1)", "java", "script:alert(1)", "\tjavascript\n:x", ":x", "https", "vbscript:x", "/x", "x", "data:x"})
	rapid.Check(t, func(t *rapid.T) {
		src := strings.Join(rapid.SliceOfN(pieces, 1, 14).Draw(t, "pieces"), "")
		tpl, err := Compile(src, Options{Part: HTML, Links: rapid.Bool().Draw(t, "links")})
		if err != nil {
			return
		}
		vars := Map{"x": values.Draw(t, "x"), "y": values.Draw(t, "y"), "l": []string{"1", "2"}}
		if rapid.Bool().Draw(t, "a") {
			vars["a"] = true
		}
		out, err := tpl.Render(nil, vars, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		z := html.NewTokenizer(strings.NewReader(string(out)))
		for z.Next() != html.ErrorToken {
			for _, a := range z.Token().Attr {
				s := strings.Map(func(r rune) rune {
					if r <= ' ' {
						return -1
					}
					return r
				}, strings.ToLower(a.Val))
				for _, bad := range []string{"javascript:", "vbscript:", "data:"} {
					if (a.Key == "href" || a.Key == "src") && strings.HasPrefix(s, bad) {
						t.Fatalf("%s gave %s: %s=%q", src, out, a.Key, a.Val)
					}
				}
			}
		}
	})
}

type tracked struct {
	Map
	seen []string
}

func (v *tracked) Link(address string) string {
	v.seen = append(v.seen, address)
	return "https://t.example/" + url.QueryEscape(address)
}

func TestLinks(t *testing.T) {
	const to = "https://t.example/"
	for _, c := range []struct{ part, src, want string }{
		{"html", `<a href="https://h.example/a?b=1&amp;c=2">x</a>`, `<a href="` + to + `https%3A%2F%2Fh.example%2Fa%3Fb%3D1%26c%3D2">x</a>`},
		{"html", `<a class="b" HREF = 'http://h.example'>`, `<a class="b" HREF = '` + to + `http%3A%2F%2Fh.example'>`},
		{"html", `<a href="https://h.example/{{ x }}?{{ x }}#e">x</a><a href="https://i.example/">`, `<a href="` + to + `https%3A%2F%2Fh.example%2Fa%26b%3Fa%26b%23e">x</a><a href="` + to + `https%3A%2F%2Fi.example%2F">`},
		{"html", `{% for p in l %}<a href="https://h.example/{{ p }}">{{ p }}</a>{% endfor %}`, `<a href="` + to + `https%3A%2F%2Fh.example%2F1">1</a><a href="` + to + `https%3A%2F%2Fh.example%2F2">2</a>`},
		{"html", `<a href="{{ unsubscribe_url }}">`, `<a href="https://u.example/u/t">`},
		{"html", `<a href="mailto:a@b.example">`, `<a href="mailto:a@b.example">`},
		{"html", `<a href="https://{{ host }}/x">`, `<a href="https://evil.example/x">`}, // a value decides where it leads to
		{"html", `<a href="https://h.example{{ host }}/x">`, `<a href="https://h.exampleevil.example/x">`},
		{"html", `<a href="{{ host }}https://h.example/x">`, `<a href="#https://h.example/x">`},
		{"html", `<a href="https://h.example/{% if x %}y{% endif %}">`, `<a href="https://h.example/y">`},
		{"html", `<img src="https://h.example/a.png">`, `<img src="https://h.example/a.png">`},
		{"html", `<link href="https://h.example/a.css">`, `<link href="https://h.example/a.css">`},
		{"html", `<p>https://h.example/a</p>`, `<p>https://h.example/a</p>`},
		{"html", `<a title="https://h.example/a">`, `<a title="https://h.example/a">`},
		{"html", `<!-- <a href="https://h.example/a"> -->`, `<!-- <a href="https://h.example/a"> -->`},
		{"html", `<a href="https://h.example/a`, `<a href="https://h.example/a`},
		{"html", `<a href="https://h.example/{{ gap }}">`, `<a href="https://h.example/a b">`},
		{"text", "See https://h.example/a?b=1&c={{ x }}, or (http://i.example/).\nEnd", "See " + to + "https%3A%2F%2Fh.example%2Fa%3Fb%3D1%26c%3Da%26b, or (" + to + "http%3A%2F%2Fi.example%2F).\nEnd"},
		{"text", "https://h.example/a", to + "https%3A%2F%2Fh.example%2Fa"},
		{"text", "https://h.example/{{ x }}", to + "https%3A%2F%2Fh.example%2Fa%26b"},
		{"text", "{% if x %}https://h.example/{% endif %}b", "https://h.example/b"},
		{"text", "{% if x %}<https://h.example/> {% endif %}b", "<" + to + "https%3A%2F%2Fh.example%2F> b"},
		{"text", "{{ unsubscribe_url }} https://{{ host }}/ xhttp://h.example/ http://", "https://u.example/u/t https://evil.example/ xhttp://h.example/ http://"},
	} {
		o := Options{Part: Text, Links: true}
		if c.part == "html" {
			o.Part = HTML
		}
		plain := Map{"x": "a&b", "l": []string{"1", "2"}, "host": "evil.example", "unsubscribe_url": "https://u.example/u/t", "gap": "a b"}
		if got := renderedHTML(t, c.src, &tracked{Map: plain}, o); got != c.want {
			t.Errorf("%s:\n %s\nwant\n %s", c.src, got, c.want)
		}
		o.Links = false
		without := renderedHTML(t, c.src, plain, o)
		o.Links = true
		if got := renderedHTML(t, c.src, plain, o); got != without {
			t.Errorf("%s, where nobody asks: %s, want %s", c.src, got, without)
		}
	}
}

// TestLinksChangeNothingElse: where links stay as they are, a template with them is the one without, whatever it is made of.
func TestLinksChangeNothingElse(t *testing.T) {
	pieces := rapid.SampledFrom([]string{`<a href="`, `https://h.example/`, `http://`, `HTTPS://h`, `://`, `">`, `'`, `{{ x }}`, ` `, "\n", `.`, `)`, `text`, `{% if a %}`, `{% else %}`, `{% endif %}`,
		`{% for i in l %}`, `{% endfor %}`, `{% raw %}`, `{% endraw %}`, `é`, `&amp;`, `{{- x -}}`})
	rapid.Check(t, func(t *rapid.T) {
		src := strings.Join(rapid.SliceOfN(pieces, 1, 20).Draw(t, "pieces"), "")
		o := Options{Part: rapid.SampledFrom([]Part{HTML, Text}).Draw(t, "part")}
		plain, err := Compile(src, o)
		if err != nil {
			return
		}
		o.Links = true
		links, err := Compile(src, o)
		if err != nil {
			t.Fatal(err)
		}
		vars := Map{"x": "v&<", "a": true, "l": []string{"1", "2"}}
		want, err := plain.Render(nil, vars, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := links.Render(nil, vars, Limits{})
		if err != nil || string(got) != string(want) {
			t.Fatalf("%s: %q, want %q (%v)", src, got, want, err)
		}
		same := &keeping{Map: vars}
		if got, err = links.Render(nil, same, Limits{}); err != nil || string(got) != string(want) {
			t.Fatalf("%s, asked: %q, want %q (%v)", src, got, want, err)
		}
		for _, address := range same.seen {
			if u, err := url.Parse(address); err != nil || u.Host == "" || strings.Contains(u.Host, "v") {
				t.Fatalf("%s: asked for %q (%v)", src, address, err)
			}
		}
	})
}

// keeping is asked for links and keeps them as they are.
type keeping struct {
	Map
	seen []string
}

func (k *keeping) Link(address string) string { k.seen = append(k.seen, address); return "" }

// TestManyLinksAreCompiledAtOnce: what costs the square of its length would never end here.
func TestManyLinksAreCompiledAtOnce(t *testing.T) {
	for _, piece := range []string{`<a href="https://h.example/`, `https://`, `http://a/`, `<script></script>`, `<script></`, `<!--`, `<a href="http://a/">`, `href="`, `<a href='{{ x }}`, `http://a/{{ x }}`} {
		for _, part := range []Part{HTML, Text} {
			src := strings.Repeat(piece, min(20_000, maxSource/len(piece)))
			if _, err := Compile(src, Options{Part: part, Links: true}); err != nil {
				t.Error(err)
			}
		}
	}
}
