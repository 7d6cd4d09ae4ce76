package merge

import (
	"encoding/json"
	"testing"
)

func unquoteJSON(s string) (string, error) {
	var out string
	err := json.Unmarshal([]byte(`"`+s+`"`), &out)
	return out, err
}

func BenchmarkRender(b *testing.B) {
	fields := &Fields{Attributes: map[string]any{"first_name": "Ada", "city": "London", "points": 120.0}, ExternalID: "u1", Email: "ada@example.org", UnsubscribeURL: "https://example.org/u/abc"}
	for _, bench := range []struct {
		name string
		part Part
		src  string
	}{
		{"text 5 variables", Text, "Dear {{ first_name }} of {{ city }}, you have {{ points }} points. This is for {{ recipient.email }}; leave at {{ unsubscribe_url }}."},
		{"html 5 variables", HTML, "<p>Dear {{ first_name }} of {{ city }}, you have {{ points }} points. This is for {{ recipient.email }}; <a href=\"{{ unsubscribe_url }}\">leave</a>."},
		{"conditions", Text, "{% if points > 100 %}Gold {{ first_name | default: 'friend' }}{% elsif city == 'Paris' %}P{% else %}S{% endif %}"},
	} {
		b.Run(bench.name, func(b *testing.B) {
			tpl, err := Compile(bench.src, Options{Part: bench.part})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			var dst []byte
			for b.Loop() {
				if dst, err = tpl.Render(dst[:0], fields, Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
