package backup

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kura-backup/kura/source"
)

// plan is the part of the file tree that leads to the given paths.
type plan struct {
	name     string
	given    bool // back up all of it; the paths below it are given all the same
	children []*plan
	byName   map[string]*plan
}

// cleanPaths makes paths absolute, sorts them, and drops what is there twice.
func cleanPaths(paths []string) ([]string, error) {
	var out []string
	for _, p := range paths {
		if p == "" {
			return nil, fmt.Errorf("backup: empty path")
		}
		abs, err := filepath.Abs(p)
		if err != nil {
			return nil, fmt.Errorf("backup: %s: %w", p, err)
		}
		out = append(out, abs)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// sourcePaths returns what a source says that it is of, sorted.
func sourcePaths(src source.Source) ([]string, error) {
	paths := slices.Sorted(slices.Values(src.Paths()))
	for _, p := range paths {
		if p == "/" {
			continue
		}
		if err := source.CheckPath(p); err != nil {
			return nil, err
		}
	}
	return slices.Compact(paths), nil
}

// newPlan makes a plan of absolute, clean paths.
func newPlan(paths []string) *plan {
	root := new(plan)
	for _, p := range paths {
		at := root
		for name := range strings.SplitSeq(p, "/") {
			if name != "" {
				at = at.child(name)
			}
		}
		at.given = true
	}
	root.sort()
	return root
}

func (p *plan) child(name string) *plan {
	c := p.byName[name]
	if c == nil {
		c = &plan{name: name}
		p.children = append(p.children, c)
		if p.byName == nil {
			p.byName = map[string]*plan{}
		}
		p.byName[name] = c
	}
	return c
}

// find returns the plan of an entry, or nil. p may be nil.
func (p *plan) find(name string) *plan {
	if p == nil {
		return nil
	}
	return p.byName[name]
}

func (p *plan) sort() {
	slices.SortFunc(p.children, func(a, b *plan) int { return strings.Compare(a.name, b.name) })
	for _, c := range p.children {
		c.sort()
	}
}
