package backup

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/tree"
)

// reporter counts what an attempt does and passes it on to Events. It is safe for concurrent use.
type reporter struct {
	events   Events
	progress *Progress // never nil
	require  *requirements
	mu       sync.Mutex

	files, dirs, others, bytes   atomic.Uint64
	created, changed, unmodified atomic.Uint64 // files
	errors                       atomic.Uint64
	addedBefore, storedBefore    atomic.Uint64 // by sessions that are over
}

func newReporter(ev Events, require *requirements) *reporter {
	r := &reporter{events: ev, progress: ev.Progress, require: require}
	if r.progress == nil {
		r.progress = new(Progress)
	}
	p := r.progress
	for _, c := range []*atomic.Uint64{&p.FilesDone, &p.DirsDone, &p.BytesDone, &p.BytesNew, &p.BytesStored, &p.Errors} {
		c.Store(0) // of an attempt that has to be repeated
	}
	return r
}

// error reports an entry that could not be read, or not in full.
func (r *reporter) error(path string, err error) {
	if damage := (*repo.DamageError)(nil); !errors.As(err, &damage) {
		r.errors.Add(1)
		r.progress.Errors.Add(1)
	}
	if r.events.Error != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.events.Error(path, err)
	}
}

// entry counts an entry that is in the snapshot, and the progress that it is.
func (r *reporter) entry(n *tree.Node, action Action) {
	r.count(n, action)
	if n.Type == tree.Folder {
		r.progress.DirsDone.Add(1)
		return
	}
	if n.Type == tree.File && action == Unmodified {
		r.progress.BytesDone.Add(uint64(n.Size))
	}
	r.progress.FilesDone.Add(1)
}

// count counts an entry that is in the snapshot.
func (r *reporter) count(n *tree.Node, action Action) {
	switch n.Type {
	case tree.Folder:
		r.dirs.Add(1)
	case tree.File:
		r.files.Add(1)
		if n.Error == "" {
			r.bytes.Add(uint64(n.Size))
		}
		switch action {
		case New:
			r.created.Add(1)
		case Changed:
			r.changed.Add(1)
		case Unmodified:
			r.unmodified.Add(1)
		}
	default:
		r.others.Add(1)
	}
}

func (r *reporter) wantsItems() bool { return r.events.Item != nil }

func (r *reporter) item(i Item) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events.Item(i)
}

// stored notes what a session has stored so far.
func (r *reporter) stored(s repo.Stats) {
	r.progress.BytesNew.Store(r.addedBefore.Load() + s.Added)
	r.progress.BytesStored.Store(r.storedBefore.Load() + s.Stored)
}

// sessionOver adds up what a session has stored.
func (r *reporter) sessionOver(s repo.Stats) {
	r.addedBefore.Add(s.Added)
	r.storedBefore.Add(s.Stored)
}

// summary is what was counted so far, with what the current session has stored.
func (r *reporter) summary(s repo.Stats) repo.Summary {
	return repo.Summary{
		Files: r.files.Load(), Dirs: r.dirs.Load(), Others: r.others.Load(), Bytes: r.bytes.Load(),
		FilesNew: r.created.Load(), FilesChanged: r.changed.Load(), FilesUnmodified: r.unmodified.Load(),
		BytesAdded: r.addedBefore.Load() + s.Added, BytesStored: r.storedBefore.Load() + s.Stored,
		Errors: r.errors.Load(),
	}
}
