package main

import (
	"fmt"
	"time"
)

// timeLayouts are the ways to write a time, besides RFC 3339. They are in the local time zone.
var timeLayouts = []string{
	"2006-01-02 15:04:05",
	"2006-01-02T15:04:05",
	"2006-01-02 15:04",
	"2006-01-02",
}

// parseTime understands the time that a flag names. A date alone is its beginning, or its end where the
// flag says "until then".
func parseTime(flag, s string, endOfDay bool) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return checkTime(flag, s, t)
	}
	for _, layout := range timeLayouts {
		t, err := time.ParseInLocation(layout, s, time.Local)
		if err != nil {
			continue
		}
		if layout == "2006-01-02" && endOfDay {
			t = t.AddDate(0, 0, 1).Add(-1)
		}
		return checkTime(flag, s, t)
	}
	return time.Time{}, usage(fmt.Sprintf("%s: %q is not a time", flag, s),
		`write it as "2026-03-01 18:00", 2026-03-01 or 2026-03-01T18:00:00+01:00`)
}

// checkTime refuses times that snapshots can not have: they are counted in nanoseconds in 64 bits, and
// before 1970 there were none.
func checkTime(flag, s string, t time.Time) (time.Time, error) {
	if t.Unix() < 0 || t.Year() > 2200 {
		return time.Time{}, usage(fmt.Sprintf("%s: %q is not between 1970 and 2200", flag, s))
	}
	return t, nil
}
