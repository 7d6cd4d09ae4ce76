package mailbody

import (
	"fmt"
	"slices"

	"fanfare/merge"
)

// Wrong is an error about a field of a content.
func Wrong(field, text string) error {
	return &FieldError{Field: field, Err: fmt.Errorf("%w: %s", ErrContent, text)}
}

// Value reads data or metadata. Numbers keep their digits.
func Value(field string, raw []byte) (merge.Value, error) {
	v, err := merge.OfJSON(raw)
	if err != nil {
		return v, &FieldError{Field: field, Err: fmt.Errorf("%w: this is no JSON: %w", ErrContent, err)}
	}
	return v, nil
}

// CheckLocale refuses what is no name of a locale, or another spelling of one that came before.
func CheckLocale(field, locale string, before []string) error {
	switch {
	case !merge.IsLocale(locale):
		return Wrong(field, "this is no locale; write one like zh-CN or de")
	case slices.ContainsFunc(before, func(other string) bool { return merge.SameLocale(other, locale) }):
		return Wrong(field, "this locale is there in another spelling; remove one")
	}
	return nil
}
