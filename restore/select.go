package restore

import (
	"fmt"
	"path"

	"github.com/kura-backup/kura/restore/internal/jail"
	"github.com/kura-backup/kura/source/pattern"
)

// Patterns select entries by their paths in the snapshot, or below [Options.Path], as package source/pattern
// describes them. Includes and excludes do not go together.
type Patterns struct {
	// Include selects only what one of these matches, and what is below it; the folders above it are made as they
	// are needed. IInclude makes no difference between upper and lower case.
	Include, IInclude []string
	Exclude, IExclude []string // leave out what one of these matches, and what is below it
}

// Check tells whether the options go together.
func (o *Options) Check() error {
	_, err := newSelection(&o.Patterns)
	if err == nil {
		_, err = newXAttrFilter(o)
	}
	if err == nil && o.DryRun && o.Verify {
		err = fmt.Errorf("%w: a dry run has nothing to verify", ErrOptions)
	}
	return err
}

// selection is what patterns select. Nil selects everything. It is immutable and safe for concurrent use.
type selection struct {
	include bool
	lists   []*pattern.List
}

func newSelection(p *Patterns) (*selection, error) {
	s := &selection{include: len(p.Include)+len(p.IInclude) > 0}
	excludes := len(p.Exclude)+len(p.IExclude) > 0
	if s.include && excludes {
		return nil, fmt.Errorf("%w: patterns of what to include and of what to exclude", ErrOptions)
	}
	if !s.include && !excludes {
		return nil, nil
	}
	for _, l := range []struct {
		patterns []string
		parse    func([]string) (*pattern.List, error)
	}{{p.Include, pattern.Parse}, {p.IInclude, pattern.ParseFold}, {p.Exclude, pattern.Parse}, {p.IExclude, pattern.ParseFold}} {
		list, err := l.parse(l.patterns)
		if err != nil {
			return nil, err
		}
		if !list.Empty() {
			s.lists = append(s.lists, list)
		}
	}
	switch {
	case len(s.lists) > 0:
		return s, nil
	case s.include: // with a variable that is not set, say: it would be taken for nothing at all
		return nil, fmt.Errorf("%w: patterns of what to include, and all of them empty", ErrOptions)
	}
	return nil, nil
}

// place is a folder as a selection sees it. Nil selects everything. It is immutable.
type place struct {
	s    *selection
	dirs []*pattern.Dir // by list
}

func (s *selection) root() *place {
	if s == nil {
		return nil
	}
	p := &place{s: s}
	for _, l := range s.lists {
		d := l.Root()
		if s.include {
			d = l.Below()
		}
		p.dirs = append(p.dirs, d)
	}
	return p
}

func (p *place) child(name string) *place {
	if p == nil {
		return nil
	}
	c := &place{s: p.s, dirs: make([]*pattern.Dir, len(p.dirs))}
	for i, d := range p.dirs {
		c.dirs[i] = d.Child(name)
	}
	return c
}

// selects reports whether an entry of the folder is to be restored.
func (p *place) selects(name string) bool {
	if p == nil {
		return true
	}
	for _, d := range p.dirs {
		if d.Match(name) {
			return p.s.include
		}
	}
	return !p.s.include
}

// reaches reports whether something below an entry that is not selected itself may be.
func (p *place) reaches(name string) bool {
	if p == nil || !p.s.include {
		return false
	}
	for _, d := range p.dirs {
		if d.Reaches(name) {
			return true
		}
	}
	return false
}

// Keep and Below make a place the choice of what stays when something is deleted.

func (p *place) Keep(name string) bool { return !p.selects(name) }

func (p *place) Below(name string) jail.Choice { return p.child(name).choice() }

func (p *place) choice() jail.Choice {
	if p == nil {
		return nil
	}
	return p
}

// xattrFilter says which extended attributes are restored.
type xattrFilter struct {
	include  bool
	patterns []string
}

func newXAttrFilter(o *Options) (f xattrFilter, err error) {
	f.include, f.patterns = len(o.XAttrInclude) > 0, o.XAttrExclude
	if f.include {
		if len(o.XAttrExclude) > 0 {
			return f, fmt.Errorf("%w: patterns of attributes to include and to exclude", ErrOptions)
		}
		f.patterns = o.XAttrInclude
	}
	for _, p := range f.patterns {
		if _, err := path.Match(p, ""); err != nil {
			return f, fmt.Errorf("%w %q: %w", pattern.ErrBad, p, err)
		}
	}
	return f, nil
}

func (f *xattrFilter) selects(name string) bool {
	for _, p := range f.patterns {
		if ok, _ := path.Match(p, name); ok { // checked by newXAttrFilter
			return f.include
		}
	}
	return !f.include
}
