package restore

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kura-backup/kura/restore/internal/jail"
)

// errTop is returned where a restore might empty the system.
var errTop = fmt.Errorf("%w: to delete what the snapshot does not have, below the topmost folder of the system, and no patterns", ErrOptions)

// deletes reports whether what the snapshot does not have is deleted from a folder: from one that was itself backed up,
// in full, and only if all of what the snapshot has of it is known.
func (run *run) deletes(f *folder) bool { return run.o.Delete && f.covered && !f.incomplete.Load() }

// noteName remembers that the snapshot has a name in a folder.
func (run *run) noteName(f *folder, name string) {
	if !run.deletes(f) {
		return
	}
	if f.names == nil {
		f.names = map[string]struct{}{}
	}
	f.names[strings.Clone(name)] = struct{}{}
}

// findSurplus finds out what is in a folder and not in the snapshot. It is deleted when the folder is complete.
func (run *run) findSurplus(f *folder) error {
	names := f.names
	f.names = nil
	if !run.deletes(f) || !f.made || !f.existed {
		return nil
	}
	dir, err := run.folders.acquire(f)
	if err != nil {
		return run.entryError(f.path, err)
	}
	defer run.folders.release(f)
	all, err := dir.Names()
	if err != nil {
		return run.entryError(f.path, err)
	}
	for _, name := range all {
		if _, ok := names[name]; !ok && f.place.selects(name) {
			f.surplus = append(f.surplus, name)
		}
	}
	slices.Sort(f.surplus)
	return nil
}

func (run *run) deleteSurplus(f *folder) error {
	if len(f.surplus) == 0 {
		return nil
	}
	dir, err := run.folders.acquire(f)
	if err != nil {
		return run.entryError(f.path, err)
	}
	defer run.folders.release(f)
	for _, name := range f.surplus {
		if run.ctx.Err() != nil {
			return nil // the run ends
		}
		run.delete(dir, f, name)
	}
	f.surplus = nil
	return nil
}

// delete deletes an entry with all in it, but for what patterns leave out.
func (run *run) delete(dir *jail.Dir, f *folder, name string) (gone bool) {
	at := f.path()
	path := func(names []string) string { return strings.TrimSuffix(at, "/") + "/" + strings.Join(names, "/") }
	return dir.Delete(name, jail.Deletion{
		Choice: f.place.child(name).choice(),
		Done:   func(names []string) { run.rep.deleted(func() string { return path(names) }) },
		Failed: func(names []string, err error) { run.rep.fail(path(names), fmt.Errorf("delete: %w", err)) },
	})
}

// makeRoom deletes a folder where the snapshot has something else, if that is wanted.
func (run *run) makeRoom(dir *jail.Dir, f *folder, name string) error {
	info, err := dir.Lstat(name)
	switch {
	case err != nil || !info.IsDir():
		return nil
	case !run.deletes(f) || !run.delete(dir, f, name):
		return jail.ErrFolder
	}
	return nil
}
