package restore

import (
	"cmp"
	"errors"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/restore/internal/jail"
	"github.com/kura-backup/kura/tree"
)

// report counts what happens and tells the caller. It is safe for concurrent use.
type report struct {
	ev   Events
	p    *Progress
	root bool

	files, dirs, others, bytes, errs, damaged, verified atomic.Uint64
	skipped, skippedBytes, gone                         atomic.Uint64

	plannedFiles, plannedBytes atomic.Uint64

	mu      sync.Mutex // also calls the events one at a time
	omitted map[string]*Omission
	failed  map[string]struct{} // paths with errors, so that verification leaves them out
	kept    map[uint64]struct{} // hashes of paths that were left as they were, for the same reason
	seed    maphash.Seed
}

func newReport(ev Events) *report {
	r := &report{
		ev: ev, p: ev.Progress, root: jail.IsRoot(), omitted: map[string]*Omission{}, failed: map[string]struct{}{},
		kept: map[uint64]struct{}{}, seed: maphash.MakeSeed(),
	}
	if r.p == nil {
		r.p = new(Progress)
	}
	return r
}

// fail reports that an entry is not restored, or not in full.
func (r *report) fail(path string, err error) { r.note(path, err, true) }

// part reports that something in a folder is not restored.
func (r *report) part(path string, err error) { r.note(path, err, false) }

func (r *report) note(path string, err error, unverified bool) {
	if lost(err) {
		r.damaged.Add(1)
	} else {
		r.errs.Add(1)
	}
	r.p.Errors.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if unverified {
		r.failed[path] = struct{}{}
	}
	if r.ev.Error != nil {
		r.ev.Error(path, err)
	}
}

// hasFailed reports whether fail was called for the path.
func (r *report) hasFailed(path string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, failed := r.failed[path]
	_, kept := r.kept[maphash.String(r.seed, path)]
	return failed || kept
}

// What is omitted as a whole.
const (
	sockets = "sockets"
	devices = "device nodes"
)

// Unread is the Omission.What of files that could not be verified, because the user may not read what was restored.
const Unread = "verification"

// omit counts something that can not be restored here. err is nil for what never is.
func (r *report) omit(what string, err error, path func() string) {
	r.p.Skipped.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.omitted[what]
	if o == nil {
		o = &Omission{What: what, Whole: what == sockets || what == devices, Path: path(), Err: err, Fault: r.root && err != nil}
		r.omitted[what] = o
	}
	o.Count++
	if o.Fault {
		r.errs.Add(1)
		r.p.Errors.Add(1)
	}
}

// file reports a file that is complete.
func (r *report) file(f *file) {
	switch {
	case f.plan == keep:
		r.leave(f.size, f.path)
	case f.plan == reuse && !f.changed:
		r.keep(f.size, f.path)
	case f.replaces:
		r.complete(Updated, tree.File, f.size, f.path)
	default:
		r.complete(Restored, tree.File, f.size, f.path)
	}
}

// folder reports a folder that is complete.
func (r *report) folder(f *folder) { r.complete(Restored, tree.Folder, 0, f.path) }

// keep reports an entry that was left as it was.
func (r *report) keep(size int64, path func() string) {
	r.skipped.Add(1)
	r.skippedBytes.Add(uint64(size))
	r.p.FilesDone.Add(1)
	r.p.BytesDone.Add(uint64(size))
	r.p.FilesSkipped.Add(1)
	r.p.BytesSkipped.Add(uint64(size))
	r.item(Unchanged, tree.File, size, path)
}

// leave reports an entry that was left as it was whatever is in it, so that it is not verified.
func (r *report) leave(size int64, path func() string) {
	r.keep(size, path)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept[maphash.String(r.seed, path())] = struct{}{}
}

// deleted reports an entry that was deleted.
func (r *report) deleted(path func() string) {
	r.gone.Add(1)
	r.p.Deleted.Add(1)
	r.item(Deleted, 0, 0, path)
}

// done reports an entry that is restored in full.
func (r *report) done(t tree.Type, size int64, path func() string) {
	r.complete(Restored, t, size, path)
}

func (r *report) complete(a Action, t tree.Type, size int64, path func() string) {
	switch t {
	case tree.Folder:
		r.dirs.Add(1)
		r.p.DirsDone.Add(1)
	case tree.File:
		r.files.Add(1)
		r.bytes.Add(uint64(size))
		r.p.FilesDone.Add(1)
		r.p.BytesDone.Add(uint64(size))
	default:
		r.others.Add(1)
		r.p.FilesDone.Add(1)
	}
	r.item(a, t, size, path)
}

func (r *report) item(a Action, t tree.Type, size int64, path func() string) {
	if r.ev.Item == nil {
		return
	}
	item := Item{Action: a, Path: path(), Type: t, Size: size}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ev.Item(item)
}

// linked reports a further name of a file that is restored.
func (r *report) linked(size int64, path func() string) {
	r.done(tree.File, 0, path)
	r.p.BytesDone.Add(uint64(size))
}

// expect sets the totals before they are known exactly.
func (r *report) expect(s *repo.Summary) {
	r.p.FilesTotal.Store(s.Files + s.Others)
	r.p.BytesTotal.Store(s.Bytes)
}

// planned counts an entry that is not a folder towards the totals.
func (r *report) planned(n *tree.Node) {
	if f := r.plannedFiles.Add(1); f > r.p.FilesTotal.Load() {
		r.p.FilesTotal.Store(f)
	}
	if b := r.plannedBytes.Add(uint64(n.Size)); b > r.p.BytesTotal.Load() {
		r.p.BytesTotal.Store(b)
	}
}

// scanned says that the totals are exact now.
func (r *report) scanned() {
	r.p.FilesTotal.Store(r.plannedFiles.Load())
	r.p.BytesTotal.Store(r.plannedBytes.Load())
	r.p.ScanDone.Store(true)
}

func (r *report) result() *Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	res := &Result{
		Files: r.files.Load(), Dirs: r.dirs.Load(), Others: r.others.Load(), Bytes: r.bytes.Load(),
		Errors: r.errs.Load(), Damaged: r.damaged.Load(), Verified: r.verified.Load(),
		Skipped: r.skipped.Load(), SkippedBytes: r.skippedBytes.Load(), Deleted: r.gone.Load(),
	}
	for _, o := range r.omitted {
		res.Omitted = append(res.Omitted, *o)
	}
	slices.SortFunc(res.Omitted, func(a, b Omission) int { return cmp.Compare(a.What, b.What) })
	return res
}

// lost reports whether err is damage of the repository, which costs the entries concerned, and not a
// failure of the store, which ends the run.
func lost(err error) bool {
	return errors.As(err, new(*repo.DamageError)) || errors.As(err, new(*tree.PageError)) || errors.Is(err, tree.ErrInvalid)
}

// storeError marks an error that is not the target's.
type storeError struct{ err error }

func (e *storeError) Error() string { return e.err.Error() }
func (e *storeError) Unwrap() error { return e.err }

// fatal reports whether an error would meet all other entries, too.
func fatal(err error) bool {
	if err == nil { // of each file: what is asked below takes memory
		return false
	}
	if errors.As(err, new(*storeError)) {
		return true
	}
	if lost(err) { // it may wrap that a sector of the store can not be read, which says nothing of the target
		return false
	}
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EIO, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}
