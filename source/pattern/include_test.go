package pattern_test

import (
	"strings"
	"testing"

	"github.com/kura-backup/kura/source/pattern"
)

func TestBelow_WhatLiesBelowAMatch_MatchesUnlessTakenBack(t *testing.T) {
	l, err := pattern.Parse([]string{"/home/me", "*.txt", "!/home/me/cache", "/home/me/cache/keep"})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		"/home": false, "/home/me": true, "/home/me/a/b/c": true, "/home/you/a": false, "/home/you/a.txt": true,
		"/home/me/cache": false, "/home/me/cache/x": false, "/home/me/cache/keep": true, "/home/me/cache/keep/x/y": true,
		"/srv/a.txt/below": true,
	} {
		d := l.Below()
		names := strings.Split(path[1:], "/")
		for _, name := range names[:len(names)-1] {
			d = d.Child(name)
		}
		if got := d.Match(names[len(names)-1]); got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
}
