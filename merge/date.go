package merge

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// dateFormat is a strftime format, checked when compiled.
type dateFormat struct {
	format string
	zone   *time.Location // nil: the value's own offset
}

const (
	maxFormat  = 200
	directives = "YyCmBbhdejHkIlMSLpPZzAauwsUWVGFTDRrcxXnt%"
)

// parseFormat refuses what date would not understand.
func parseFormat(s string) error {
	if len(s) > maxFormat {
		return fmt.Errorf("the date format is longer than %d bytes", maxFormat)
	}
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			continue
		}
		i++
		for i < len(s) && strings.IndexByte("-^0:", s[i]) >= 0 {
			i++
		}
		if i == len(s) {
			return fmt.Errorf("the date format ends within a %% directive; write %%%% for a percent sign")
		}
		if strings.IndexByte(directives, s[i]) < 0 {
			return fmt.Errorf("unknown date directive %%%c; use one of %%Y %%m %%d %%H %%M %%S %%b %%B %%a %%A %%j %%p %%Z %%z %%s %%F %%T and the like", s[i])
		}
	}
	return nil
}

// date formats a time; what is none is answered unchanged, as in Liquid.
func (e *exec) date(f *dateFormat, v Value) Value {
	if v.kind == kindString && (v.str == "now" || v.str == "today") {
		v = e.vars.Lookup([]string{"now"})
	}
	t, ok := readTime(v)
	if !ok {
		return v
	}
	if f.zone != nil {
		t = t.In(f.zone)
	}
	return String(string(appendTime(nil, t, f.format)))
}

// maxUnix is the last second of the year 9999.
const maxUnix = 253402300799

func readTime(v Value) (time.Time, bool) {
	switch v.kind {
	case kindTime:
		return v.ref.(time.Time), true
	case kindInt:
		n := v.int()
		return time.Unix(n, 0).UTC(), n >= -maxUnix/10 && n <= maxUnix
	case kindFloat:
		f := v.float()
		if f < -maxUnix/10 || f > maxUnix {
			return time.Time{}, false
		}
		return time.UnixMilli(int64(f * 1000)).UTC(), true
	case kindString:
		s := trimSpace(v.str)
		for _, layout := range [...]string{time.RFC3339, time.DateOnly, time.DateTime, "2006-01-02T15:04:05", "2006-01-02 15:04:05 -0700", "2006-01-02 15:04",
			"2006/01/02", "January 2, 2006", "Jan 2, 2006"} {
			if t, err := time.Parse(layout, s); err == nil {
				return t, true
			}
		}
		if n, err := strconv.ParseInt(s, 10, 64); err == nil && len(s) > 4 {
			return readTime(Int(n))
		}
	}
	return time.Time{}, false
}

// appendTime is strftime in English.
func appendTime(dst []byte, t time.Time, format string) []byte {
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			dst = append(dst, format[i])
			continue
		}
		i++
		pad, upper, colon := true, false, false
		for ; i < len(format) && strings.IndexByte("-^0:", format[i]) >= 0; i++ {
			switch format[i] {
			case '-':
				pad = false
			case '^':
				upper = true
			case ':':
				colon = true
			}
		}
		from := len(dst)
		if format[i] == 'z' && colon {
			dst = t.AppendFormat(dst, "-07:00")
		} else {
			dst = appendDirective(dst, t, format[i], pad)
		}
		if upper {
			copy(dst[from:], strings.ToUpper(string(dst[from:])))
		}
	}
	return dst
}

func appendDirective(dst []byte, t time.Time, c byte, pad bool) []byte {
	number := func(n, width int, fill byte) []byte { return appendPadded(dst, n, width, fill, pad) }
	switch c {
	case 'Y':
		return number(t.Year(), 4, '0')
	case 'y':
		return number(t.Year()%100, 2, '0')
	case 'C':
		return number(t.Year()/100, 2, '0')
	case 'm':
		return number(int(t.Month()), 2, '0')
	case 'd':
		return number(t.Day(), 2, '0')
	case 'e':
		return number(t.Day(), 2, ' ')
	case 'j':
		return number(t.YearDay(), 3, '0')
	case 'H':
		return number(t.Hour(), 2, '0')
	case 'k':
		return number(t.Hour(), 2, ' ')
	case 'I':
		return number((t.Hour()+11)%12+1, 2, '0')
	case 'l':
		return number((t.Hour()+11)%12+1, 2, ' ')
	case 'M':
		return number(t.Minute(), 2, '0')
	case 'S':
		return number(t.Second(), 2, '0')
	case 'L':
		return number(t.Nanosecond()/1e6, 3, '0')
	case 'u':
		return number((int(t.Weekday())+6)%7+1, 1, '0')
	case 'w':
		return number(int(t.Weekday()), 1, '0')
	case 's':
		return strconv.AppendInt(dst, t.Unix(), 10)
	case 'U':
		return number((t.YearDay()+6-int(t.Weekday()))/7, 2, '0')
	case 'W':
		return number((t.YearDay()+6-(int(t.Weekday())+6)%7)/7, 2, '0')
	case 'V':
		_, week := t.ISOWeek()
		return number(week, 2, '0')
	case 'G':
		year, _ := t.ISOWeek()
		return number(year, 4, '0')
	case 'n':
		return append(dst, '\n')
	case 't':
		return append(dst, '\t')
	case '%':
		return append(dst, '%')
	}
	return t.AppendFormat(dst, layoutOf(c))
}

// layoutOf are the directives that the time package can write.
func layoutOf(c byte) string {
	switch c {
	case 'B':
		return "January"
	case 'b', 'h':
		return "Jan"
	case 'A':
		return "Monday"
	case 'a':
		return "Mon"
	case 'p':
		return "PM"
	case 'P':
		return "pm"
	case 'Z':
		return "MST"
	case 'z':
		return "-0700"
	case 'F':
		return "2006-01-02"
	case 'T', 'X':
		return "15:04:05"
	case 'D', 'x':
		return "01/02/06"
	case 'R':
		return "15:04"
	case 'r':
		return "03:04:05 PM"
	default: // c
		return "Mon Jan _2 15:04:05 2006"
	}
}

func appendPadded(dst []byte, n, width int, fill byte, pad bool) []byte {
	if pad {
		for ; width > 1 && n < limitOf(width); width-- {
			dst = append(dst, fill)
		}
	}
	return strconv.AppendInt(dst, int64(n), 10)
}

// limitOf is the least number with that many digits.
func limitOf(width int) int {
	n := 1
	for ; width > 1; width-- {
		n *= 10
	}
	return n
}
