package sqlstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"fanfare"
)

// Attributes are kept as one JSON object, names in order. Reading and writing it is most of the work of an import and of a batch's
// profiles, so it is done here for the four types that an attribute has; encoding/json is asked for strings that need escapes.

// appendAttributes writes what is not nil; an object of nothing is left out.
func appendAttributes(to []byte, attributes map[string]any) ([]byte, error) {
	var few [16]string
	names := few[:0]
	for name, value := range attributes {
		if value != nil {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return to, nil
	}
	slices.Sort(names)
	to = append(to, '{')
	for i, name := range names {
		if i > 0 {
			to = append(to, ',')
		}
		to = append(appendString(to, name), ':')
		switch v := attributes[name].(type) {
		case string:
			to = appendString(to, v)
		case float64:
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return to, fmt.Errorf("attribute %s: %w: %v is no number that can be kept", name, fanfare.ErrUsage, v)
			}
			to = strconv.AppendFloat(to, v, 'g', -1, 64)
		case bool:
			to = strconv.AppendBool(to, v)
		case []string:
			to = append(to, '[')
			for k, s := range v {
				if k > 0 {
					to = append(to, ',')
				}
				to = appendString(to, s)
			}
			to = append(to, ']')
		default:
			return to, fmt.Errorf("attribute %s: %w: it is a %T; strings, numbers, booleans and lists of strings are kept", name, fanfare.ErrUsage, v)
		}
	}
	return append(to, '}'), nil
}

func appendString(to []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			if c >= utf8.RuneSelf && utf8.ValidString(s) && !escapes(s) {
				break
			}
			quoted, _ := json.Marshal(s) // a string always can be
			return append(to, quoted...)
		}
	}
	return append(append(append(to, '"'), s...), '"')
}

func escapes(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' {
			return true
		}
	}
	return false
}

var errNotJSON = errors.New("not the JSON of attributes")

// attributesOf reads what appendAttributes wrote.
func attributesOf(text string) (map[string]any, error) {
	if len(text) == 0 {
		return nil, nil
	}
	r := attributeReader{text}
	attributes := make(map[string]any, 4)
	if !r.take('{') {
		return nil, errNotJSON
	}
	for first := true; !r.take('}'); first = false {
		if !first && !r.take(',') {
			return nil, errNotJSON
		}
		name, err := r.string()
		if err != nil {
			return nil, err
		}
		if !r.take(':') {
			return nil, errNotJSON
		}
		if attributes[name], err = r.value(); err != nil {
			return nil, err
		}
	}
	if len(r.rest) > 0 {
		return nil, errNotJSON
	}
	return attributes, nil
}

type attributeReader struct{ rest string }

func (r *attributeReader) take(c byte) bool {
	if len(r.rest) == 0 || r.rest[0] != c {
		return false
	}
	r.rest = r.rest[1:]
	return true
}

func (r *attributeReader) string() (string, error) {
	if len(r.rest) < 2 || r.rest[0] != '"' {
		return "", errNotJSON
	}
	for i, escaped := 1, false; i < len(r.rest); i++ {
		switch r.rest[i] {
		case '\\':
			escaped = true
			i++
		case '"':
			token := r.rest[:i+1]
			r.rest = r.rest[i+1:]
			if !escaped {
				return token[1:i], nil
			}
			var s string
			return s, json.Unmarshal([]byte(token), &s)
		}
	}
	return "", errNotJSON
}

func (r *attributeReader) value() (any, error) {
	if len(r.rest) == 0 {
		return nil, errNotJSON
	}
	switch r.rest[0] {
	case '"':
		return r.string()
	case '[':
		list := []string{}
		r.take('[')
		for first := true; !r.take(']'); first = false {
			if !first && !r.take(',') {
				return nil, errNotJSON
			}
			s, err := r.string()
			if err != nil {
				return nil, err
			}
			list = append(list, s)
		}
		return list, nil
	}
	end := strings.IndexAny(r.rest, ",}")
	if end < 0 {
		return nil, errNotJSON
	}
	token := r.rest[:end]
	r.rest = r.rest[end:]
	switch token {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	f, err := strconv.ParseFloat(token, 64)
	if err != nil {
		return nil, errNotJSON
	}
	return f, nil
}
