package restore

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kura-backup/kura/restore/internal/jail"
)

// Not every kernel has file systems that take two names for one, so here a look-up does.
func TestDropSpellings_WhatTheSnapshotHasUnderAnotherName_IsNotDeleted(t *testing.T) {
	const listed = "Docs Inc README extra new"
	target := t.TempDir()
	for _, name := range strings.Fields(listed) {
		if err := os.WriteFile(filepath.Join(target, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := jail.View(target)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	exact := func(name string) (jail.Identity, bool) {
		info, err := dir.Lstat(name)
		return info.Identity, err == nil
	}
	folding := func(name string) (jail.Identity, bool) {
		for _, other := range strings.Fields(listed) {
			if strings.EqualFold(strings.TrimRight(name, "."), other) {
				name = other
			}
		}
		return exact(name)
	}
	for _, c := range []struct {
		identify                 func(string) (jail.Identity, bool)
		surplus, snapshot, wants string
	}{
		{exact, "Docs Inc README extra", "Inc. docs gone new readme", "Docs Inc README extra"},
		{folding, "Docs Inc README extra", "Inc. docs gone new readme", "extra"},
		{folding, "Docs Inc README extra", "gone new", "Docs Inc README extra"},
		{folding, "README extra replaced", "docs Inc", "README extra"}, // something else has the place by now
		{folding, "replaced", "", ""},
	} {
		names := map[string]struct{}{}
		for _, name := range strings.Fields(c.snapshot) {
			names[name] = struct{}{}
		}
		got := dropSpellings(strings.Fields(c.surplus), strings.Fields(listed), names, c.identify)
		if want := strings.Fields(c.wants); !slices.Equal(got, want) {
			t.Errorf("of %s with %s in the snapshot: %q, want %q", c.surplus, c.snapshot, got, want)
		}
	}
}
