package pattern

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrBad is wrapped when a pattern can not be used.
var ErrBad = errors.New("bad pattern")

// List is a list of patterns. It is immutable and safe for concurrent use.
type List struct {
	patterns []pattern
	takeBack bool // one of them starts with !
	fold     bool // the patterns are in lower case, and names are put into it
}

type pattern struct {
	parts    []part
	absolute bool
	takeBack bool
}

type part struct {
	text string
	kind kind
}

type kind uint8

const (
	literal kind = iota
	suffix       // * and then a literal, text
	glob
	anyElements // **
)

// Parse reads patterns. Empty ones are ignored.
func Parse(patterns []string) (*List, error) {
	l := new(List)
	for _, s := range patterns {
		if s == "" {
			continue
		}
		p, err := parse(s)
		if err != nil {
			return nil, err
		}
		l.patterns = append(l.patterns, p)
		l.takeBack = l.takeBack || p.takeBack
	}
	return l, nil
}

// ParseFold reads patterns that make no difference between upper and lower case.
func ParseFold(patterns []string) (*List, error) {
	folded := make([]string, len(patterns))
	for i, s := range patterns {
		folded[i] = lower(s)
	}
	l, err := Parse(folded)
	if err == nil {
		l.fold = true
	}
	return l, err
}

// lower puts a name into lower case. Bytes that are not UTF-8 stay as they are, so that names which differ
// in them alone stay different.
func lower(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf || 'A' <= r && r <= 'Z' }) < 0 {
		return s
	}
	var out strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 {
			out.WriteByte(s[0])
		} else {
			out.WriteRune(unicode.ToLower(r))
		}
		s = s[n:]
	}
	return out.String()
}

func (l *List) name(name string) string {
	if l.fold {
		return lower(name)
	}
	return name
}

func parse(s string) (pattern, error) {
	text, takeBack := strings.CutPrefix(s, "!")
	p := pattern{takeBack: takeBack, absolute: strings.HasPrefix(text, "/")}
	if text == "" {
		return pattern{}, fmt.Errorf("%w %q: there is nothing but a !, not a pattern", ErrBad, s)
	}
	for text := range strings.SplitSeq(strings.TrimPrefix(path.Clean(text), "/"), "/") {
		if text == "" { // the root alone
			continue
		}
		if _, err := path.Match(text, ""); err != nil {
			return pattern{}, fmt.Errorf("%w %q: %w", ErrBad, s, err)
		}
		p.parts = append(p.parts, newPart(text))
	}
	return p, nil
}

const special = `*?[\`

func newPart(text string) part {
	switch rest := strings.TrimPrefix(text, "*"); {
	case text == "**":
		return part{text, anyElements}
	case !strings.ContainsAny(text, special):
		return part{text, literal}
	case !strings.ContainsAny(rest, special):
		return part{rest, suffix}
	}
	return part{text, glob}
}

func (p *part) match(name string) bool {
	switch p.kind {
	case literal:
		return name == p.text
	case suffix:
		return strings.HasSuffix(name, p.text)
	}
	ok, _ := path.Match(p.text, name) // the pattern was checked by parse
	return ok
}

// Empty reports whether nothing can match.
func (l *List) Empty() bool { return len(l.patterns) == 0 }

// Dir is a folder whose entries are to be matched. It is immutable and safe for concurrent use.
type Dir struct {
	list   *List
	parent *Dir // nil for the root
	name   string
	below  []bool // by pattern: it matches the folder, and so all that is below
}

// Root returns the topmost folder.
func (l *List) Root() *Dir { return &Dir{list: l} }

// Child returns a folder in d.
func (d *Dir) Child(name string) *Dir {
	name = d.list.name(name)
	c := &Dir{list: d.list, parent: d, name: name}
	if d.list.takeBack { // otherwise a folder that any pattern matches is not descended into
		c.below = make([]bool, len(d.list.patterns))
		for i := range d.list.patterns {
			c.below[i] = d.isBelow(i) || d.list.patterns[i].ends(d, name)
		}
	}
	return c
}

func (d *Dir) isBelow(i int) bool { return d.below != nil && d.below[i] }

// Match reports whether the entry of the given name in d is meant.
func (d *Dir) Match(name string) bool {
	name = d.list.name(name)
	matched := false
	for i := range d.list.patterns {
		p := &d.list.patterns[i]
		if matched != p.takeBack { // the pattern could not change anything
			continue
		}
		if d.isBelow(i) || p.ends(d, name) {
			matched = !p.takeBack
		}
	}
	return matched
}

// Reaches reports whether an entry below the folder of the given name in d might be meant, for walks that look for
// what is meant. It may say so where nothing is.
func (d *Dir) Reaches(name string) bool {
	name = d.list.name(name)
	for i := range d.list.patterns {
		if p := &d.list.patterns[i]; !p.takeBack && (d.isBelow(i) || p.reaches(d, name)) {
			return true
		}
	}
	return false
}

// reaches reports whether p may match below an entry in d, or at it.
func (p *pattern) reaches(d *Dir, name string) bool {
	if !p.absolute {
		return true
	}
	depth := 0
	for up := d; up.parent != nil; up = up.parent {
		depth++
	}
	fixed := 0 // parts before a **
	for fixed < len(p.parts) && p.parts[fixed].kind != anyElements {
		fixed++
	}
	for at := d; ; at, name = at.parent, at.name {
		if depth < fixed && !p.parts[depth].match(name) {
			return false
		}
		if depth--; depth < 0 {
			return true
		}
	}
}

// MatchPath reports whether an absolute, clean path is meant that was not come to by a walk from the root.
func (l *List) MatchPath(p string) bool {
	d := l.Root()
	p = strings.TrimPrefix(p, "/")
	for {
		name, rest, more := strings.Cut(p, "/")
		if (!more || !l.takeBack) && d.Match(name) {
			return true
		}
		if !more {
			return false
		}
		d, p = d.Child(name), rest
	}
}

// ends reports whether p matches the path of an entry in d with its last part at the last element.
func (p *pattern) ends(d *Dir, name string) bool {
	return len(p.parts) > 0 && p.endsAt(len(p.parts)-1, d, name)
}

// endsAt matches the parts up to the i-th, the last of them at name in d or, if it is **, there or above.
func (p *pattern) endsAt(i int, d *Dir, name string) bool {
	for ; i >= 0; i-- {
		part := &p.parts[i]
		if part.kind == anyElements {
			return p.anyElements(i, d, name)
		}
		if d == nil || !part.match(name) { // d is nil above the root's entries
			return false
		}
		d, name = d.parent, d.name
	}
	return !p.absolute || d == nil
}

func (p *pattern) anyElements(i int, d *Dir, name string) bool {
	for {
		if p.endsAt(i-1, d, name) {
			return true
		}
		if d == nil {
			return false
		}
		d, name = d.parent, d.name
	}
}
