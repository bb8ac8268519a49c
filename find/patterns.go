package find

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/kura-backup/kura/source/pattern"
)

// Patterns say what is looked for. They are immutable and safe for concurrent use.
type Patterns struct{ root place }

// NewPatterns reads patterns; an error wraps [pattern.ErrBad]. With fold they make no difference between upper and lower case.
func NewPatterns(patterns []string, fold bool) (*Patterns, error) {
	parse := pattern.Parse
	if fold {
		parse = pattern.ParseFold
	}
	p := new(Patterns)
	for _, s := range patterns {
		switch {
		case s == "":
			return nil, fmt.Errorf("%w %q: it matches nothing", pattern.ErrBad, s)
		case s[0] == '!':
			return nil, fmt.Errorf(`%w %q: nothing is taken back here; a name that begins with ! is \%s`, pattern.ErrBad, s, s)
		}
		list, err := parse([]string{s})
		if err != nil {
			return nil, err
		}
		p.root.ways = append(p.root.ways, way{list.Root(), deepest(s)})
	}
	return p, nil
}

// deepest returns how many elements a path has that a pattern matches, or 0 if it can be any number.
func deepest(s string) int {
	if s[0] != '/' {
		return 0
	}
	elements := strings.Split(path.Clean(s)[1:], "/")
	if slices.Contains(elements, "**") {
		return 0
	}
	return len(elements)
}

// place is a folder as the patterns see it: with those that can match something in it, or below it.
type place struct {
	depth int // 0 for the root
	ways  []way
}

// way is a pattern at a folder.
type way struct {
	dir     *pattern.Dir
	deepest int
}

// matches reports whether an entry of the given name is looked for.
func (p *place) matches(name string) bool {
	return slices.ContainsFunc(p.ways, func(w way) bool { return w.dir.Match(name) })
}

// leads reports whether something below the folder of the given name may be looked for. Package pattern would say so of
// all that lies below a match.
func (p *place) leads(name string) bool {
	return slices.ContainsFunc(p.ways, func(w way) bool { return p.along(w, name) })
}

func (p *place) along(w way, name string) bool {
	return (w.deepest == 0 || p.depth+1 < w.deepest) && w.dir.Reaches(name)
}

// child returns a folder in p.
func (p *place) child(name string) *place {
	c := &place{depth: p.depth + 1}
	for _, w := range p.ways {
		if p.along(w, name) {
			c.ways = append(c.ways, way{w.dir.Child(name), w.deepest})
		}
	}
	return c
}
