package retain

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time by the calendar.
type Duration struct {
	Years, Months, Days, Hours int
}

// maxNumber bounds the numbers in durations, so that no sum of them overflows.
const maxNumber = 1_000_000

// ParseDuration understands durations such as "1y5m7d2h": years, months, days and hours, in any order, each
// at most once.
func ParseDuration(s string) (Duration, error) {
	var d Duration
	seen := ""
	rest := strings.TrimSpace(s)
	if rest == "" {
		return d, fmt.Errorf("%w: it is empty: write 7d, 12h or 1y6m", ErrDuration)
	}
	for rest != "" {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		n, err := strconv.ParseUint(rest[:digits], 10, 64)
		if err != nil || n > maxNumber || digits == len(rest) {
			return Duration{}, fmt.Errorf("%w: %q: write 7d, 12h or 1y6m", ErrDuration, s)
		}
		unit := rest[digits]
		field := map[byte]*int{'y': &d.Years, 'm': &d.Months, 'd': &d.Days, 'h': &d.Hours}[unit]
		if field == nil || strings.IndexByte(seen, unit) >= 0 {
			return Duration{}, fmt.Errorf("%w: %q: the units are y, m (months), d and h, each once", ErrDuration, s)
		}
		*field = int(n)
		seen += string(unit)
		rest = rest[digits+1:]
	}
	return d, nil
}

// IsZero reports whether the duration is no time at all.
func (d Duration) IsZero() bool { return d == Duration{} }

// String is what ParseDuration understands.
func (d Duration) String() string {
	var b strings.Builder
	for _, part := range []struct {
		n    int
		unit string
	}{{d.Years, "y"}, {d.Months, "m"}, {d.Days, "d"}, {d.Hours, "h"}} {
		if part.n != 0 {
			fmt.Fprintf(&b, "%d%s", part.n, part.unit)
		}
	}
	if b.Len() == 0 {
		return "0h"
	}
	return b.String()
}

// Before returns the time that is so long before t, in t's zone.
func (d Duration) Before(t time.Time) time.Time {
	return t.AddDate(-d.Years, -d.Months, -d.Days).Add(-time.Duration(d.Hours) * time.Hour)
}
