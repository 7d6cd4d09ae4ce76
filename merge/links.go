package merge

import (
	stdhtml "html"
	"strings"
)

// Linker is what a [Vars] may be besides: it is asked for another address for each link of a template that was compiled with
// Options.Links; empty: the link stays as it is.
type Linker interface {
	Link(address string) string
}

// linked finds the links in nodes, which stand at h with blocks around them, and puts each into a node of its own: in HTML what the href of
// an a or area holds, in text what looks like an address. Only those are taken that are written out up to the end of their host, and end among
// the same nodes: so no value decides where the link leads to, and unsubscribe_url and mailto are none.
func (c *compiler) linked(h markup, nodes []node, blocks int) ([]node, markup) {
	var out []node
	for i := 0; i < len(nodes); i++ {
		n := nodes[i]
		switch n.kind {
		case nodeLiteral:
			text := c.t.literals[n.literal]
			from := c.linkBegin(h, text)
			if from < 0 {
				h = c.behind(h, text)
				out = append(out, n)
				continue
			}
			h = c.behind(h, text[:from])
			inner, end, last := c.linkEnd(h, text[from:], nodes[i+1:], blocks)
			if inner == nil { // it does not end here: the text up to end is none
				h = c.behind(h, text[from:from+end])
				out = c.literal(out, text[:from+end])
			} else {
				out = append(c.literal(out, text[:from]), node{kind: nodeLink, link: inner})
				h = c.t.placed(h, inner)
				if i += last; last > 0 {
					from, text = 0, ""
					if i < len(nodes) && nodes[i].kind == nodeLiteral {
						text = c.t.literals[nodes[i].literal]
					}
				}
			}
			if rest := c.literal(nil, text[from+end:]); rest != nil {
				nodes[i] = rest[0] // goes on in what follows the link
				i--
			}
		case nodeIf:
			joined, otherwise := markup{}, false
			for k := range n.arms {
				var behind markup
				n.arms[k].body, behind = c.linked(h, n.arms[k].body, blocks+1)
				if otherwise = n.arms[k].when == nil; k == 0 {
					joined = behind
				} else {
					joined = joined.join(behind)
				}
			}
			if !otherwise {
				joined = joined.join(h)
			}
			h, out = joined, append(out, n)
		case nodeFor:
			var once markup
			n.loop.body, once = c.linked(h, n.loop.body, blocks+1)
			n.loop.none, _ = c.linked(h, n.loop.none, blocks+1)
			h, out = h.join(once), append(out, n)
		default:
			if c.opts.Part == HTML {
				h = h.value(n.out)
			}
			out = append(out, n)
		}
	}
	return out, h
}

func (c *compiler) behind(h markup, text string) markup {
	if c.opts.Part != HTML {
		return h
	}
	return h.text(text)
}

// linkBegin is where in text, which stands at h, a link begins; -1: nowhere.
func (c *compiler) linkBegin(h markup, text string) int {
	for from, behind := 0, 0; ; {
		n := strings.Index(text[from:], "://")
		if n < 0 {
			return -1
		}
		at := from + n
		from = at + len("://")
		for _, scheme := range [...]string{"https", "http"} {
			begin := at - len(scheme)
			if begin < behind || !strings.EqualFold(text[begin:at], scheme) || !hostEnds(text[from:], c.opts.Part) {
				continue
			}
			if c.opts.Part != HTML {
				if begin == 0 || !isLetter(text[begin-1]) {
					return begin
				}
				continue
			}
			before := text[behind:begin]
			h, behind = h.text(before), begin
			if h.mode == inValue && h.quote != 0 && h.scheme && len(h.pending) == 0 && h.attr == "href" && (h.tag == "a" || h.tag == "area") &&
				strings.HasSuffix(strings.TrimRight(before, " \t\r\n"), string(h.quote)) {
				return begin
			}
		}
	}
}

// hostEnds says whether text begins with a host that ends in it.
func hostEnds(text string, part Part) bool {
	for i := range min(len(text), 300) {
		switch b := text[i]; {
		case isUnreserved(b) || b == ':' || b >= 0x80:
		case b == '/' || b == '?' || b == '#':
			return i > 0
		case part == HTML:
			return i > 0 && (b == '"' || b == '\'')
		default:
			return i > 0 && linkStops(b)
		}
	}
	return false
}

// linkStops ends an address in text.
func linkStops(b byte) bool { return b <= ' ' || strings.IndexByte("<>\"`{}|\\^", b) >= 0 }

// linkEnd gives the nodes of a link that begins with text, where it ends in the last of its literals, and how many nodes further that
// lies. None: it does not end among the nodes behind; then end is how much of text is no link for sure.
func (c *compiler) linkEnd(h markup, text string, behind []node, blocks int) (inner []node, end, last int) {
	for first := text; ; {
		if c.opts.Part == HTML {
			end = strings.IndexByte(text, h.quote)
		} else if end = strings.IndexFunc(text, func(r rune) bool { return r < 0x80 && linkStops(byte(r)) }); end < 0 && last == len(behind) && blocks == 0 {
			end = len(text)
		}
		if end >= 0 {
			if c.opts.Part != HTML {
				end = len(strings.TrimRight(text[:end], ".,;:!?)]'*_"))
			}
			if last == 0 && c.opts.Part != HTML && !hostEnds(first[strings.Index(first, "://")+3:end]+" ", Text) {
				return nil, end, 0
			}
			return c.literal(inner, text[:end]), end, last
		}
		inner = c.literal(inner, text)
		for ; last < len(behind) && behind[last].kind == nodeOutput; last++ {
			inner = append(inner, behind[last])
		}
		switch {
		case last < len(behind) && behind[last].kind == nodeLiteral:
			text = c.t.literals[behind[last].literal]
			last++
		case last == len(behind) && c.opts.Part != HTML && blocks == 0:
			return inner, 0, last + 1 // all of the rest is the link
		default:
			return nil, len(first), 0
		}
	}
}

// linkTo writes a link: as the vars want it, or as it stands.
func (e *exec) linkTo(n *node) error {
	if e.linker == nil {
		return e.run(n.link)
	}
	sink, dst := e.sink, e.dst
	e.sink, e.dst = nil, e.address[:0]
	err := e.run(n.link)
	e.address, e.sink, e.dst = e.dst, sink, dst
	if err != nil {
		return err
	}
	address := string(e.address)
	if e.t.part == HTML {
		address = stdhtml.UnescapeString(address)
	}
	if to := e.link(address); to != "" {
		e.address = appendEscaped(e.address[:0], to, e.t.part, false)
	}
	if sink != nil {
		sink.Value(e.address)
	} else {
		e.dst = append(e.dst, e.address...)
	}
	return nil
}

// link asks for another address; one with blanks or control characters in it is not one link.
func (e *exec) link(address string) string {
	if strings.IndexFunc(address, func(r rune) bool { return r <= ' ' || r == 0x7f }) >= 0 {
		return ""
	}
	return e.linker.Link(address)
}
