package restore

import (
	"container/list"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/kura-backup/kura/restore/internal/jail"
	"github.com/kura-backup/kura/tree"
)

// folder is a folder of the target. Its metadata is set when nothing in it is pending any more.
type folder struct {
	parent *folder // nil for the target itself
	name   string
	meta   *meta // nil if it is to be left as it is

	made    bool // or found
	failed  bool // to be made
	missing bool // in the target, which a dry run does not change
	covered bool // it was backed up itself, not only gone through
	mount   bool // a file system was mounted here when it was backed up

	incomplete atomic.Bool // some of its entries are lost

	place   *place              // nil if everything is selected
	names   map[string]struct{} // in the snapshot; kept if others are to be deleted, then only those that were not listed
	surplus []string            // what is to be deleted

	// existed is set for a folder that was there before, inherits for one that hands down access
	// control lists to what is made in it.
	existed, inherits bool

	// pending counts entries that are not complete, and who may still add some.
	pending atomic.Int64

	dir  *jail.Dir // these are guarded by folders.mu; nil if not open
	refs int
	idle *list.Element
}

// path is the path in the snapshot, or below the entry of it that is being restored.
func (f *folder) path() string {
	if f.parent == nil {
		return "/"
	}
	return f.join("")
}

func (f *folder) join(name string) string {
	n := len(name)
	for d := f; d.parent != nil; d = d.parent {
		n += len(d.name) + 1
	}
	names := make([]string, 0, 16)
	for d := f; d.parent != nil; d = d.parent {
		names = append(names, d.name)
	}
	var b strings.Builder
	b.Grow(n + 1)
	for i := len(names) - 1; i >= 0; i-- {
		b.WriteByte('/')
		b.WriteString(names[i])
	}
	if name != "" {
		b.WriteByte('/')
		b.WriteString(name)
	}
	return b.String()
}

// maxIdleFolders is how many folders stay open that nobody is using at the moment.
const maxIdleFolders = 256

// folders keeps the folders open that were used last. It is safe for concurrent use.
type folders struct {
	mu   sync.Mutex
	idle list.List // of *folder, the last used in front
}

// acquire opens a folder, below the nearest folder above it that is open. The target always is.
func (c *folders) acquire(f *folder) (*jail.Dir, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var chain []*folder
	top := f
	for top.dir == nil {
		chain = append(chain, top)
		top = top.parent
	}
	c.use(top)
	for i := len(chain) - 1; i >= 0; i-- {
		next := chain[i]
		dir, err := top.dir.OpenDir(next.name)
		if err != nil {
			c.unuse(top)
			return nil, err
		}
		if !next.existed {
			dir.SetOurs()
		}
		next.dir = dir
		c.use(next)
		c.unuse(top)
		top = next
	}
	return f.dir, nil
}

func (c *folders) release(f *folder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unuse(f)
}

func (c *folders) use(f *folder) {
	f.refs++
	if f.idle != nil {
		c.idle.Remove(f.idle)
		f.idle = nil
	}
}

func (c *folders) unuse(f *folder) {
	if f.refs--; f.refs > 0 {
		return
	}
	f.idle = c.idle.PushFront(f)
	if c.idle.Len() > maxIdleFolders {
		c.shut(c.idle.Back().Value.(*folder))
	}
}

// shut closes an idle folder. Nothing was written through its descriptor, so errors say nothing.
func (c *folders) shut(f *folder) {
	c.idle.Remove(f.idle)
	_ = f.dir.Close()
	f.idle, f.dir = nil, nil
}

// forget closes a folder that is not going to be used again, unless somebody is just using it.
func (c *folders) forget(f *folder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.idle != nil {
		c.shut(f)
	}
}

// closeAll closes all idle folders. It comes last.
func (c *folders) closeAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.idle.Len() > 0 {
		c.shut(c.idle.Back().Value.(*folder))
	}
}

// errLedThrough is returned where a folder of the snapshot is none in the target, and only led to what was backed up.
var errLedThrough = errors.New("restore: a link, or something else that is no folder, is in the way, and the backup only went through here; restore ID:PATH to the place that is meant")

// newFolder plans a folder, which is made when it is known that something of it is restored.
func (run *run) newFolder(parent *folder, name string, m *meta) *folder {
	f := &folder{parent: parent, name: name, meta: m, place: parent.place.child(name)}
	f.pending.Store(1) // the walker
	parent.pending.Add(1)
	return f
}

// make makes a folder and those above it, or finds them. If it can not, it reports that once and returns false.
func (run *run) make(f *folder) bool {
	if f.made || f.failed {
		return f.made
	}
	if !run.make(f.parent) {
		f.failed = true
		return false
	}
	if err := run.makeFolder(f); err != nil {
		f.failed = true
		run.folderError = run.entryError(f.path, fmt.Errorf("this folder and all in it: %w", err))
		return false
	}
	f.made = true
	return true
}

// abandon says that the walker adds no more to a folder. One that was not made is forgotten.
func (run *run) abandon(f *folder) error {
	if run.folderError != nil {
		return run.folderError
	}
	return run.done(f)
}

// makeFolder makes a folder, or opens one that exists, and prepares it for what is going to be in it.
func (run *run) makeFolder(f *folder) (err error) {
	if f.missing = f.parent.missing; f.missing {
		return nil
	}
	dir, err := run.folders.acquire(f.parent)
	if err != nil {
		return err
	}
	defer run.folders.release(f.parent)
	if err := run.checkWay(dir, f); err != nil || f.missing {
		return err
	}
	if !run.o.DryRun {
		if f.existed, err = dir.Mkdir(f.name); err != nil {
			return err
		}
	}
	if !f.existed && !f.parent.inherits {
		return nil
	}
	own, err := run.folders.acquire(f)
	if err != nil {
		return err
	}
	defer run.folders.release(f)
	switch {
	case run.o.DryRun:
	case f.existed:
		return errors.Join(f.prepare(own), run.noteDisk(f, own))
	default:
		own.DropACLs()
	}
	return nil
}

// checkWay looks at what has the name of a folder.
func (run *run) checkWay(dir *jail.Dir, f *folder) error {
	if !run.o.DryRun && !f.meta.mtime.IsZero() && run.o.Overwrite < OverwriteIfNewer {
		return nil // Mkdir does all that is needed
	}
	info, err := dir.Lstat(f.name)
	if errors.Is(err, syscall.ENOENT) {
		f.missing = run.o.DryRun
		return nil
	}
	switch {
	case err != nil:
		return err
	case info.IsDir():
		f.existed = true
	case f.meta.mtime.IsZero():
		// Only folders above the paths that were backed up have no times. Where the backup went through a
		// symbolic link, as /lib often is one, the real folder must not take the link's place.
		return errLedThrough
	case run.o.Overwrite.keeps(&info, f.meta.mtime):
		return errKept
	default:
		f.missing = run.o.DryRun
	}
	return nil
}

// prepare looks at a folder that exists.
func (f *folder) prepare(dir *jail.Dir) error {
	f.existed = true
	f.inherits = dir.HasDefaultACL()
	info, err := dir.Stat()
	if err != nil || info.Mode&0o700 == 0o700 {
		return err
	}
	// If that is refused, what is made in the folder says so, unless the user is root.
	_ = dir.Chmod(info.Mode | 0o700)
	return nil
}

// done says that an entry of the folder is complete, or that the caller adds no more. The last one sets
// the metadata, and goes on with the folder above.
func (run *run) done(f *folder) error {
	for f != nil && f.pending.Add(-1) == 0 {
		if err := run.finishFolder(f); err != nil {
			return err
		}
		f = f.parent
	}
	return nil
}

func (run *run) finishFolder(f *folder) error {
	if f.parent != nil {
		defer run.folders.forget(f)
	}
	if !f.made {
		return nil
	}
	if err := run.deleteSurplus(f); err != nil {
		return err
	}
	if f.meta == nil {
		return nil
	}
	if !run.o.DryRun {
		dir, err := run.folders.acquire(f)
		if err != nil {
			return run.entryError(f.path, err)
		}
		defer run.folders.release(f)
		set := run.apply
		if f.existed {
			set = run.settle
		}
		if err := set(&dir.Handle, tree.Folder, f.meta, f.path); err != nil {
			return run.entryError(f.path, err)
		}
	}
	run.rep.folder(f)
	return nil
}
