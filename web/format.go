package web

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
	"time"
)

// parse makes the pages of every language; each has the layout and its own "main".
func (s *site) parse() map[string]map[string]*template.Template {
	out := map[string]map[string]*template.Template{}
	for lang := range s.words {
		out[lang] = map[string]*template.Template{}
		for _, name := range []string{"list", "message", "confirm", "items", "signin", "problem"} {
			t := template.New(name).Funcs(template.FuncMap{
				"t":        func(key string, pairs ...string) string { return s.text(lang, key, pairs...) },
				"term":     func(kind string, word any) string { return s.term(lang, kind, fmt.Sprint(word)) },
				"number":   number,
				"rate":     func(perSecond float64) string { return number(int(math.Round(perSecond))) },
				"tenths":   func(n int) string { return fmt.Sprintf("%d.%d", n/10, n%10) },
				"duration": func(seconds float64) string { return s.duration(lang, seconds) },
				"stamp":    func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
				"clock":    func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
				"minute":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") },
				"asset":    func(name string) string { return "/assets/" + name + "?" + s.assets[name].version },
				"text":     func(raw []byte) string { return string(raw) },
				"inLanguage": func(here, lang string) string {
					if strings.Contains(here, "?") {
						return here + "&lang=" + lang
					}
					return here + "?lang=" + lang
				},
			})
			out[lang][name] = template.Must(t.ParseFS(files, "templates/layout.html", "templates/"+name+".html"))
		}
	}
	return out
}

// number writes n with commas, the same in both languages and in the script.
func number(n int) string {
	digits := strconv.Itoa(n)
	sign := ""
	if n < 0 {
		sign, digits = "−", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// duration writes seconds in its two greatest units.
func (s *site) duration(lang string, seconds float64) string {
	if !(seconds < 100*24*3600) {
		return s.text(lang, "unit.long")
	}
	left := max(0, int(math.Ceil(seconds)))
	var out []string
	for _, unit := range []struct {
		name string
		size int
	}{{"unit.day", 24 * 3600}, {"unit.hour", 3600}, {"unit.minute", 60}, {"unit.second", 1}} {
		if n := left / unit.size; (n > 0 || unit.size == 1 && len(out) == 0) && len(out) < 2 {
			out = append(out, s.text(lang, unit.name, "n", strconv.Itoa(n)))
			left %= unit.size
		} else if len(out) > 0 {
			break
		}
	}
	return strings.Join(out, " ")
}

// whole reads a count from a form.
func whole(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err == nil && n < 0 {
		err = strconv.ErrRange
	}
	return n, err
}
