package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// FuzzParseTime parses the times of flags: what parses is a time that snapshots can have, and is parsed to the
// same from its usual form.
func FuzzParseTime(f *testing.F) {
	for _, s := range []string{"2026-01-02", "2026-01-02 15:04", "2026-01-02T15:04:05+02:00", "1969-12-31", "9999-01-01", "0", ""} {
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, s string, endOfDay bool) {
		at, err := parseTime("--time", s, endOfDay)
		if err != nil {
			return
		}
		again, err := parseTime("--time", at.Format(time.RFC3339Nano), endOfDay)
		if err != nil || !again.Equal(at) || at.Unix() < 0 || time.Unix(0, at.UnixNano()).Unix() != at.Unix() {
			t.Fatalf("%q is %v, which is %v: %v", s, at, again, err)
		}
	})
}

// FuzzParseSize parses sizes of flags.
func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"0", "1", "500m", "8388608T", "9223372036854775807", "b", "-1", "1kb", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := parseSize("--size", s); err == nil && n < 0 {
			t.Fatalf("%q is %d", s, n)
		}
	})
}

// FuzzTextFiles reads files of patterns and of paths: lines have no ends left, and a list of raw paths is its parts.
func FuzzTextFiles(f *testing.F) {
	name := filepath.Join(f.TempDir(), "list")
	f.Add([]byte("# a\n*.go\r\n\n $HOME \n"))
	f.Add([]byte("\xff\xfea\x00\n\x00"))
	f.Add([]byte("\xfe\xff\x00a\x00"))
	f.Add([]byte("\xef\xbb\xbfa\x00b\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, line := range textLines(data) {
			if strings.Contains(line, "\n") {
				t.Fatalf("line %q", line)
			}
		}
		for _, line := range meaningful(textLines(data)) {
			if line == "" || line[0] == '#' || strings.TrimSpace(line) != line {
				t.Fatalf("line %q", line)
			}
		}
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		paths, err := new(app).rawPaths(name)
		if err == nil && len(data) > 0 && strings.Join(paths, "\x00")+"\x00" != string(data) {
			t.Fatalf("%q", paths)
		}
	})
}
