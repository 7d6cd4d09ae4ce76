package merge

import (
	"slices"
	"strings"
)

// A value in HTML may be all of a link, or its begin. Escaping is no shield there: the value decides what the link does. So the places of
// values are found when a template is compiled, and a value that would bring a scheme of its own other than these becomes "#".
func safeScheme(s string) bool {
	switch strings.ToLower(s) {
	case "http", "https", "mailto", "tel":
		return true
	}
	return false
}

const unsafeLink = "#"

// place says what a value decides where it stands.
type place uint8

const (
	placeText   place = iota
	placeLink         // it begins an address, or goes on where its scheme may not be over
	placeScheme       // it is the scheme of an address: a colon follows
)

// at gives a value as it may stand at a place.
func (p place) at(s string) string {
	switch p {
	case placeLink:
		if !safeAddress(s) {
			return unsafeLink
		}
	case placeScheme:
		if !safeScheme(s) {
			return unsafeLink
		}
	}
	return s
}

// safeAddress: what has a colon before any / ? # has a scheme, as browsers see it, who drop blanks and control characters.
func safeAddress(s string) bool {
	end := strings.IndexAny(s, ":/?#")
	if end < 0 || s[end] != ':' {
		return true
	}
	return safeScheme(strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s[:end]))
}

type htmlMode uint8

const (
	inText htmlMode = iota
	inComment
	inRaw     // of script and style
	inTag     // between its attributes
	inName    // of the tag
	inAttr    // the name of an attribute
	afterAttr // behind it
	beforeValue
	inValue
)

// markup is where a piece of HTML stands.
type markup struct {
	mode    htmlMode
	tag     string
	attr    string
	quote   byte      // of the value; 0: none
	scheme  bool      // the value is an address whose scheme may not be over
	pending []*output // what stands before, where the scheme may not be over
}

// isAddress names the attributes that hold one address.
func isAddress(attr string) bool {
	switch attr {
	case "href", "src", "action", "formaction", "background", "poster", "cite", "data", "longdesc", "xlink:href", "lowsrc", "dynsrc":
		return true
	}
	return false
}

// placed goes through nodes from a state and marks the places of their values; it gives the state behind them. Of branches the one counts
// that is least over.
func (t *Template) placed(h markup, nodes []node) markup {
	for i := range nodes {
		n := &nodes[i]
		switch n.kind {
		case nodeLiteral:
			h = h.text(t.literals[n.literal])
		case nodeOutput:
			h = h.value(n.out)
		case nodeIf:
			joined, otherwise := markup{}, false
			for k, a := range n.arms {
				behind := t.placed(h, a.body)
				if otherwise = a.when == nil; k == 0 {
					joined = behind
				} else {
					joined = joined.join(behind)
				}
			}
			if !otherwise {
				joined = joined.join(h)
			}
			h = joined
		case nodeFor:
			once := h.join(t.placed(h, n.loop.body))
			h = once.join(t.placed(once, n.loop.body)).join(t.placed(h, n.loop.none))
		case nodeLink:
			h = t.placed(h, n.link)
		}
	}
	return h
}

// join is the state of two that may be: where they differ, the one in which a value decides more.
func (h markup) join(o markup) markup {
	if h.weight() < o.weight() {
		h, o = o, h
	}
	for _, p := range o.pending {
		if !slices.Contains(h.pending, p) {
			h.pending = append(slices.Clip(h.pending), p)
		}
	}
	return h
}

func (h markup) weight() int {
	switch {
	case h.scheme:
		return 3
	case h.mode == beforeValue:
		return 2
	case h.mode != inText:
		return 1
	}
	return 0
}

func (h markup) value(o *output) markup {
	if h.mode == beforeValue {
		h = h.open(0)
	}
	if h.mode == inValue && h.scheme {
		o.place = max(o.place, placeLink)
		h.pending = append(slices.Clip(h.pending), o)
	}
	return h
}

// open begins an attribute's value.
func (h markup) open(quote byte) markup {
	h.mode, h.quote, h.scheme, h.pending = inValue, quote, isAddress(h.attr), nil
	return h
}

func (h markup) text(s string) markup {
	for i := 0; i < len(s); {
		c := s[i]
		blank := c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f'
		switch h.mode {
		case inText:
			n := strings.IndexByte(s[i:], '<')
			if n < 0 {
				return h
			}
			i += n
			switch rest := s[i+1:]; {
			case strings.HasPrefix(rest, "!--"):
				h.mode, i = inComment, i+4
				continue
			case rest != "" && (isLetter(rest[0]) || rest[0] == '/'):
				h.mode, h.tag = inName, ""
			}
		case inComment:
			n := strings.Index(s[i:], "-->")
			if n < 0 {
				return h
			}
			h.mode, i = inText, i+n+3
			continue
		case inRaw:
			n := strings.Index(s[i:], "</")
			if n < 0 {
				return h
			}
			i += n + 1
			if name := s[i+1:]; len(name) >= len(h.tag) && strings.EqualFold(name[:len(h.tag)], h.tag) {
				h.mode, h.tag = inName, "/"
			}
		case inName:
			switch {
			case c == '>':
				h = h.close()
			case blank || c == '/' && h.tag != "":
				h.mode = inTag
			default:
				h.tag = short(h.tag, c)
			}
		case inTag, afterAttr:
			switch {
			case c == '>':
				h = h.close()
			case c == '=' && h.mode == afterAttr:
				h.mode = beforeValue
			case !blank && c != '/':
				h.mode, h.attr = inAttr, short("", c)
			}
		case inAttr:
			switch {
			case c == '>':
				h = h.close()
			case c == '=':
				h.mode = beforeValue
			case blank:
				h.mode = afterAttr
			case c == '/':
				h.mode = inTag
			default:
				h.attr = short(h.attr, c)
			}
		case beforeValue:
			switch {
			case c == '"' || c == '\'':
				h = h.open(c)
			case c == '>':
				h = h.close()
			case !blank:
				h = h.open(0)
				continue
			}
		case inValue:
			switch {
			case h.quote != 0 && c == h.quote, h.quote == 0 && blank:
				h.mode, h.scheme, h.pending = inTag, false, nil
			case h.quote == 0 && c == '>':
				h = h.close()
			case h.scheme && c == ':':
				for _, o := range h.pending {
					o.place = placeScheme
				}
				h.scheme, h.pending = false, nil
			case h.scheme && (c == '/' || c == '?' || c == '#'):
				h.scheme, h.pending = false, nil
			}
		}
		i++
	}
	return h
}

// close ends a tag.
func (h markup) close() markup {
	if h.tag == "script" || h.tag == "style" {
		return markup{mode: inRaw, tag: h.tag}
	}
	return markup{}
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

// short appends to a name, in lower case; longer ones are none that matters.
func short(name string, c byte) string {
	if len(name) > 16 {
		return name
	}
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return name + string(c)
}
