package backup

import (
	"context"

	"github.com/kura-backup/kura/source/files"
	"github.com/kura-backup/kura/source/pattern"
	"github.com/kura-backup/kura/tree"
)

// scanner counts what a walk will meet. What it can not read it leaves to the walk to report.
type scanner struct {
	walk *walk
	pool *files.Pool
}

// scan counts everything below the given paths.
func (w *walk) scan(ctx context.Context) error {
	s := &scanner{walk: w, pool: files.NewPool()}
	defer s.pool.Close()
	root := s.pool.Root("/")
	var match *pattern.Dir
	if !w.excludes.Empty() {
		match = w.excludes.Root()
	}
	var err error
	if w.root.plan == nil {
		err = s.folder(ctx, root.Child("."), match)
	} else {
		err = s.above(ctx, root, "", w.root.plan, match)
	}
	if err != nil {
		return err
	}
	w.report.progress.ScanDone.Store(true)
	return nil
}

// above goes down to the given paths.
func (s *scanner) above(ctx context.Context, d *files.Dir, path string, p *plan, match *pattern.Dir) error {
	for _, c := range p.children {
		var err error
		if c.given {
			err = s.entry(ctx, d, c.name, 0, match)
		} else {
			below := path + "/" + c.name
			err = s.above(ctx, s.pool.Root(below), below, c, childOf(match, c.name))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) folder(ctx context.Context, d *files.Dir, match *pattern.Dir) error {
	defer d.Close()
	entries, _ := d.List()
	for _, e := range entries {
		if match != nil && match.Match(e.Name) {
			continue
		}
		if err := s.entry(ctx, d, e.Name, e.Type, match); err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) entry(ctx context.Context, d *files.Dir, name string, t tree.Type, match *pattern.Dir) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var st files.Stat
	if t == 0 || t == tree.File {
		if err := d.Stat(name, false, &st); err != nil {
			return nil
		}
		t = st.Type
	}
	p := s.walk.report.progress
	switch t {
	case tree.Folder:
		return s.folder(ctx, d.Child(name), childOf(match, name))
	case tree.File:
		p.BytesTotal.Add(uint64(st.Size))
	}
	p.FilesTotal.Add(1)
	return nil
}

func childOf(d *pattern.Dir, name string) *pattern.Dir {
	if d == nil {
		return nil
	}
	return d.Child(name)
}
