package restore

import (
	"cmp"
	"errors"
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

	plannedFiles, plannedBytes atomic.Uint64

	mu      sync.Mutex // also calls the events one at a time
	omitted map[string]*Omission
	failed  map[string]struct{} // paths with errors, so that verification leaves them out
}

func newReport(ev Events) *report {
	r := &report{ev: ev, p: ev.Progress, root: jail.IsRoot(), omitted: map[string]*Omission{}, failed: map[string]struct{}{}}
	if r.p == nil {
		r.p = new(Progress)
	}
	return r
}

// fail reports that an entry is not restored, or not in full.
func (r *report) fail(path string, err error) {
	if lost(err) {
		r.damaged.Add(1)
	} else {
		r.errs.Add(1)
	}
	r.p.Errors.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed[path] = struct{}{}
	if r.ev.Error != nil {
		r.ev.Error(path, err)
	}
}

// hasFailed reports whether fail was called for the path.
func (r *report) hasFailed(path string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.failed[path]
	return ok
}

// omit counts something that can not be restored here. err is nil for what never is.
func (r *report) omit(what string, err error, path func() string) {
	r.p.Skipped.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.omitted[what]
	if o == nil {
		o = &Omission{What: what, Path: path(), Err: err, Fault: r.root && err != nil}
		r.omitted[what] = o
	}
	o.Count++
	if o.Fault {
		r.errs.Add(1)
		r.p.Errors.Add(1)
	}
}

// done reports an entry that is restored in full.
func (r *report) done(t tree.Type, size int64, path func() string) {
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
	if r.ev.Item == nil {
		return
	}
	item := Item{Path: path(), Type: t, Size: size}
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
	if errors.As(err, new(*storeError)) {
		return true
	}
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EIO, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}
