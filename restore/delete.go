package restore

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
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
func (run *run) prepareDelete(ctx context.Context, snap *repo.Snapshot) (err error) {
	if !snap.Complete() {
		return errPartial
	}
	run.given = slices.Sorted(slices.Values(snap.PathStrings()))
	if run.spare, err = jail.SpareOf(run.o.Spare); err != nil {
		return fmt.Errorf("restore: what is to be spared: %w", err)
	}
	run.config, err = run.loadConfig(ctx)
	return err
}

// loadConfig returns the repository's config or its copy as they are stored, or nil where there is neither.
func (run *run) loadConfig(ctx context.Context) ([]byte, error) {
	var failed error
	for _, name := range []string{object.ConfigName, object.ConfigCopyName} {
		obj, err := run.r.Store().Get(ctx, name, 0, -1, nil)
		if err == nil && len(obj) > 0 {
			return obj, nil
		}
		if !errors.Is(err, backends.ErrNotExist) {
			failed = errors.Join(failed, err)
		}
	}
	if failed != nil {
		return nil, fmt.Errorf("restore: what the repository is known by: %w", failed)
	}
	return nil, nil
}

// isRepository reports whether a folder is the repository that is read, or a copy of it. Where the store is reached over a network, or by
// another machine, nobody knows a path that leads there.
func (run *run) isRepository(dir *jail.Dir) bool {
	return run.config != nil && dir.HasFile(run.config, object.ConfigName, object.ConfigCopyName)
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

// findSurplus finds out what is in a folder and not in the snapshot. It is deleted when the folder is complete, but see [dropSpellings].
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
	empty := len(names) == 0
	for _, name := range all {
		if _, ok := names[name]; ok {
			delete(names, name)
		} else if f.place.selects(name) {
			f.surplus = append(f.surplus, name)
		}
	}
	slices.Sort(f.surplus)
	if len(f.surplus) == 0 {
		return nil
	}
	why, err := run.staysFull(f, dir, empty)
	if err != nil {
		f.surplus = nil
		return run.entryError(f.path, err)
	}
	if why != nil {
		f.surplus = nil
		run.spared(f.path(), why)
		return nil
	}
	f.names = names // which may be listed under another spelling
	return nil
}

// dropSpellings returns those of the surplus that are still there, and that are not what the snapshot has: some file systems take two spellings
// for one name, and list the one that was there first. An entry that is not listed under its name and found by it all the same is one of those that are
// listed, which its identity tells. All that the snapshot has is restored by now; names are those that were not listed before.
func dropSpellings(surplus, listed []string, names map[string]struct{}, identify func(name string) (jail.Identity, bool)) []string {
	there := make(map[string]bool, len(surplus))
	for _, name := range surplus {
		there[name] = false
	}
	for _, name := range listed {
		delete(names, name)
		if _, ok := there[name]; ok {
			there[name] = true
		}
	}
	spelled := map[jail.Identity]struct{}{}
	for name := range names {
		if id, ok := identify(name); ok {
			spelled[id] = struct{}{}
		}
	}
	return slices.DeleteFunc(surplus, func(name string) bool {
		if !there[name] || len(spelled) == 0 {
			return !there[name]
		}
		id, ok := identify(name)
		_, same := spelled[id]
		return ok && same
	})
}

// staysFull returns why nothing is deleted from a folder, or nil. empty is set if the snapshot has nothing in it. A
// backup that does not go into other file systems has the empty folders in which they are mounted, and so has one that ran
// while they were not.
func (run *run) staysFull(f *folder, dir *jail.Dir, empty bool) (why, err error) {
	own, err := run.spare.Holds(dir, run.isRepository)
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
	surplus, names := f.surplus, f.names
	f.surplus, f.names = nil, nil
	if len(surplus) == 0 {
		return nil
	}
	dir, err := run.folders.acquire(f)
	if err != nil {
		return run.entryError(f.path, err)
	}
	defer run.folders.release(f)
	listed, err := dir.Names()
	if err != nil {
		return run.entryError(f.path, err)
	}
	identify := func(name string) (jail.Identity, bool) {
		info, err := dir.Lstat(name) // what can not be looked at by a name is not deleted by it either
		return info.Identity, err == nil
	}
	for _, name := range dropSpellings(surplus, listed, names, identify) {
		if run.ctx.Err() != nil {
			return nil // the run ends
		}
		run.delete(dir, f, name)
	}
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
		Own:    run.isRepository,
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
	if own, err := run.spare.Holds(dir, run.isRepository); err != nil || own {
		return errors.Join(jail.ErrFolder, err)
	}
	if !run.delete(dir, f, name) {
		return jail.ErrFolder
	}
	return nil
}
