package merge

import (
	"slices"
	"strings"
)

// Compile reads a template. An error is a *[SyntaxError].
func Compile(src string, opts Options) (*Template, error) {
	if len(src) > maxSource {
		return nil, &SyntaxError{Line: 1, Column: 1, Message: "the template is larger than 2 MB; shorten it"}
	}
	c := &compiler{src: src, opts: opts, t: &Template{part: opts.Part}}
	nodes, end, err := c.block(nil, 0)
	if err != nil {
		return nil, err
	}
	if end.name != "" {
		return nil, c.errorAt(end.pos, "%s has nothing to end or to continue; remove it, or open its block before", end.name)
	}
	if opts.Links && (opts.Part == HTML || opts.Part == Text) {
		nodes, _ = c.linked(markup{}, nodes, 0)
	}
	if opts.Part == HTML {
		c.t.placed(markup{}, nodes)
	}
	c.t.nodes = nodes
	c.t.variables = sortedOnce(c.variables)
	c.t.required = sortedOnce(c.required)
	return c.t, nil
}

func sortedOnce(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

type compiler struct {
	src       string
	opts      Options
	t         *Template
	pos       int
	trim      bool // the next text loses its leading white space
	scopes    []string
	blocks    int // blocks around
	variables []string
	required  []string
}

func (c *compiler) errorAt(pos int, format string, args ...any) error {
	return syntax(c.src, pos, format, args...)
}

// tag is a {% … %} that ends or continues a block.
type tag struct {
	name string
	pos  int
	p    *parser
}

// block compiles up to a tag among ends, which it answers, or to the end of the source (an empty tag).
func (c *compiler) block(ends []string, opened int) ([]node, tag, error) {
	if c.blocks > maxDepth {
		return nil, tag{}, c.errorAt(opened, "blocks are nested deeper than %d; take some apart", maxDepth)
	}
	var nodes []node
	for {
		open := c.nextTag()
		text := c.src[c.pos:open]
		if c.trim {
			text = strings.TrimLeft(text, " \t\r\n\v\f")
		}
		if strings.HasPrefix(c.src[open:], "{{-") || strings.HasPrefix(c.src[open:], "{%-") {
			text = strings.TrimRight(text, " \t\r\n\v\f")
		}
		c.trim = false
		nodes = c.literal(nodes, text)
		c.pos = open
		if open == len(c.src) {
			if ends != nil {
				return nil, tag{}, c.errorAt(opened, "this block is never ended; add {%% %s %%}", ends[len(ends)-1])
			}
			return nodes, tag{}, nil
		}
		p, err := c.readTag()
		if err != nil {
			return nil, tag{}, err
		}
		if c.src[open+1] == '{' {
			out, err := c.output(p)
			if err != nil {
				return nil, tag{}, err
			}
			nodes = append(nodes, node{kind: nodeOutput, out: out})
			continue
		}
		name := p.next()
		if name.kind != tokenName {
			return nil, tag{}, c.errorAt(name.pos, "a tag begins with its name, not with %s", name)
		}
		if slices.Contains(ends, name.text) || isInner(name.text) {
			if !slices.Contains(ends, name.text) && ends != nil {
				return nil, tag{}, c.errorAt(name.pos, "%s does not fit here; the open block wants %s", name.text, strings.Join(ends, " or "))
			}
			return nodes, tag{name.text, open, p}, nil
		}
		if nodes, err = c.statement(nodes, name, p, open); err != nil {
			return nil, tag{}, err
		}
	}
}

func isInner(name string) bool {
	switch name {
	case "elsif", "else", "endif", "endunless", "endfor", "endraw", "endcomment":
		return true
	}
	return false
}

func (c *compiler) statement(nodes []node, name token, p *parser, open int) ([]node, error) {
	switch name.text {
	case "if", "unless":
		n, err := c.ifBlock(name.text, p, open)
		return append(nodes, n), err
	case "for":
		n, err := c.forBlock(p, open)
		return append(nodes, n), err
	case "raw", "comment":
		if err := p.end(); err != nil {
			return nil, err
		}
		text, err := c.verbatim(name.text, open)
		if err != nil || name.text == "comment" {
			return nodes, err
		}
		return c.literal(nodes, text), nil
	case "elseif":
		return nil, c.errorAt(name.pos, "unknown tag elseif; it is called elsif")
	}
	return nil, c.errorAt(name.pos, "unknown tag %s; the tags are if, elsif, else, unless, for, comment and raw", name.text)
}

// literal adds text between tags.
func (c *compiler) literal(nodes []node, text string) []node {
	if c.opts.Part == Header {
		text = string(appendHeader(nil, text))
	}
	if text == "" {
		return nodes
	}
	c.t.literals = append(c.t.literals, text)
	return append(nodes, node{kind: nodeLiteral, literal: len(c.t.literals) - 1})
}

func (c *compiler) nextTag() int {
	for i := c.pos; ; i++ {
		n := strings.IndexByte(c.src[i:], '{')
		if n < 0 || i+n+1 >= len(c.src) {
			return len(c.src)
		}
		i += n
		if c.src[i+1] == '{' || c.src[i+1] == '%' {
			return i
		}
	}
}

// readTag reads the tag at c.pos and moves behind it.
func (c *compiler) readTag() (*parser, error) {
	open := c.pos
	closing := "}}"
	if c.src[open+1] == '%' {
		closing = "%}"
	}
	from := open + 2
	if from < len(c.src) && c.src[from] == '-' {
		from++
	}
	to := from
	for quote := byte(0); ; to++ {
		if to >= len(c.src) {
			return nil, c.errorAt(open, "%s is never closed; close it with %s, or write {%% raw %%}…{%% endraw %%} around text that means it", c.src[open:open+2], closing)
		}
		b := c.src[to]
		switch {
		case quote != 0:
			if b == quote {
				quote = 0
			}
		case b == '"' || b == '\'':
			quote = b
		case strings.HasPrefix(c.src[to:], closing):
			c.pos = to + 2
			if to > from && c.src[to-1] == '-' {
				to--
				c.trim = true
			}
			list, err := tokens(c.src, from, to)
			return &parser{c: c, tokens: list}, err
		}
	}
}

// verbatim reads up to the end tag of raw or comment.
func (c *compiler) verbatim(name string, open int) (string, error) {
	from := c.pos
	leading := c.trim
	for i := from; ; i++ {
		n := strings.Index(c.src[i:], "{%")
		if n < 0 {
			return "", c.errorAt(open, "this block is never ended; add {%% end%s %%}", name)
		}
		i += n
		inner := c.src[i+2:]
		end := strings.Index(inner, "%}")
		if end < 0 {
			return "", c.errorAt(open, "this block is never ended; add {%% end%s %%}", name)
		}
		inner = inner[:end]
		if strings.TrimSpace(strings.TrimSuffix(strings.TrimPrefix(inner, "-"), "-")) != "end"+name {
			continue
		}
		text := c.src[from:i]
		if leading {
			text = strings.TrimLeft(text, " \t\r\n\v\f")
		}
		if strings.HasPrefix(inner, "-") {
			text = strings.TrimRight(text, " \t\r\n\v\f")
		}
		c.trim = strings.HasSuffix(inner, "-")
		c.pos = i + 2 + end + 2
		return text, nil
	}
}

func (c *compiler) ifBlock(name string, p *parser, open int) (node, error) {
	c.blocks++
	defer func() { c.blocks-- }()
	n := node{kind: nodeIf}
	when, err := p.condition()
	if err != nil {
		return n, err
	}
	if name == "unless" {
		when = &condition{op: opTruth, a: operand{lit: Bool(true)}, and: true, rest: when, negate: true}
	}
	end := "end" + name
	ends := []string{"elsif", "else", end}
	for {
		body, stop, err := c.block(ends, open)
		if err != nil {
			return n, err
		}
		n.arms = append(n.arms, arm{when, body})
		switch stop.name {
		case "elsif":
			if when, err = stop.p.condition(); err != nil {
				return n, err
			}
			continue
		case "else":
			if next := stop.p.tokens[stop.p.at]; next.kind == tokenName && next.text == "if" {
				return n, c.errorAt(next.pos, "else takes no condition; it is called elsif")
			}
			when, ends = nil, []string{end}
		}
		if err := stop.p.end(); err != nil {
			return n, err
		}
		if stop.name == end {
			return n, nil
		}
	}
}

func (c *compiler) forBlock(p *parser, open int) (node, error) {
	c.blocks++
	defer func() { c.blocks-- }()
	l, name, err := p.loop()
	if err != nil {
		return node{}, err
	}
	l.slot = len(c.scopes)
	c.scopes = append(c.scopes, name)
	c.t.slots = max(c.t.slots, len(c.scopes))
	body, stop, err := c.block([]string{"else", "endfor"}, open)
	c.scopes = c.scopes[:l.slot]
	if err != nil {
		return node{}, err
	}
	if err := stop.p.end(); err != nil {
		return node{}, err
	}
	l.body = body
	if stop.name == "else" {
		if l.none, stop, err = c.block([]string{"endfor"}, open); err != nil {
			return node{}, err
		}
		if err := stop.p.end(); err != nil {
			return node{}, err
		}
	}
	return node{kind: nodeFor, loop: l}, nil
}
