package restore

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/restore/internal/jail"
)

// errTop is returned where a restore might empty the system.
var errTop = fmt.Errorf("%w: to delete what the snapshot does not have, below the topmost folder of the system, and no patterns", ErrOptions)

// errPartial is returned where a snapshot has less than there was, and its folders do not say which of them lack something.
var errPartial = fmt.Errorf("%w: to delete what the snapshot does not have, and one of a run that was cut off, which lacks all that the run had not reached", ErrOptions)

// Why something stays that the snapshot does not have.
var (
	errOwn        = errors.New("restore: it belongs to the repository, the cache or the keys that are in use")
	errWasMounted = errors.New("restore: a file system was mounted here of which the snapshot has nothing")
	errNowMounted = errors.New("restore: a file system is mounted here of which the snapshot has nothing")
)

// prepareDelete finds out what is not deleted.
func (run *run) prepareDelete(snap *repo.Snapshot) (err error) {
	if !snap.Complete() {
		return errPartial
	}
	run.given = slices.Sorted(slices.Values(snap.PathStrings()))
	if run.spare, err = jail.SpareOf(run.o.Spare); err != nil {
		return fmt.Errorf("restore: what is to be spared: %w", err)
	}
	return nil
}

// coversTop reports whether the topmost folder of a snapshot was itself backed up, in full. It has no node that could say, as
// those of other folders do, that the backup could not look at some of its entries, or a repair not save them.
func (run *run) coversTop(snap *repo.Snapshot) bool {
	return slices.Contains(run.given, "/") && snap.Suspect == 0 && snap.Summary.Errors == 0
}

// passedThrough reports whether the backup may have gone through a folder only to what was given below it. If an exclude or a
// mount kept it from the rest, the folder does not say so.
func (run *run) passedThrough(f *folder) bool {
	if !run.o.Delete {
		return false
	}
	at := path.Join("/", run.o.Path, f.path())
	if _, given := slices.BinarySearch(run.given, at); given {
		return false
	}
	below := strings.TrimSuffix(at, "/") + "/"
	i, _ := slices.BinarySearch(run.given, below)
	return i < len(run.given) && strings.HasPrefix(run.given[i], below)
}

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
	if len(f.surplus) == 0 {
		return nil
	}
	why, err := run.staysFull(f, dir, len(names) == 0)
	if err != nil {
		f.surplus = nil
		return run.entryError(f.path, err)
	}
	if why != nil {
		f.surplus = nil
		run.spared(f.path(), why)
	}
	return nil
}

// staysFull returns why nothing is deleted from a folder, or nil. empty is set if the snapshot has nothing in it. A
// backup that does not go into other file systems has the empty folders in which they are mounted, and so has one that ran
// while they were not.
func (run *run) staysFull(f *folder, dir *jail.Dir, empty bool) (why, err error) {
	own, err := run.spare.Holds(dir)
	switch {
	case err != nil:
		return nil, err
	case own:
		return errOwn, nil
	case empty && f.mount:
		return errWasMounted, nil
	case empty && dir.IsMounted():
		return errNowMounted, nil
	}
	return nil, nil
}

// spared tells of something that stays though the snapshot does not have it.
func (run *run) spared(path string, why error) {
	run.rep.mu.Lock()
	defer run.rep.mu.Unlock()
	if run.rep.ev.Spared != nil {
		run.rep.ev.Spared(path, why)
	}
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
		Spare:  run.spare,
		Spared: func(names []string) { run.spared(path(names), errOwn) },
	})
}

// makeRoom deletes a folder where the snapshot has something else, if that is wanted.
func (run *run) makeRoom(dir *jail.Dir, f *folder, name string) error {
	info, err := dir.Lstat(name)
	switch {
	case err != nil || !info.IsDir():
		return nil
	case !run.deletes(f):
		return jail.ErrFolder
	}
	if own, err := run.spare.Holds(dir); err != nil || own {
		return errors.Join(jail.ErrFolder, err)
	}
	if !run.delete(dir, f, name) {
		return jail.ErrFolder
	}
	return nil
}
