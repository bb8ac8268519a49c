package pattern

import (
	"errors"
	"strings"
	"testing"
)

// chain returns the folder of path and path's last element.
func chain(l *List, path string) (*Dir, string) {
	d := l.Root()
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for _, name := range parts[:len(parts)-1] {
		d = d.Child(name)
	}
	return d, parts[len(parts)-1]
}

// The expectations are those of restic's documentation and of its filter tests.
func TestMatchPath_OnePattern_AsRestic(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"*.go", "/foo/bar/test.go", true},
		{"*.c", "/foo/bar/test.go", false},
		{"*", "/foo/bar/test.go", true},
		{"**", "/foo/bar/test.go", true},
		{"foo*", "/foo/bar/test.go", true},
		{"?ar", "/foo/bar/test.go", true},
		{"/*/*/bar/test.*", "/foo/bar/test.go", false},
		{"/*/*/bar/test.*", "/foo/bar/bar/test.go", true},
		{"/*/*/bar/test.*", "/foo/bar/baz", false},
		{"foo/bar", "/foo/bar/test.go", true},
		{"foo/bar", "/x/foo/bar", true},
		{"foo/bar", "/foo/x/bar", false},
		{"/foo/*/test.*", "/foo/bar/test.go", true},
		{"/foo/*/bar/test.*", "/foo/bar/bar/test.go", true},
		{"/bar", "/foo/bar", false},
		{"/foo", "/foo", true},
		{"/foo/", "/foo", true},
		{"foo/", "/x/foo", true},
		{"bar", "/foo/bar/test.go", true},
		{"bar", "/foo/baz", false},
		{"bar", "/foobar", false},
		{"foo/**/bar/*.go", "/home/user/foo/work/special/project/bar/test.go", true},
		{"foo/**/bar/*.go", "/home/user/foo/bar/test.go", true},
		{"foo/**/bar/*.go", "/home/user/foo/test.go", false},
		{"foo/**/bar", "/home/user/foo/x/y/bar", true},
		{"foo/**/bar", "/home/user/foo/bar/x", true},
		{"/home/user/**/important*", "/home/user/work/x/y/hidden/x", false},
		{"user/**/hidden*", "/home/user/work/x/y/hidden/x", true},
		{"user/**/hidden*/**/c", "/home/user/work/shared/test.txt", false},
		{"/**/work/x", "/home/user/work/x", true},
		{"/**/x", "/x", true},
		{"foo/**", "/foo", true},
		{"foo/**", "/foo/a/b", true},
		{"**/foo", "/foo", true},
		{"[a-c]x", "/bx", true},
		{"[a-c]x", "/dx", false},
		{`\*`, "/*", true},
		{`\*`, "/a", false},
		{"caf\xe9*", "/caf\xe9s", true},
		{"/", "/foo", false},
		{"/home/user/*.o", "/home/user/sub/a.o", false},
		{"/home/*/.cache", "/home/me/.cache/x/y", true},
		{"*.tmp", "/a.tmp.txt", false},
		{"a*b", "/a_b", true},
		{"**b", "/aab", true}, // ** within an element is no more than *
	} {
		l, err := Parse([]string{c.pattern})
		if err != nil {
			t.Fatal(err)
		}
		if got := l.MatchPath(c.path); got != c.want {
			t.Errorf("%q on %q: %v", c.pattern, c.path, got)
		}
	}
}

func TestMatch_Negated_TakesBackInOrder(t *testing.T) {
	for _, c := range []struct {
		patterns string
		path     string
		want     bool
	}{
		{"*.c !foo.c", "/src/bar.c", true},
		{"*.c !foo.c", "/src/foo.c", false},
		{"!foo.c *.c", "/src/foo.c", true},
		{"*.c !*.c /src/a.c", "/src/a.c", true},
		{"*.c !*.c /src/a.c", "/src/b.c", false},
		{"/tmp/* !/tmp/keep", "/tmp/keep", false},
		{"/tmp/* !/tmp/keep", "/tmp/keep/below", false},
		{"/tmp/* !/tmp/keep", "/tmp/other", true},
		{"!/home/keep /home/**/x", "/home/keep/x", true},
		{"/home/**/x !/home/keep", "/home/keep/a/x", false},
		{"/tmp !/tmp/keep", "/tmp", true}, // so a walk never gets to the next one
		{"/tmp !/tmp/keep", "/tmp/keep", false},
	} {
		l, err := Parse(strings.Fields(c.patterns))
		if err != nil {
			t.Fatal(err)
		}
		d, name := chain(l, c.path)
		if got := d.Match(name); got != c.want {
			t.Errorf("%s on %s: %v", c.patterns, c.path, got)
		}
		if got := l.MatchPath(c.path); got != c.want {
			t.Errorf("%s on %s, given by name: %v", c.patterns, c.path, got)
		}
	}
}

func TestParse_Bad_IsAnError(t *testing.T) {
	for _, s := range []string{"[", "a/[x", "!", `\`} {
		if _, err := Parse([]string{s}); !errors.Is(err, ErrBad) {
			t.Errorf("%q: %v", s, err)
		}
	}
	l, err := Parse([]string{"", ""})
	if err != nil || !l.Empty() {
		t.Errorf("empty patterns: %v, %v", l, err)
	}
}

func TestMatch_DeepEntry_DoesNotAllocate(t *testing.T) {
	l, err := Parse([]string{"*.o", "/home/*/.cache", "a/**/b", "x?z", "!keep.o"})
	if err != nil {
		t.Fatal(err)
	}
	d, name := chain(l, strings.Repeat("/dir", 50)+"/file.txt")
	if n := testing.AllocsPerRun(100, func() { d.Match(name) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
