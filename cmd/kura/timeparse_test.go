package main

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestParseTime_Table(t *testing.T) {
	old := time.Local
	time.Local = time.FixedZone("test", 2*60*60)
	t.Cleanup(func() { time.Local = old })
	for _, c := range []struct {
		in       string
		endOfDay bool
		want     string // in UTC, or "" for an error
	}{
		{"2026-03-01T10:00:00Z", false, "2026-03-01T10:00:00Z"},
		{"2026-03-01T10:00:00.25+02:00", false, "2026-03-01T08:00:00.25Z"},
		{"2026-03-01 10:00:00", false, "2026-03-01T08:00:00Z"},
		{"2026-03-01T10:00:00", false, "2026-03-01T08:00:00Z"},
		{"2026-03-01 10:00", true, "2026-03-01T08:00:00.999999999Z"},
		{"2026-03-01 10:00:59", true, "2026-03-01T08:00:59.999999999Z"},
		{"2026-03-01 10:00:59.5", true, "2026-03-01T08:00:59.5Z"},
		{"2026-03-01T10:00:00Z", true, "2026-03-01T10:00:00.999999999Z"},
		{"2026-03-01T10:00:00.25Z", true, "2026-03-01T10:00:00.25Z"},
		{"2026-03-01", false, "2026-02-28T22:00:00Z"},
		{"2026-03-01", true, "2026-03-01T21:59:59.999999999Z"},
		{"1970-01-02", false, "1970-01-01T22:00:00Z"},
		{"1969-12-31", false, ""},
		{"2300-01-01", false, ""},
		{"2026-02-30", false, ""},
		{"yesterday", false, ""},
		{"", false, ""},
		{"1740000000", false, ""},
	} {
		got, err := parseTime("--at", c.in, c.endOfDay)
		if c.want == "" {
			if exitCode(context.Background(), err) != exitUsage {
				t.Errorf("%q: %v, %v", c.in, got, err)
			}
			continue
		}
		if text := got.UTC().Format(time.RFC3339Nano); err != nil || text != c.want {
			t.Errorf("%q: %s, %v, want %s", c.in, text, err, c.want)
		}
	}
}

// Where clocks change at midnight a day begins at one o'clock, or has two midnights, and an hour of it was lost.
func TestParseTime_ClocksChange_DaysAreWhole(t *testing.T) {
	old := time.Local
	t.Cleanup(func() { time.Local = old })
	for _, c := range []struct{ zone, day, first, last string }{
		{"Europe/Berlin", "2026-10-25 02:30", "", "2026-10-25T02:30:00.999999999+01:00"}, // there are two
		{"America/New_York", "2026-11-01 01:30", "", "2026-11-01T01:30:00.999999999-05:00"},
		{"Europe/Berlin", "2026-10-25 01:59:59", "", "2026-10-25T01:59:59.999999999+02:00"},
		{"Europe/Berlin", "2026-10-25 03:00", "", "2026-10-25T03:00:00.999999999+01:00"},
		{"America/Santiago", "2026-09-05", "2026-09-05T00:00:00-04:00", "2026-09-05T23:59:59.999999999-04:00"},
		{"America/Santiago", "2026-09-06", "2026-09-06T01:00:00-03:00", "2026-09-06T23:59:59.999999999-03:00"},
		{"America/Santiago", "2026-04-04", "2026-04-04T00:00:00-03:00", "2026-04-04T23:59:59.999999999-04:00"},
		{"America/Havana", "2026-03-08", "2026-03-08T01:00:00-04:00", "2026-03-08T23:59:59.999999999-04:00"},
		{"America/Havana", "2026-11-01", "2026-11-01T00:00:00-04:00", "2026-11-01T23:59:59.999999999-05:00"},
		{"Africa/Cairo", "2026-04-24", "2026-04-24T01:00:00+03:00", "2026-04-24T23:59:59.999999999+03:00"},
		{"Africa/Cairo", "2026-10-29", "2026-10-29T00:00:00+03:00", "2026-10-29T23:59:59.999999999+02:00"},
		{"Asia/Amman", "2021-10-29", "2021-10-29T00:00:00+03:00", "2021-10-29T23:59:59.999999999+02:00"},
		{"Asia/Amman", "2021-10-28", "2021-10-28T00:00:00+03:00", "2021-10-28T23:59:59.999999999+03:00"},
		{"Europe/Berlin", "2026-03-29", "2026-03-29T00:00:00+01:00", "2026-03-29T23:59:59.999999999+02:00"},
		{"Pacific/Kiritimati", "2026-03-29", "2026-03-29T00:00:00+14:00", "2026-03-29T23:59:59.999999999+14:00"},
		{"Etc/GMT+12", "2028-02-29", "2028-02-29T00:00:00-12:00", "2028-02-29T23:59:59.999999999-12:00"},
	} {
		zone, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Skipf("no time zones here: %v", err)
		}
		time.Local = zone
		for _, end := range []bool{false, true} {
			want := c.first
			if end {
				want = c.last
			}
			if want == "" {
				continue // either is as good
			}
			got, err := parseTime("--at", c.day, end)
			if text := got.Format(time.RFC3339Nano); err != nil || text != want {
				t.Errorf("%s: %s: %s, %v, want %s", c.zone, c.day, text, err, want)
			}
		}
	}
}

func TestSplitTags_Table(t *testing.T) {
	got, err := splitTags([]string{"b, a", "c", "a"})
	if err != nil || len(got) != 3 || got[0] != "a" || got[2] != "c" {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "a,", ","} {
		if _, err := splitTags([]string{bad}); !errors.As(err, new(*usageError)) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
