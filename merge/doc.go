// Package merge renders merge tags: a small subset of Liquid, compiled once and rendered for each recipient.
//
//	t, err := merge.Compile("Dear {{ first_name | default: 'friend' | capitalize }},", merge.Options{Part: merge.Text})
//	out, err = t.Render(out[:0], vars, merge.Limits{})
//
// # The language
//
//	{{ path | filter: argument, … }}      a value, escaped for the part it stands in
//	{% if %} {% elsif %} {% else %} {% endif %}      {% unless %} … {% endunless %}
//	{% for x in list limit:n offset:n reversed %} … {% else %} … {% endfor %}      with forloop.index, index0, rindex, first, last, length
//	{% comment %} … {% endcomment %}      {% raw %} … {% endraw %}      {{- and -}}, {%- and -%} strip the white space beside them
//
// A path is names and places: data.items[0].name, recipient.email, ["First Name"]; names may be any Unicode letters. Conditions know
// ==, !=, <, <=, >, >=, contains, and, or (read from the right, as in Liquid), the literals true, false, nil, empty, blank, numbers
// and strings. An unknown filter or tag, a wrong number of arguments or a bad format is a [SyntaxError] with line and column.
//
// # Missing values
//
// Nobody is ever greeted as "Dear ,". A value that is absent, null, or a string of nothing but white space is missing: written out
// without a default it ends the rendering with a [MissingError], and the person is skipped. Filters pass a missing value on, only
// default replaces it; {{ x | default: "" }} says that nothing is fine. In conditions a missing value is nil; a list that is
// missing is an empty one.
//
// # Promises
//
// A value never changes the structure of what it is spliced into: see [Part]. A template cannot run away: [Limits] bound its steps
// and its output, its source and its nesting are bounded when it is compiled, and there is no way to store or to recurse. A
// [Template] is used by many goroutines at once.
package merge
