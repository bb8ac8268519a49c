package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestGlob_WhatCanBeLookedAt_IsAsFilepathHasIt: only errors make a difference.
func TestGlob_WhatCanBeLookedAt_IsAsFilepathHasIt(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"a/data", "a/b/data", "a/b/[x]", ".hidden/data", "b/other", "c c/data", "é/data"} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(root)
	for _, p := range []string{
		"*", "*/data", "*/*", "*/*/*", "a/*/data", "?/data", "[ab]/*", `a/b/\[x\]`, `c\ c/data`, "./*/data", "../*/a", "a//b/*",
		"a", "a/data", "missing", "missing/*", "*/missing", "a/data/*", "*/data/x", ".*/*", "/*", "/tm[p]", root + "/*/data", "é*/d*", "**/data", "a/.",
	} {
		want, err := filepath.Glob(p)
		if err != nil {
			t.Fatal(err)
		}
		got, err := glob(p)
		for i := range got {
			got[i] = filepath.Clean(got[i])
		}
		for i := range want {
			want[i] = filepath.Clean(want[i])
		}
		slices.Sort(want)
		if slices.Sort(got); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v; want %q", p, got, err, want)
		}
	}
	for p, want := range map[string]string{"*/b/": "a/b/", "*/b/.": "a/b/.", "*//b": "a//b"} { // of which filepath.Glob has nothing
		if got, err := glob(p); err != nil || !slices.Equal(got, []string{want}) {
			t.Errorf("%s: %q, %v", p, got, err)
		}
	}
	for _, p := range []string{"[", "a/[", "*/[]", `\`, "[a/b]", "missing/[/x"} {
		if got, err := glob(p); err == nil {
			t.Errorf("%s is taken: %q", p, got)
		}
	}
}
