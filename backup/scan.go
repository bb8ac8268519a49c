package backup

import (
	"context"

	"github.com/kura-backup/kura/source/files"
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
	c := w.selection.root(w.root.plan)
	c.dev = w.root.dev
	if c.inside {
		root = root.Child(".")
	}
	if err := s.folder(ctx, root, "", c, 0); err != nil {
		return err
	}
	w.report.progress.ScanDone.Store(true)
	return nil
}

// folder counts what is in a folder. Its path matters above the given paths only, and the file system that the folder
// above it is on, in them.
func (s *scanner) folder(ctx context.Context, d *files.Dir, path string, c scope, above uint64) error {
	defer d.Close()
	var self files.Stat
	if c.inside && !c.only {
		if err := d.StatSelf(&self); err != nil {
			return nil
		}
		c.enter(d, &self, above != 0 && above != self.Dev)
	}
	entries, _ := c.list(ctx, d, func(string, error) {})
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		plan := c.plan.find(e.Name)
		st := files.Stat{Type: e.Type}
		if e.Type == 0 || e.Type == tree.File || c.sel.oneFS || plan != nil {
			if err := d.Stat(e.Name, !c.inside && !plan.given, &st); err != nil {
				continue
			}
		}
		if plan == nil && c.leavesOut(e.Name, &st) {
			continue
		}
		if st.Type != tree.Folder {
			s.count(&st)
			continue
		}
		child, below := c.child(e.Name, &st), path+"/"+e.Name
		dir := d.Child(e.Name)
		if !child.inside {
			dir = s.pool.Root(below)
		}
		if err := s.folder(ctx, dir, below, child, self.Dev); err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) count(st *files.Stat) {
	p := s.walk.report.progress
	p.FilesTotal.Add(1)
	if st.Type == tree.File {
		p.BytesTotal.Add(uint64(st.Size))
	}
}
