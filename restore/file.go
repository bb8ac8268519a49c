package restore

import (
	"cmp"
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/kura-backup/kura/restore/internal/jail"
	"github.com/kura-backup/kura/tree"
)

// file is a regular file to be restored. It is complete when nothing of it is pending.
type file struct {
	dir  *folder
	name string
	size int64
	meta meta

	// whole is set if the content is a single blob, and holes: it is written in one go.
	whole bool
	zeros []span // of a whole file: what takes space on disk
	inode *inode // of a file with several names, otherwise nil

	// What comparing has found, before anything is written.
	plan     plan
	replaces bool      // something that is no folder has the name
	old      jail.Info // of it
	inPlace  bool      // reuse: it can be changed where it is
	trusted  bool      // reuse: its content is not compared
	changed  bool      // reuse: something of it differs

	pending atomic.Int64          // blobs to be written; and the walker, as long as it may add some
	failure atomic.Pointer[error] // the first one

	mu       sync.Mutex // guards what follows
	open     *jail.File // nil while it is closed
	id       jail.Identity
	created  bool
	finished bool   // all is written and set
	beside   string // its name as long as something else has its own

	refs int           // guarded by openFiles.mu
	idle *list.Element // guarded by openFiles.mu
}

// plan says what a file is made of.
type plan uint8

const (
	create plan = iota // a new file
	reuse              // the one that exists
	keep               // the one that exists, as it is
)

func (f *file) path() string { return f.dir.join(f.name) }

// at is the name that a file has in its folder at the moment.
func (f *file) at() string { return cmp.Or(f.beside, f.name) }

// nameBeside is what a file is named that is made beside another one that has its name, and keeps it until this one is whole. A run that
// was killed leaves it, and the next one, which finds the same name, removes it.
func (f *file) nameBeside() string {
	sum := sha256.Sum256([]byte(f.name))
	return ".kura-" + hex.EncodeToString(sum[:8])
}

// left reports whether what has the name beside is what such a run has left: marked, or whole and about to take the other file's place.
func (f *file) left(old *jail.Info) bool {
	const special = 0o7000 // the permissions may be those of an access control list by then
	marked := old.Mode&special == jail.Unfinished&special
	return old.IsFile() && (marked || old.Size == f.size && f.meta.hasTime(old))
}

func (f *file) failed() bool { return f.failure.Load() != nil }

// fail gives a file up, and reports it once.
func (run *run) fail(f *file, err error) {
	if f.failure.CompareAndSwap(nil, &err) {
		run.rep.fail(f.path(), err)
	}
}

// fileError gives a file up, or returns an error that ends the run.
func (run *run) fileError(f *file, err error) error {
	if err == nil {
		return nil
	}
	if run.ctx.Err() != nil {
		return context.Cause(run.ctx)
	}
	if fatal(err) {
		return pathError(f.path(), err)
	}
	run.fail(f, err)
	return nil
}

// put writes a blob to its place in a file.
func (run *run) put(f *file, at int64, data []byte) error {
	if f.whole {
		return run.writeWhole(f, at, data)
	}
	h, err := run.files.acquire(run, f)
	if err != nil {
		return err
	}
	err = h.WriteAt(data, at)
	return errors.Join(err, run.files.release(run, f))
}

// writeWhole creates, writes and finishes a file. data may be empty.
func (run *run) writeWhole(f *file, at int64, data []byte) (err error) {
	dir, err := run.folders.acquire(f.dir)
	if err != nil {
		return err
	}
	defer run.folders.release(f.dir)
	h, err := dir.Create(f.name)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, h.Close())
		if err != nil {
			err = errors.Join(err, dir.Remove(f.name))
		}
	}()
	if err := run.begin(f, h); err != nil {
		return err
	}
	if err := h.WriteAt(data, at); err != nil {
		return err
	}
	if f.size > at+int64(len(data)) {
		if err := h.Truncate(f.size); err != nil {
			return err
		}
	}
	for i := range f.zeros {
		if err := h.Allocate(f.zeros[i].at, f.zeros[i].length); err != nil {
			return err
		}
	}
	return run.finish(f, h)
}

// begin prepares a file that was just created.
func (run *run) begin(f *file, h *jail.File) error {
	if f.dir.inherits {
		h.DropACLs()
	}
	if flags := f.meta.flags & jail.FlagsForContent; flags != 0 {
		_ = h.AddFlags(flags) // tried again, and counted, with the other flags
	}
	return nil
}

// finish sets the metadata of a file that is written.
func (run *run) finish(f *file, h *jail.File) error {
	m := &f.meta
	if f.inode != nil {
		info, err := h.Stat()
		if err != nil {
			return err
		}
		f.id = info.Identity
	}
	if m.flags&jail.FlagsThatLock != 0 && (f.inode != nil || f.beside != "") { // it is still to be linked, or renamed
		unlocked := *m
		unlocked.flags &^= jail.FlagsThatLock
		m = &unlocked
	}
	if f.plan == reuse {
		if err := run.settle(&h.Handle, tree.File, m, f.path); err != nil {
			return err
		}
	} else if err := run.apply(&h.Handle, tree.File, m, f.path); err != nil {
		return err
	}
	f.finished = true
	return nil
}

// release says that one thing that was pending is not any more. The last one completes the file.
func (run *run) release(f *file) error {
	if f.pending.Add(-1) > 0 {
		return nil
	}
	return run.complete(f)
}

func (run *run) complete(f *file) error {
	if !f.failed() && !run.o.DryRun && !f.finished && f.plan != keep {
		if err := run.fileError(f, run.files.finish(run, f)); err != nil {
			return err
		}
	}
	if f.failed() {
		if err := run.files.discard(run, f); err != nil {
			return err
		}
	} else {
		run.rep.file(f)
	}
	if f.inode != nil {
		if err := run.releaseInode(f.inode); err != nil {
			return err
		}
	}
	return run.done(f.dir)
}

// maxIdleFiles is how many unfinished files stay open that nobody is writing to at the moment.
const maxIdleFiles = 64

// openFiles keeps files open that are written in pieces. It is safe for concurrent use.
type openFiles struct {
	folders *folders

	mu         sync.Mutex
	idle       list.List          // of *file, the last used in front
	incomplete map[*file]struct{} // created but not finished
}

// acquire opens a file, and creates it the first time.
func (c *openFiles) acquire(run *run, f *file) (*jail.File, error) {
	c.mu.Lock()
	f.refs++
	if f.idle != nil {
		c.idle.Remove(f.idle)
		f.idle = nil
	}
	c.mu.Unlock()

	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open != nil {
		return f.open, nil
	}
	if err := c.openLocked(run, f); err != nil {
		c.mu.Lock()
		f.refs--
		c.mu.Unlock()
		return nil, err
	}
	return f.open, nil
}

func (c *openFiles) openLocked(run *run, f *file) error {
	dir, err := c.folders.acquire(f.dir)
	if err != nil {
		return err
	}
	defer c.folders.release(f.dir)
	switch {
	case f.plan == reuse && f.changed:
		f.open, err = dir.Update(f.name, f.id)
		return err
	case f.plan == reuse:
		f.open, err = dir.OpenSame(f.name, f.id)
		return err
	case f.created:
		f.open, err = dir.Reopen(f.at(), f.id)
		return err
	}
	beside := ""
	if f.replaces && f.old.Mode != jail.Unfinished { // it is all that there is, should a part of the new one be lost
		beside = f.nameBeside()
		if old, err := dir.Lstat(beside); err == nil && !f.left(&old) {
			return fmt.Errorf("%s has the name that a file gets which is made beside this one: move it away", beside)
		}
	}
	name := cmp.Or(beside, f.name)
	h, err := dir.Create(name)
	if err != nil {
		return err
	}
	info, err := h.Stat()
	if err == nil {
		err = run.begin(f, h)
	}
	if err == nil {
		err = h.Truncate(f.size) // refuses sizes that the file system does not have
	}
	if err != nil {
		return errors.Join(err, h.Close(), dir.Remove(name))
	}
	f.open, f.id, f.created, f.beside = h, info.Identity, true, beside
	c.mu.Lock()
	defer c.mu.Unlock()
	c.incomplete[f] = struct{}{}
	return nil
}

// release says that the caller does not use the file any more. The one that has been idle the longest is
// closed if there are too many.
func (c *openFiles) release(run *run, f *file) error {
	old := c.unuse(f)
	if old == nil {
		return nil
	}
	old.mu.Lock()
	defer old.mu.Unlock()
	c.mu.Lock()
	busy := old.refs > 0
	c.mu.Unlock()
	if busy || old.open == nil {
		return nil
	}
	err := old.open.Close()
	old.open = nil
	return run.fileError(old, err)
}

// unuse returns a file that should be closed, or nil.
func (c *openFiles) unuse(f *file) *file {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.refs--; f.refs > 0 {
		return nil
	}
	f.idle = c.idle.PushFront(f)
	if c.idle.Len() <= maxIdleFiles {
		return nil
	}
	old := c.idle.Remove(c.idle.Back()).(*file)
	old.idle = nil
	return old
}

// finish sets the metadata of a file that nobody writes to any more, and closes it.
func (c *openFiles) finish(run *run, f *file) error {
	h, err := c.acquire(run, f)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.plan == reuse && f.changed {
		err = h.Truncate(f.size)
	}
	if err == nil {
		err = run.finish(f, h)
	}
	err = errors.Join(err, h.Close())
	f.open = nil
	if err == nil && f.beside != "" {
		err = run.takePlace(f)
	}
	c.forget(f, err == nil)
	return err
}

// takePlace gives a file that is whole its own name, in place of what has had it.
func (run *run) takePlace(f *file) error {
	dir, err := run.folders.acquire(f.dir)
	if err != nil {
		return err
	}
	defer run.folders.release(f.dir)
	if err := dir.Replace(f.beside, f.id, f.name); err != nil {
		return err
	}
	f.beside, f.created = "", false // so nobody takes it away any more
	flags := f.meta.flags & jail.FlagsThatLock
	if flags == 0 || f.inode != nil {
		return nil
	}
	err = run.lock(f, flags)
	if !fatal(err) {
		run.omitFlags(err, flags, f.path)
		err = nil
	}
	return err
}

// forget ends the care for a file that is closed.
func (c *openFiles) forget(f *file, finished bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.refs = 0
	if f.idle != nil {
		c.idle.Remove(f.idle)
		f.idle = nil
	}
	if finished {
		delete(c.incomplete, f)
	}
}

// discard closes a file that failed and removes it, if it was created. One that was there before stays, marked as
// unfinished if anything was written to it.
func (c *openFiles) discard(run *run, f *file) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open != nil {
		_ = f.open.Close()
		f.open = nil
	}
	c.forget(f, true)
	if !f.created {
		return nil
	}
	dir, err := c.folders.acquire(f.dir)
	if err != nil {
		return run.entryError(f.path, err)
	}
	defer c.folders.release(f.dir)
	if err := dir.RemoveOwn(f.at(), f.id); err != nil {
		return run.entryError(f.path, err)
	}
	return nil
}

// discardAll removes all files that are not complete, after the run has failed, and closes those that were there before.
func (c *openFiles) discardAll(run *run) {
	for f := range c.incomplete {
		_ = c.discard(run, f) // the run has its error already
	}
	for c.idle.Len() > 0 { // nobody is at work any more: whatever is open is idle
		_ = c.discard(run, c.idle.Front().Value.(*file))
	}
}
