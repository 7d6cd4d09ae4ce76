package audience

import (
	"encoding/json"
)

// The functions of this file walk JSON that json.Valid has accepted, so they look for no mistakes. Unlike a decoder they give
// parts of the document without copying them, keep a field that is there twice, and never go deeper than asked.

type member struct {
	name  string
	value []byte
}

// typeOf gives the JSON type of a value in words.
func typeOf(v []byte) string {
	switch v[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	default:
		return "a number"
	}
}

// members gives the fields of an object in their order.
func members(v []byte) []member {
	var out []member
	for i := space(v, 1); v[i] != '}'; {
		end := valueEnd(v, i)
		name := text(v[i:end])
		i = space(v, end)
		i = space(v, i+1) // the colon
		end = valueEnd(v, i)
		out = append(out, member{name, v[i:end]})
		i = space(v, end)
		if v[i] == ',' {
			i = space(v, i+1)
		}
	}
	return out
}

// elements gives at most limit+1 elements of an array in their order.
func elements(v []byte, limit int) [][]byte {
	out := [][]byte{}
	for i := space(v, 1); v[i] != ']' && len(out) <= limit; {
		end := valueEnd(v, i)
		out = append(out, v[i:end])
		i = space(v, end)
		if v[i] == ',' {
			i = space(v, i+1)
		}
	}
	return out
}

// trim gives a document without the space around it.
func trim(v []byte) []byte {
	i := space(v, 0)
	return v[i:valueEnd(v, i)]
}

func space(v []byte, i int) int {
	for i < len(v) && (v[i] == ' ' || v[i] == '\n' || v[i] == '\t' || v[i] == '\r') {
		i++
	}
	return i
}

// valueEnd gives the index behind the value that begins at i.
func valueEnd(v []byte, i int) int {
	depth := 0
	for {
		switch v[i] {
		case '{', '[':
			depth++
			i++
		case '}', ']':
			depth--
			i++
		case '"':
			i = stringEnd(v, i)
		case ',', ':', ' ', '\n', '\t', '\r':
			i++
		default:
			i = wordEnd(v, i)
		}
		if depth == 0 {
			return i
		}
	}
}

func stringEnd(v []byte, i int) int {
	for i++; v[i] != '"'; i++ {
		if v[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// wordEnd gives the end of a number, true, false or null.
func wordEnd(v []byte, i int) int {
	for i < len(v) {
		switch v[i] {
		case ',', ':', '}', ']', ' ', '\n', '\t', '\r':
			return i
		}
		i++
	}
	return i
}

// text decodes a JSON string.
func text(v []byte) string {
	var s string
	_ = json.Unmarshal(v, &s) // v is a valid string
	return s
}
