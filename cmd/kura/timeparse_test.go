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
		{"2026-03-01 10:00", true, "2026-03-01T08:00:00Z"},
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
