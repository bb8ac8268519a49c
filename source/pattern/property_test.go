package pattern

import (
	"path"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// slowMatch decides by trying every way to read a pattern: each ** as any number of elements, and a pattern without a
// slash in front as one behind any number of elements.
func slowMatch(pattern string, elements []string) bool {
	parts := strings.Split(strings.Trim(path.Clean(pattern), "/"), "/")
	if !strings.HasPrefix(pattern, "/") {
		parts = append([]string{"**"}, parts...)
	}
	for n := 1; n <= len(elements); n++ { // what is below a match matches
		if slowParts(parts, elements[:n]) {
			return true
		}
	}
	return false
}

func slowParts(parts, elements []string) bool {
	if len(parts) == 0 {
		return len(elements) == 0
	}
	if parts[0] == "**" {
		return slowParts(parts[1:], elements) || len(elements) > 0 && slowParts(parts, elements[1:])
	}
	if len(elements) == 0 {
		return false
	}
	ok, _ := path.Match(parts[0], elements[0])
	return ok && slowParts(parts[1:], elements[1:])
}

func slowList(patterns, elements []string) (matched bool) {
	for _, p := range patterns {
		if text, takeBack := strings.CutPrefix(p, "!"); slowMatch(text, elements) {
			matched = !takeBack
		}
	}
	return matched
}

func drawPath(t *rapid.T, label string, names []string, most int) []string {
	return rapid.SliceOfN(rapid.SampledFrom(names), 1, most).Draw(t, label)
}

func drawPatterns(t *rapid.T) []string {
	parts := []string{"a", "b", "ab", "A", "*", "**", "a*", "*b", "?", "[ab]", "[^a]", `\a`, "a?", "é", "É", "\xff"}
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string {
		p := rapid.SampledFrom([]string{"", "", "!"}).Draw(t, "sign") + rapid.SampledFrom([]string{"", "/"}).Draw(t, "anchor")
		p += strings.Join(drawPath(t, "parts", parts, 4), "/")
		return p + rapid.SampledFrom([]string{"", "/"}).Draw(t, "end")
	}), 1, 4).Draw(t, "patterns")
}

func TestMatch_AnyPatterns_AsTheSlowMatcher(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		patterns := drawPatterns(t)
		elements := drawPath(t, "path", []string{"a", "b", "ab", "ba", "A", "é", "É", "\xff", "c"}, 5)
		fold := rapid.Bool().Draw(t, "fold")
		parse, slowPatterns, slowElements := Parse, patterns, elements
		if fold {
			parse = ParseFold
			slowPatterns, slowElements = lowerAll(patterns), lowerAll(elements)
		}
		l, err := parse(patterns)
		if err != nil {
			t.Fatal(err)
		}
		full := "/" + strings.Join(elements, "/")
		d, name := chain(l, full)
		want := slowList(slowPatterns, slowElements)
		if l.takeBack || !matchesAbove(d) { // a walk gets there
			if got := d.Match(name); got != want {
				t.Errorf("%q on %q, fold %v: %v, slowly %v", patterns, full, fold, got, want)
			}
		}
		if got := l.MatchPath(full); got != want {
			t.Errorf("%q on %q given by name, fold %v: %v, slowly %v", patterns, full, fold, got, want)
		}
		for i := range elements { // nothing that is meant is out of reach
			d, name := chain(l, "/"+strings.Join(elements[:i+1], "/"))
			if want && !d.Match(name) && i+1 < len(elements) && !d.Reaches(name) {
				t.Errorf("%q on %q, fold %v: not to be reached by %q", patterns, full, fold, elements[:i+1])
			}
		}
	})
}

func matchesAbove(d *Dir) bool {
	for ; d.parent != nil; d = d.parent {
		if d.parent.Match(d.name) {
			return true
		}
	}
	return false
}

// lowerAll is the plain way for names that are of these letters only.
func lowerAll(list []string) (out []string) {
	for _, s := range list {
		out = append(out, strings.NewReplacer("A", "a", "É", "é").Replace(s))
	}
	return out
}

func TestMatch_Fold_IgnoresCase(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"*.JPG", "/Photos/a.jpg", true},
		{"*.jpg", "/Photos/a.JpG", true},
		{"/PHOTOS", "/photos/x", true},
		{"[a-c]X", "/Bx", true},
		{"straße", "/STRAẞE", true},
		{"\xff\xc3", "/\xff\xc3", true},
		{"\xff", "/\xfe", false},
		{"!*.go", "/a.GO", false},
		{"Ä", "/ä/b", true},
	} {
		l, err := ParseFold([]string{c.pattern})
		if err != nil {
			t.Fatal(err)
		}
		if got := l.MatchPath(c.path); got != c.want {
			t.Errorf("%q on %q: %v", c.pattern, c.path, got)
		}
	}
}

func TestReaches_AbsolutePattern_OnlyItsWay(t *testing.T) {
	l, err := Parse([]string{"/home/*/src", "/var/**/log", "!/etc"})
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]bool{
		"/home": true, "/home/me": true, "/home/me/src": true, "/home/me/src/x": true, "/home/me/doc": false,
		"/var": true, "/var/a/b": true, "/etc": false, "/usr": false,
	} {
		d, name := chain(l, p)
		if got := d.Reaches(name); got != want {
			t.Errorf("%s: %v", p, got)
		}
	}
	if l, _ := Parse([]string{"x"}); !l.Root().Reaches("anything") {
		t.Error("a name can be anywhere")
	}
}

func FuzzPattern(f *testing.F) {
	for _, p := range []string{"*.go", "/a/**/b", "!x", "[a-", `\\`, "a//b/../c", "\xff"} {
		f.Add(p, "/a/b/c.go")
	}
	f.Fuzz(func(t *testing.T, p, at string) {
		elements := strings.Split(strings.Trim(path.Clean("/"+at), "/"), "/")
		if len(at) > 40 || len(p) > 20 {
			return // the slow one would take for ever
		}
		for _, parse := range []func([]string) (*List, error){Parse, ParseFold} {
			l, err := parse([]string{p})
			if err != nil || l.Empty() {
				continue
			}
			got := l.MatchPath("/" + strings.Join(elements, "/"))
			plain := !l.fold && !l.takeBack && strings.Trim(path.Clean(p), "/.") != ""
			if plain && got != slowMatch(path.Clean(p), elements) {
				t.Errorf("%q on %q: %v", p, elements, got)
			}
		}
	})
}
