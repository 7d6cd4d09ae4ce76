package web

import (
	"encoding/json"
	"net/http"
	"strings"

	"golang.org/x/text/language"
)

// The languages; the first is for whoever reads neither.
const (
	english = "en"
	chinese = "zh"
)

func readWords() map[string]map[string]string {
	var words map[string]map[string]string
	raw, _ := files.ReadFile("words.json") // embedded: it is there, and a test reads it
	_ = json.Unmarshal(raw, &words)
	return words
}

// chosen is the language that r asks for in so many words, empty if it does not.
func chosen(r *http.Request) string {
	if asked := r.URL.Query().Get("lang"); asked == english || asked == chinese {
		return asked
	}
	return ""
}

// tongue is the language of the visitor: the one just chosen, the one chosen before, or what their browser prefers.
func tongue(r *http.Request) string {
	if l := chosen(r); l != "" {
		return l
	}
	if c, err := r.Cookie(languageCookie); err == nil && (c.Value == english || c.Value == chinese) {
		return c.Value
	}
	wanted, _, _ := language.ParseAcceptLanguage(r.Header.Get("Accept-Language")) // unreadable: none
	_, i, _ := language.NewMatcher([]language.Tag{language.English, language.Chinese}).Match(wanted...)
	return []string{english, chinese}[i]
}

// say gives the text of key in the visitor's language.
func (s *site) say(r *http.Request, key string, pairs ...string) string {
	return s.text(tongue(r), key, pairs...)
}

// text gives the text of key with each {name} replaced by its value; pairs is name, value, ….
func (s *site) text(lang, key string, pairs ...string) string {
	text := s.words[lang][key]
	for i := 0; i+1 < len(pairs); i += 2 {
		text = strings.ReplaceAll(text, "{"+pairs[i]+"}", pairs[i+1])
	}
	return text
}

// term gives the text of a word of the API, such as a phase, and the word itself if it is a newer one.
func (s *site) term(lang, kind, word string) string {
	if text, ok := s.words[lang][kind+"."+word]; ok {
		return text
	}
	return word
}

// live gives the words that the script needs, as JSON.
func (s *site) live(lang string) string {
	some := map[string]string{}
	for key, text := range s.words[lang] {
		kind, _, _ := strings.Cut(key, ".")
		switch kind {
		case "phase", "waiting", "unit", "live":
			some[key] = text
		}
	}
	out, _ := json.Marshal(some) // strings only
	return string(out)
}
