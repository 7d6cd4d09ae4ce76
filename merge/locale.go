package merge

import (
	"strings"
)

// IsLocale says whether s can name a locale: letters, digits and hyphens or underscores between them, as in zh-CN.
func IsLocale(s string) bool {
	for part := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == '-' || r == '_' }) {
		for _, r := range part {
			if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') {
				return false
			}
		}
	}
	return s != "" && len(s) <= 64 && strings.Trim(s, "-_") == s
}

// PickLocale gives the place of the one of n locales that somebody with a locale gets: that locale, or what is left of it without its last
// subtags; −1 if there is none.
func PickLocale(locale string, n int, at func(i int) string) int {
	for n > 0 && locale != "" {
		for i := range n {
			if SameLocale(at(i), locale) {
				return i
			}
		}
		locale = locale[:max(0, strings.LastIndexAny(locale, "-_"))]
	}
	return -1
}

// SameLocale: zh-CN, zh_CN and zh-cn are the same.
func SameLocale(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if fold(a[i]) != fold(b[i]) {
			return false
		}
	}
	return true
}

func fold(c byte) byte {
	switch {
	case c == '_':
		return '-'
	case c >= 'A' && c <= 'Z':
		return c + 'a' - 'A'
	}
	return c
}
