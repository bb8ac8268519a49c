package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/source/files"
	"github.com/kura-backup/kura/source/ignore"
	"github.com/kura-backup/kura/source/pattern"
	"github.com/kura-backup/kura/tree"
)

// Marker is a file by which a folder says that what is in it need not be backed up.
type Marker struct {
	Name   string
	Header string // what the file must begin with; empty: anything
}

// CacheMarker is that of the Cache Directory Tagging Specification.
var CacheMarker = Marker{Name: "CACHEDIR.TAG", Header: "Signature: 8a477f597d28d172789f06886806bc55"}

// maxIgnoreFile is the size up to which ignore files are read.
const maxIgnoreFile = 16 << 20

var errIgnoreSize = errors.New("too large for an ignore file: not used")

// selection is what the options say of everything that a walk may meet. It is immutable.
type selection struct {
	excludes    []*pattern.List // without empty ones
	own         *pattern.List
	markers     []Marker
	ignoreFiles []string
	largerThan  int64 // 0: no limit
	oneFS       bool
}

func newSelection(o *Options) (*selection, error) {
	s := &selection{
		markers: o.IfPresent, ignoreFiles: o.IgnoreFiles, largerThan: o.LargerThan, oneFS: o.OneFileSystem,
	}
	for _, p := range []struct {
		parse    func([]string) (*pattern.List, error)
		patterns []string
	}{{pattern.Parse, o.Excludes}, {pattern.ParseFold, o.IExcludes}} {
		l, err := p.parse(p.patterns)
		if err != nil {
			return nil, fmt.Errorf("backup: exclude: %w", err)
		}
		if !l.Empty() {
			s.excludes = append(s.excludes, l)
		}
	}
	var err error
	if s.own, err = pattern.Parse(o.Own); err != nil {
		return nil, fmt.Errorf("backup: own: %w", err)
	}
	for _, name := range slices.Concat(s.ignoreFiles, markerNames(s.markers)) {
		if name == "" || strings.Contains(name, "/") {
			return nil, fmt.Errorf("backup: %q is not a file's name", name)
		}
	}
	return s, nil
}

func markerNames(markers []Marker) (names []string) {
	for _, m := range markers {
		names = append(names, m.Name)
	}
	return names
}

// excludesPath reports whether a path is left out though it was given, as is one that is too large. What is found in
// the tree, markers, ignore files and mount points, does not count for what was given by name.
func (s *selection) excludesPath(path string) bool {
	return path != "/" && slices.ContainsFunc(s.excludes, func(l *pattern.List) bool { return l.MatchPath(path) })
}

// isOwn reports whether a path is left out because it belongs to the backup itself.
func (s *selection) isOwn(path string) bool { return path != "/" && s.own.MatchPath(path) }

func (s *selection) tooLarge(st *files.Stat) bool {
	return s.largerThan > 0 && st.Type == tree.File && st.Size > s.largerThan
}

// scope is what the selection and the plan say of one folder. Once list was called it does not change.
type scope struct {
	sel    *selection
	plan   *plan // nil where there is no given path below
	inside bool  // it is a given path, or below one
	only   bool  // nothing of it but what the plan has

	dev    uint64         // the file system of the given path that it is in
	match  []*pattern.Dir // as sel.excludes
	outer  *ignore.Dir    // of the folder above
	name   string         // in that one
	ignore *ignore.Dir
	marked []string // markers in it: it is left out but for them
}

func (s *selection) root(p *plan) scope {
	c := scope{sel: s, plan: p, inside: p.given}
	for _, l := range s.excludes {
		c.match = append(c.match, l.Root())
	}
	if !s.own.Empty() {
		c.match = append(c.match, s.own.Root())
	}
	return c
}

// child is the scope of a folder.
func (s *scope) child(name string, st *files.Stat) scope {
	c := scope{sel: s.sel, plan: s.plan.find(name), inside: s.inside, dev: s.dev, outer: s.ignore, name: name}
	for _, m := range s.match {
		c.match = append(c.match, m.Child(name))
	}
	switch {
	case c.plan != nil && c.plan.given:
		c.inside, c.dev = true, st.Dev
	case s.inside:
		c.only = s.only || s.crosses(st) || c.plan != nil && (s.leavesOutName(name) || s.leavesOut(name, st))
	}
	return c
}

// enter tells what a folder is, now that it is open. That mounts what is mounted on demand, behind the first look.
// What the kernel shows of itself has no end, and is nobody's data: where it is mounted it is left out, unless it is
// what was given.
func (s *scope) enter(d *files.Dir, st *files.Stat, mount bool) {
	switch {
	case s.plan != nil && s.plan.given:
		s.dev = st.Dev
	case s.crosses(st), mount && d.IsOfKernel():
		s.only = true
	}
}

// list returns the entries of a folder that may be meant, by their names. Whoever was asked in vain for what decides
// about the others is told to failed.
func (s *scope) list(ctx context.Context, d *files.Dir, failed func(name string, err error)) ([]files.Entry, error) {
	if s.only || !s.inside {
		var names []files.Entry
		if s.plan != nil {
			for _, c := range s.plan.children {
				names = append(names, files.Entry{Name: c.name})
			}
		}
		return names, nil
	}
	all, err := d.List()
	s.look(ctx, d, all, failed)
	return slices.DeleteFunc(all, func(e files.Entry) bool {
		return s.plan.find(e.Name) == nil && s.leavesOutName(e.Name)
	}), err
}

// look looks for markers and ignore files among the entries.
func (s *scope) look(ctx context.Context, d *files.Dir, all []files.Entry, failed func(name string, err error)) {
	has := func(name string) bool {
		_, ok := slices.BinarySearchFunc(all, name, func(e files.Entry, name string) int { return strings.Compare(e.Name, name) })
		return ok
	}
	given := s.plan != nil && s.plan.given // it was named, so it is meant whatever is in it
	for _, m := range s.sel.markers {
		if !given && has(m.Name) && m.isIn(ctx, d) {
			s.marked = append(s.marked, m.Name)
		}
	}
	var own []byte
	for _, name := range s.sel.ignoreFiles {
		if !has(name) {
			continue
		}
		data, err := readStart(ctx, d, name, maxIgnoreFile+1)
		if err == nil && len(data) > maxIgnoreFile {
			err = errIgnoreSize
		}
		if err != nil {
			data = nil // what is missing may take back what is left out before it
		}
		if err != nil && !errors.Is(err, files.ErrOtherType) && !errors.Is(err, unix.ENOENT) { // the last is told of the entry
			failed(name, err)
		}
		own = append(append(own, data...), '\n')
	}
	s.ignore = s.outer.Child(s.name, ignore.Parse(own))
}

// isIn reports whether the marker is what it should be. If it can not be read it is not; and since it is then
// backed up itself, that will be told.
func (m *Marker) isIn(ctx context.Context, d *files.Dir) bool {
	if m.Header == "" {
		return true
	}
	data, err := readStart(ctx, d, m.Name, len(m.Header))
	return err == nil && string(data) == m.Header
}

// readStart reads up to limit bytes of a regular file. The error wraps files.ErrOtherType for what is none.
func readStart(ctx context.Context, d *files.Dir, name string, limit int) ([]byte, error) {
	var st files.Stat
	if err := d.Stat(name, false, &st); err != nil {
		return nil, err
	}
	if st.Type != tree.File {
		return nil, files.ErrOtherType
	}
	f, err := d.Open(ctx, name, st.UID)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Same(&st); err != nil {
		return nil, err
	}
	return f.ReadUpTo(limit)
}

// leavesOutName reports whether an entry is left out because of its name.
func (s *scope) leavesOutName(name string) bool {
	if len(s.marked) > 0 && !slices.Contains(s.marked, name) {
		return true
	}
	return slices.ContainsFunc(s.match, func(m *pattern.Dir) bool { return m.Match(name) })
}

// leavesOut reports whether an entry is left out because of what it is. A folder that is on another file system is
// not: the place where it is mounted stays. Nor is a file that only has another device, as those of an overlay have
// that of their layer.
func (s *scope) leavesOut(name string, st *files.Stat) bool {
	return s.sel.tooLarge(st) || s.crosses(st) && st.Type != tree.Folder && !st.Unmounted ||
		s.ignore.Verdict(name, st.Type == tree.Folder) == ignore.LeaveOut
}

// crosses reports whether an entry is on another file system, and those are not meant.
func (s *scope) crosses(st *files.Stat) bool { return s.sel.oneFS && s.inside && st.Dev != s.dev }
