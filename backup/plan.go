package backup

import (
	"fmt"
	"os"
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

// cleanPaths makes paths absolute, sorts them, and drops what is there twice. It also returns those of which it is
// not the link that is meant, where there is one.
func cleanPaths(paths []string) (out []string, through map[string]bool, err error) {
	through = map[string]bool{}
	for _, p := range paths {
		if p == "" {
			return nil, nil, fmt.Errorf("backup: empty path")
		}
		abs, err := AbsPath(p)
		if err != nil {
			return nil, nil, fmt.Errorf("backup: %s: %w", p, err)
		}
		out = append(out, abs)
		if meansTarget(p) {
			through[abs] = true
		}
	}
	slices.Sort(out)
	return slices.Compact(out), through, nil
}

// AbsPath returns the absolute, clean path by which a backup knows one that was given. It leads where the kernel
// comes to: with a slash or dots at its end a symlink is what it leads to, so that . is never the link by which one came
// into the working folder; and .. behind a link is the folder above what that leads to.
// A symlink that leads nowhere stays what it is.
func AbsPath(path string) (string, error) {
	abs := path
	if !filepath.IsAbs(path) {
		dir, err := os.Getwd() // as $PWD has it where that is right: patterns and older snapshots have that name
		if err != nil {
			return "", fmt.Errorf("the working folder: %w", err)
		}
		abs = dir + "/" + path
	}
	if i := strings.LastIndex(abs+"/", "/../"); i >= 0 {
		head, tail := abs[:i+len("/..")], abs[i+len("/.."):]
		if real, err := filepath.EvalSymlinks(head); err == nil {
			if clean, err := filepath.EvalSymlinks(filepath.Clean(head)); err != nil || clean != real {
				abs = real + tail
			}
		}
	}
	abs = filepath.Clean(abs)
	if !meansTarget(path) {
		return abs, nil
	}
	if info, err := os.Lstat(abs); err == nil && info.Mode()&os.ModeSymlink != 0 {
		if real, err := filepath.EvalSymlinks(abs); err == nil {
			return real, nil
		}
	}
	return abs, nil
}

// meansTarget reports whether a path, if it is a symlink, is what that leads to.
func meansTarget(path string) bool {
	switch path[strings.LastIndexByte(path, '/')+1:] {
	case "", ".", "..":
		return true
	}
	return false
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
