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
// flag says "until then"; so is a second.
func parseTime(flag, s string, until bool) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		if until {
			t = endOfSecond(t)
		}
		return checkTime(flag, s, t)
	}
	for _, layout := range timeLayouts {
		t, err := time.ParseInLocation(layout, s, time.Local)
		if err != nil {
			continue
		}
		date, err := time.Parse(time.DateOnly, s)
		switch isDate := err == nil; {
		case isDate && until:
			t = beginning(date.AddDate(0, 0, 1)).Add(-1)
		case isDate:
			t = beginning(date)
		case until:
			t = endOfSecond(later(t))
		}
		return checkTime(flag, s, t)
	}
	return time.Time{}, usage(fmt.Sprintf("%s: %q is not a time", flag, s),
		`write it as "2026-03-01 18:00", 2026-03-01 or 2026-03-01T18:00:00+01:00`)
}

// beginning returns the first moment of a date, given as its midnight in UTC, in the local time zone. There is no midnight where
// clocks go forward then, and there are two where they go back behind it: of neither does time.Date say which moment it returns.
func beginning(date time.Time) time.Time {
	for t := date.Add(-36 * time.Hour); ; { // no zone is so far ahead
		_, offset := t.Local().Zone()
		_, change := t.Local().ZoneBounds()
		first := date.Add(-time.Duration(offset) * time.Second)
		if first.Before(t) {
			first = t // clocks have gone forward over it
		}
		if change.IsZero() || first.Before(change) {
			return first.Local()
		}
		t = change
	}
}

// later returns the second of the two moments that a time of day is where clocks go back over it.
func later(t time.Time) time.Time {
	_, change := t.ZoneBounds()
	if change.IsZero() {
		return t
	}
	_, offset := t.Zone()
	_, next := change.Zone()
	if again := t.Add(time.Duration(offset-next) * time.Second); offset > next && !again.Before(change) {
		return again
	}
	return t
}

// endOfSecond returns the end of a second that was named without a fraction. Times of snapshots are shown like that, and who copies one from
// there means that snapshot.
func endOfSecond(t time.Time) time.Time {
	if t.Nanosecond() == 0 {
		return t.Add(time.Second - 1)
	}
	return t
}

// checkTime refuses times that snapshots can not have: they are counted in nanoseconds in 64 bits, and
// before 1970 there were none.
func checkTime(flag, s string, t time.Time) (time.Time, error) {
	if t.Unix() < 0 || t.Year() > 2200 {
		return time.Time{}, usage(fmt.Sprintf("%s: %q is not between 1970 and 2200", flag, s))
	}
	return t, nil
}
