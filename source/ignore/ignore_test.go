package ignore

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestVerdict_Lines_AsGitDocuments(t *testing.T) {
	for _, c := range []struct {
		lines, entry string // an entry with a slash at the end is a folder
		want         Verdict
	}{
		{"", "a", Silent},
		{"# a", "# a", Silent},
		{`\#a`, "#a", LeaveOut},
		{`\!a`, "!a", LeaveOut},
		{"a", "a", LeaveOut},
		{"a", "b/a", LeaveOut},
		{"/a", "b/a", Silent},
		{"b/a", "b/a", LeaveOut},
		{"b/a", "c/b/a", Silent},
		{"**/b/a", "c/b/a", LeaveOut},
		{"a/", "a", Silent},
		{"a/", "x/a/", LeaveOut},
		{"a/**", "a/x/y", LeaveOut},
		{"a/**", "a/", Silent},
		{"a/**/b", "a/b", LeaveOut},
		{"a/**/b", "a/x/y/b", LeaveOut},
		{"*.o\n!keep.o", "keep.o", Keep},
		{"!keep.o\n*.o", "keep.o", LeaveOut},
		{"a ", "a", LeaveOut},
		{`a\ `, "a ", LeaveOut},
		{"a\r\nb", "a", LeaveOut},
		{"a[", "a[", Silent},
		{"a\\", "a\\", Silent},
		{"[[:digit:]x]", "7", LeaveOut},
		{"?", "é", Silent}, // two bytes
		{"??", "é", LeaveOut},
		{"A", "a", Silent},
		{"a/*", "a/b/c", Silent},
		{"!", "!", Silent},
		{"/", "a/", Silent},
	} {
		entry, folder := strings.CutSuffix(c.entry, "/")
		names := strings.Split(entry, "/")
		d := Root(Parse([]byte(c.lines)))
		for _, name := range names[:len(names)-1] {
			d = d.Child(name, nil)
		}
		if got := d.Verdict(names[len(names)-1], folder); got != c.want {
			t.Errorf("%q on %q: %d, want %d", c.lines, c.entry, got, c.want)
		}
	}
}

func TestVerdict_NestedFiles_TheInnermostDecides(t *testing.T) {
	d := Root(Parse([]byte("*.log\n/sub/x"))).Child("plain", nil).Child("sub", Parse([]byte("!keep.log\n/x")))
	for name, want := range map[string]Verdict{"a.log": LeaveOut, "keep.log": Keep, "x": LeaveOut, "y": Silent} {
		if got := d.Verdict(name, false); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
	if got := d.Child("below", nil).Verdict("x", false); got != Silent {
		t.Errorf("an anchored pattern fits deeper: %d", got)
	}
	if Parse([]byte("# nothing\n\n   \n")) != nil {
		t.Error("a list of nothing is one")
	}
}

// slowMatch is the plainest way to match: try everything.
func slowMatch(tokens []token, s string) bool {
	if len(tokens) == 0 {
		return s == ""
	}
	t := tokens[0]
	switch t.kind {
	case folders: // and the allStar and the slash behind
		return slowMatch(tokens[3:], s) || slowMatch(tokens[1:], s)
	case star, allStar:
		for n := 0; n <= len(s); n++ {
			if slowMatch(tokens[1:], s[n:]) {
				return true
			}
			if n < len(s) && t.kind == star && s[n] == '/' {
				return false
			}
		}
		return false
	}
	return s != "" && t.takes(s[0]) && slowMatch(tokens[1:], s[1:])
}

func FuzzIgnoreFile(f *testing.F) {
	f.Add([]byte("*.o\n!/a/**/b\n[a-z]*/\n"), "a/x/b")
	f.Add([]byte("**/a**b*?[!a]\\*"), "a/b/c*")
	f.Add([]byte(`[[:alpha:]-\]]`), "]")
	f.Fuzz(func(t *testing.T, data []byte, path string) {
		if len(path) > 12 || len(data) > 64 {
			return // the slow one would take for ever
		}
		l := Parse(data)
		if l == nil {
			return
		}
		name := path[strings.LastIndexByte(path, '/')+1:]
		l.verdict(path, name, true)
		for i := range l.rules {
			g := &l.rules[i].glob
			rest, ok := strings.CutPrefix(path, g.prefix)
			if got, want := g.match(path), ok && slowMatch(g.tokens, rest); got != want {
				t.Errorf("%q, rule %d on %q: %v, slowly %v", data, i, path, got, want)
			}
		}
	})
}

// A pattern that takes other matchers longer than anybody waits.
func TestMatch_ManyStars_TakesNoTime(t *testing.T) {
	g, ok := compile(strings.Repeat("**/*a", 40) + "b")
	if !ok {
		t.Fatal("not a pattern")
	}
	done := make(chan bool)
	go func() { done <- g.match(strings.Repeat("a/aaaaaaaaaaaaaa", 250)) }()
	select {
	case got := <-done:
		if got {
			t.Error("it fits")
		}
	case <-time.After(time.Minute):
		t.Fatal("still at it")
	}
	if !slices.ContainsFunc(g.tokens, func(t token) bool { return t.kind == folders }) {
		t.Error("there is no ** in it")
	}
}
