package merge

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

type filterID uint8

const (
	filterDefault filterID = iota + 1
	filterUpcase
	filterDowncase
	filterCapitalize
	filterStrip
	filterTruncate
	filterTruncateWords
	filterReplace
	filterRemove
	filterAppend
	filterPrepend
	filterDate
	filterRound
	filterCeil
	filterFloor
	filterAbs
	filterPlus
	filterMinus
	filterTimes
	filterDividedBy
	filterModulo
	filterSize
	filterFirst
	filterLast
	filterJoin
	filterSplit
	filterEscape
	filterURLEncode
	filterNewlineToBr
	filterJSON
	filterStripHTML
	filterRaw
)

// filter is a filter's name and shape.
type filter struct {
	id         filterID
	min, max   int  // arguments
	takesBlank bool // a present, blank string is given to it
}

const filterNames = "abs, append, capitalize, ceil, date, default, divided_by, downcase, escape, first, floor, join, json, last, minus, modulo, newline_to_br, " +
	"plus, prepend, raw, remove, replace, round, size, split, strip, strip_html, times, truncate, truncatewords, upcase, url_encode"

func filterNamed(name string) (filter, bool) {
	switch name {
	case "default":
		return filter{filterDefault, 1, 1, true}, true // and allow_false: by name
	case "upcase":
		return filter{id: filterUpcase}, true
	case "downcase":
		return filter{id: filterDowncase}, true
	case "capitalize":
		return filter{id: filterCapitalize}, true
	case "strip":
		return filter{id: filterStrip}, true
	case "truncate":
		return filter{filterTruncate, 0, 2, false}, true
	case "truncatewords":
		return filter{filterTruncateWords, 0, 2, false}, true
	case "replace":
		return filter{filterReplace, 2, 2, false}, true
	case "remove":
		return filter{filterRemove, 1, 1, false}, true
	case "append":
		return filter{filterAppend, 1, 1, false}, true
	case "prepend":
		return filter{filterPrepend, 1, 1, false}, true
	case "date":
		return filter{filterDate, 1, 2, false}, true
	case "round":
		return filter{filterRound, 0, 1, false}, true
	case "ceil":
		return filter{id: filterCeil}, true
	case "floor":
		return filter{id: filterFloor}, true
	case "abs":
		return filter{id: filterAbs}, true
	case "plus":
		return filter{filterPlus, 1, 1, false}, true
	case "minus":
		return filter{filterMinus, 1, 1, false}, true
	case "times":
		return filter{filterTimes, 1, 1, false}, true
	case "divided_by":
		return filter{filterDividedBy, 1, 1, false}, true
	case "modulo":
		return filter{filterModulo, 1, 1, false}, true
	case "size":
		return filter{filterSize, 0, 0, true}, true
	case "first":
		return filter{id: filterFirst}, true
	case "last":
		return filter{id: filterLast}, true
	case "join":
		return filter{filterJoin, 0, 1, false}, true
	case "split":
		return filter{filterSplit, 1, 1, false}, true
	case "escape":
		return filter{id: filterEscape}, true
	case "url_encode":
		return filter{id: filterURLEncode}, true
	case "newline_to_br":
		return filter{id: filterNewlineToBr}, true
	case "json":
		return filter{filterJSON, 0, 0, true}, true
	case "strip_html":
		return filter{id: filterStripHTML}, true
	case "raw":
		return filter{id: filterRaw}, true
	}
	return filter{}, false
}

// filter applies one filter. In HTML, escape and newline_to_br answer what is escaped already, and every other one takes that back.
func (e *exec) filter(f *filterCall, v Value, args []Value, safe *bool) (Value, error) {
	html := e.t.part == HTML
	switch f.id {
	case filterEscape:
		if html && *safe {
			return v, nil
		}
		*safe = html
		return String(string(appendHTML(nil, v.text()))), nil
	case filterNewlineToBr:
		s := v.text()
		if html && !*safe {
			s = string(appendHTML(nil, s))
		}
		*safe = html
		return String(strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\n", "<br />\n")), nil
	case filterRaw:
		*safe = true
		return v, nil
	case filterJSON:
		*safe = *safe && !html
		return String(v.json()), nil
	}
	if html {
		*safe = false
	}
	switch f.id {
	case filterSize:
		n, ok := v.size()
		if !ok {
			return Value{}, nil
		}
		return Int(int64(n)), nil
	case filterFirst, filterLast:
		if v.kind != kindList {
			return Value{}, nil
		}
		if f.id == filterFirst {
			return v.index(0), nil
		}
		return v.index(-1), nil
	case filterJoin:
		return e.join(v, args)
	case filterSplit:
		return e.split(v.text(), args[0].text())
	case filterDate:
		return e.date(f.date, v), nil
	case filterRound, filterCeil, filterFloor, filterAbs, filterPlus, filterMinus, filterTimes, filterDividedBy, filterModulo:
		return arithmetic(f.id, v, args), nil
	}
	return e.textFilter(f, v.text(), args)
}

func (e *exec) textFilter(f *filterCall, s string, args []Value) (Value, error) {
	switch f.id {
	case filterUpcase:
		s = strings.ToUpper(s)
	case filterDowncase:
		s = strings.ToLower(s)
	case filterCapitalize:
		s = capitalize(s)
	case filterStrip:
		s = trimSpace(s)
	case filterTruncate:
		s = truncate(s, args)
	case filterTruncateWords:
		s = truncateWords(s, args)
	case filterReplace:
		return e.replace(s, args[0].text(), args[1].text())
	case filterRemove:
		return e.replace(s, args[0].text(), "")
	case filterAppend:
		s += args[0].text()
	case filterPrepend:
		s = args[0].text() + s
	case filterURLEncode:
		s = url.QueryEscape(s)
	case filterStripHTML:
		s = stripHTML(s)
	}
	return String(s), nil
}

func capitalize(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 || r == utf8.RuneError {
		return s
	}
	return string(unicode.ToUpper(r)) + strings.ToLower(s[n:])
}

// lengthArg is argument 0 as a count.
func lengthArg(args []Value, otherwise int) int {
	if len(args) == 0 {
		return otherwise
	}
	n := args[0].number()
	if n.kind == kindNil {
		return otherwise
	}
	return int(max(0, min(n.asFloat(), 1<<31)))
}

// truncate keeps n characters, the ellipsis included.
func truncate(s string, args []Value) string {
	n := lengthArg(args, 50)
	if runeCount(s) <= n {
		return s
	}
	dots := "..."
	if len(args) > 1 {
		dots = args[1].text()
	}
	keep := max(0, n-runeCount(dots))
	for i := range s {
		if keep == 0 {
			return s[:i] + dots
		}
		keep--
	}
	return s + dots
}

func truncateWords(s string, args []Value) string {
	n := max(1, lengthArg(args, 15))
	dots := "..."
	if len(args) > 1 {
		dots = args[1].text()
	}
	words := strings.Fields(s)
	if len(words) <= n {
		return s
	}
	return strings.Join(words[:n], " ") + dots
}

func (e *exec) replace(s, old, with string) (Value, error) {
	n := strings.Count(s, old)
	if len(s)+n*(len(with)-len(old)) > e.limit {
		return Value{}, ErrOutputTooLarge
	}
	return String(strings.ReplaceAll(s, old, with)), nil
}

func (e *exec) join(v Value, args []Value) (Value, error) {
	if v.kind != kindList {
		return v, nil
	}
	between := " "
	if len(args) > 0 {
		between = args[0].text()
	}
	var b []byte
	for i := range v.len() {
		if i > 0 {
			b = append(b, between...)
		}
		b = v.index(i).Append(b)
		if len(b) > e.limit {
			return Value{}, ErrOutputTooLarge
		}
	}
	return String(string(b)), nil
}

// split is Ruby's: a space means any white space, nothing means every character, empty pieces at the end are dropped.
func (e *exec) split(s, by string) (Value, error) {
	if err := e.step(strings.Count(s, by)); err != nil {
		return Value{}, err
	}
	if by == " " {
		return Of(strings.Fields(s)), nil
	}
	list := strings.Split(s, by)
	for len(list) > 0 && list[len(list)-1] == "" {
		list = list[:len(list)-1]
	}
	return Of(list), nil
}

// stripHTML removes tags, comments, scripts and styles. It makes text, not safety: in HTML the result is escaped like any value. What is
// never closed is no comment, script or style, but may be a tag; each end is looked for once in vain at most.
func stripHTML(s string) string {
	var b strings.Builder
	pairs := [...]struct {
		begin, end string
		none       bool
	}{{begin: "<!--", end: "-->"}, {begin: "<script", end: "</script>"}, {begin: "<style", end: "</style>"}, {begin: "<", end: ">"}}
next:
	for {
		i := strings.IndexByte(s, '<')
		if i < 0 {
			break
		}
		b.WriteString(s[:i])
		s = s[i:]
		for k := range pairs {
			p := &pairs[k]
			if p.none || !hasPrefixFold(s, p.begin) {
				continue
			}
			if j := indexFold(s, p.end); j >= 0 {
				s = s[j+len(p.end):]
				continue next
			}
			p.none = true
		}
		break
	}
	b.WriteString(s)
	return b.String()
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// indexFold finds ASCII text in any case.
func indexFold(s, sub string) int {
	for i := 0; ; i++ {
		n := strings.IndexByte(s[i:], sub[0])
		if n < 0 {
			return -1
		}
		i += n
		if hasPrefixFold(s[i:], sub) {
			return i
		}
	}
}
