package config

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"
)

// Size is a number of bytes, written like 256MB (1 MB is 1,048,576 bytes) or as a plain number.
type Size int64

// The bounds of a size.
const (
	leastSize Size = 1 << 20
	mostSize  Size = 1 << 40
)

// ParseSize reads a size.
func ParseSize(s string) (Size, error) {
	digits := strings.TrimRight(s, " ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
	unit := Size(1)
	switch strings.ToUpper(strings.TrimSpace(s[len(digits):])) {
	case "", "B":
	case "KB", "KIB", "K":
		unit = 1 << 10
	case "MB", "MIB", "M":
		unit = 1 << 20
	case "GB", "GIB", "G":
		unit = 1 << 30
	default:
		return 0, fmt.Errorf("%q is no size; write it like 256MB or 1GB", s)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 64)
	switch {
	case err != nil && len(digits) < 20:
		return 0, fmt.Errorf("%q is no size; write it like 256MB or 1GB", s)
	case err != nil || n > uint64(mostSize/unit):
		return 0, fmt.Errorf("%q is too much; write at most 1024GB", s)
	case Size(n)*unit < leastSize: //nolint:gosec // bounded
		return 0, fmt.Errorf("%q is too little; write at least 1MB, like 256MB", s)
	}
	return Size(n) * unit, nil //nolint:gosec // bounded
}

// Decode implements kong.MapperValue: a key of the file may be a text or a number.
func (s *Size) Decode(c *kong.DecodeContext) error {
	t, err := c.Scan.PopValue("size")
	if err == nil {
		*s, err = ParseSize(fmt.Sprint(t.Value))
	}
	return err
}
