package fuzz

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kura-backup/kura/backends/location"
	"github.com/kura-backup/kura/backends/s3"
	"github.com/kura-backup/kura/backends/sftp"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/check"
	"github.com/kura-backup/kura/restore"
	"github.com/kura-backup/kura/seal"
	"github.com/kura-backup/kura/source/ignore"
	"github.com/kura-backup/kura/source/pattern"
)

// FuzzLocation parses locations of stores: what parses is shown in a way that parses to the same from anywhere.
func FuzzLocation(f *testing.F) {
	for _, s := range []string{
		"/srv/backup", "local:/srv/x", "local:", "~/x", "./a:b", "s3:x", ":", "local:../..",
		"s3:https://host:9000/bucket/a/b", "s3://host/bucket", "s3:s3.amazonaws.com/bucket", "s3:http://[::1]:80/bucket",
		"sftp:user@host:/srv/x", "sftp:host:x", "sftp://user@host:22//srv/x", "sftp://[::1]/x",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := location.Parse(s)
		if err != nil {
			if !errors.Is(err, location.ErrLocation) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		scheme, path, _ := strings.Cut(l.String(), ":")
		again, err := location.Parse(l.String())
		if err != nil || again.String() != l.String() || scheme == "local" && !filepath.IsAbs(path) {
			t.Fatalf("%q → %q → %q, %v", s, l, again, err)
		}
		switch scheme {
		case "s3":
			if l, err := s3.ParseLocation(path); err != nil || l.String() != path {
				t.Fatalf("%q → %q, %v", path, l, err)
			}
		case "sftp":
			if l, err := sftp.ParseLocation(path); err != nil || l.String() != path {
				t.Fatalf("%q → %q, %v", path, l, err)
			}
		}
	})
}

// FuzzSnapshotName looks for the snapshots that a command was given.
func FuzzSnapshotName(f *testing.F) {
	r, _ := testrepo.New(f)
	snap := testrepo.CommitFile(f, r, []byte("x"))
	for _, s := range []string{"latest", "latest~0", "latest~1", "latest~-1", "latest~99999999999", "latest:/f", snap.ID.String()[:8], "abc", "0000", ":", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		s, path, err := r.FindSnapshot(t.Context(), name, repo.SnapshotFilter{})
		if err != nil {
			if !errors.Is(err, repo.ErrNotFound) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		if s.ID != snap.ID || !strings.HasSuffix(name, path) {
			t.Fatalf("%q is %v, %q", name, s.ID, path)
		}
		if _, err := r.FindForgotten(t.Context(), name); err == nil {
			t.Fatalf("%q was never forgotten", name)
		}
		if _, err := r.Find(t.Context(), s, path); err != nil && !errors.Is(err, repo.ErrNotFound) {
			t.Fatalf("path %q: %v", path, err)
		}
	})
}

// FuzzWords parses what flags with few possible values are given.
func FuzzWords(f *testing.F) {
	for _, s := range []string{"writer", "owner", "always", "if-newer", "3/7", "5%", "20G", "1e3%", "NaN%", "0x1p3%", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if r, err := seal.ParseRole(s); err == nil && r.String() != s {
			t.Errorf("%q is %v", s, r)
		}
		if o, err := restore.ParseOverwrite(s); err == nil && o.String() != s {
			t.Errorf("%q is %v", s, o)
		}
		if c, err := check.ParseSubset(s); err == nil && (c.IsZero() || c.Bytes < 0 || c.Part > c.Parts || c.Percent > 100) {
			t.Errorf("%q is %+v", s, c)
		}
		if n, err := check.ParseSize(s); err == nil && n <= 0 {
			t.Errorf("%q is %d", s, n)
		}
	})
}

// FuzzPatterns parses exclude patterns and ignore files of any size, and asks them about paths of any length: what
// package tests compare with slow matchers for short ones ends for all.
func FuzzPatterns(f *testing.F) {
	f.Add("*.go\n!/a/**/b\n[a-", "/a/b/c.go")
	f.Add(strings.Repeat("**/*a", 40)+"b", strings.Repeat("a/", 200))
	f.Add("\\\n#\n \n!\n/\n[!a-\\]]", "\xff/\x00")
	f.Fuzz(func(t *testing.T, text, at string) {
		lines := strings.Split(text, "\n")
		for _, parse := range []func([]string) (*pattern.List, error){pattern.Parse, pattern.ParseFold} {
			l, err := parse(lines)
			if err != nil {
				if !errors.Is(err, pattern.ErrBad) {
					t.Fatalf("error of another kind: %v", err)
				}
				continue
			}
			l.MatchPath("/" + at)
		}
		ignore.Parse([]byte(text))
	})
}
