package check

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
	"github.com/kura-backup/kura/tree"
)

// What is listed of the damage in trees; the rest is counted.
const (
	maxListed         = 1000
	maxListedSnapshot = 100
)

// snapshots walks the trees of all live snapshots. What several of them share is looked at once, unless
// something in it is damaged: that is reported for each.
func (c *checker) snapshots(ctx context.Context) error {
	if !c.r.Keys().CanRead(seal.Meta) {
		return nil // a writer's key reads no trees
	}
	if c.indexLost {
		return nil // every blob would seem lost
	}
	ix, err := c.r.VerifiedIndex(ctx)
	if err != nil {
		return err
	}
	w := &walker{c: c, ix: ix, clean: map[object.BlobID]struct{}{}, dirty: map[object.BlobID]struct{}{}}
	entries := slices.SortedFunc(maps.Values(c.st.Snapshots), func(a, b *log.Snapshot) int { return int(int64(a.N) - int64(b.N)) })
	for i, s := range entries {
		c.step(i, len(entries))
		if !s.Live() {
			continue
		}
		c.rep.Snapshots++
		w.id, w.damaged = s.ID, 0
		clear(w.dirty)
		err := w.snapshot(ctx, s)
		if errors.Is(err, errForgotten) {
			clear(w.clean) // what it was about to look at may be part of others
			c.rep.Snapshots--
			continue
		}
		if err != nil {
			return err
		}
		if w.damaged > 0 {
			c.rep.SnapshotsDamaged++
		}
	}
	return nil
}

type walker struct {
	c       *checker
	ix      *repo.Index
	id      object.SessionID           // of the snapshot that is walked
	damaged int                        // files and folders of it
	listed  int                        // of all snapshots
	clean   map[object.BlobID]struct{} // folders in which, and below which, all is right
	dirty   map[object.BlobID]struct{} // the others of this snapshot: reported at the first of their paths
}

// errForgotten ends the walk of a snapshot that somebody has forgotten since the check began: what is
// missing of it may have been collected.
var errForgotten = errors.New("check: the snapshot was forgotten")

// maxFolders bounds the nesting of folders; Linux allows some 4000 in a path that can be named.
const maxFolders = 1 << 16

func (w *walker) snapshot(ctx context.Context, s *log.Snapshot) error {
	snap, err := w.c.r.OpenSnapshot(s)
	if err != nil {
		// That this key does not fit it, which reads all others, is the manifest's fault.
		return w.note(ctx, "", &repo.DamageError{Object: object.LogName(s.N), Err: fmt.Errorf("its manifest: %w", reason(err))})
	}
	root, err := snap.RootID()
	if err != nil {
		return w.note(ctx, "", &repo.DamageError{Object: object.LogName(s.N), Err: err})
	}
	return w.dir(ctx, "/", root, 0)
}

// dir checks a folder and all below it. It returns only errors that are not damage.
func (w *walker) dir(ctx context.Context, path string, id object.BlobID, depth int) error {
	if _, ok := w.clean[id]; ok {
		return nil
	}
	if _, ok := w.dirty[id]; ok {
		w.damaged++
		return nil
	}
	if depth > maxFolders {
		return w.note(ctx, path, &repo.DamageError{Err: tree.ErrTooDeep})
	}
	before := w.damaged
	for n, err := range tree.ReadDir(ctx, id, w.c.r.LoadTree) {
		if err == nil {
			err = w.node(ctx, join(path, n.Name), n, depth)
		} else {
			err = w.note(ctx, path, damage(err))
		}
		if err != nil {
			return err
		}
	}
	if w.damaged == before {
		w.clean[id] = struct{}{}
	} else {
		w.dirty[id] = struct{}{}
	}
	return nil
}

func (w *walker) node(ctx context.Context, path string, n *tree.Node, depth int) error {
	for _, x := range n.XAttrs {
		if !x.Blob.IsZero() {
			if err := w.blob(ctx, x.Blob); err != nil {
				return w.note(ctx, path, err)
			}
		}
	}
	switch n.Type {
	case tree.Folder:
		if !n.Subtree.IsZero() {
			return w.dir(ctx, path, n.Subtree, depth+1)
		}
	case tree.File:
		for e, err := range tree.ReadContent(ctx, n, w.c.r.LoadTree) {
			if err == nil && e.Kind == tree.Data {
				err = w.blob(ctx, e.ID)
			}
			if err != nil {
				return w.note(ctx, path, damage(err)) // one is enough to know
			}
		}
	}
	return nil
}

// blob checks that the index knows a blob in a live pack that can be read.
func (w *walker) blob(ctx context.Context, id object.BlobID) error {
	_, err := w.ix.Lookup(id)
	for errors.Is(err, repo.ErrNotFound) {
		// A collector may have moved the blob since: look at the log again, as often as it moves.
		if rerr := w.c.r.Refresh(ctx); rerr != nil {
			return rerr
		}
		newer, ierr := w.c.r.VerifiedIndex(ctx)
		if ierr != nil {
			return ierr
		}
		if newer == w.ix {
			break
		}
		w.ix = newer
		_, err = w.ix.Lookup(id)
	}
	if lost := w.c.lost[id]; lost != nil && err == nil {
		err = &repo.DamageError{Object: lost.at.Name(), Blob: id, Err: errors.New("can not be read")}
		if !lost.base.IsZero() {
			err = &repo.DamageError{Object: lost.at.Name(), Blob: id, Err: fmt.Errorf("is stored as a difference to blob %s, which can not be read", lost.base.Short())}
		}
	}
	return err
}

// note notes what is damaged in the snapshot that is walked.
func (w *walker) note(ctx context.Context, path string, err error) error {
	d := (*repo.DamageError)(nil)
	if !errors.As(err, &d) {
		if !repo.Unreadable(ctx, err) {
			return err
		}
		d = &repo.DamageError{Err: err}
	}
	if err := w.c.r.Refresh(ctx); err != nil {
		return err
	}
	if now := w.c.r.State().Snapshots[w.id]; now == nil || !now.Live() {
		return errForgotten
	}
	e := d.Err
	if !d.Blob.IsZero() {
		e = fmt.Errorf("blob %s: %w", d.Blob.Short(), e)
	}
	w.damaged++
	w.c.rep.FilesDamaged++
	if w.damaged > maxListedSnapshot || w.listed >= maxListed {
		w.c.rep.Unlisted++
		return nil
	}
	w.listed++
	w.c.problem(Problem{Object: d.Object, Snapshot: w.id.Short(), Path: path, Err: e})
	return nil
}

// damage makes a page that can not be decoded, or content that does not add up, a DamageError.
func damage(err error) error {
	if errors.As(err, new(*repo.DamageError)) {
		return err
	}
	if p := (*tree.PageError)(nil); errors.As(err, &p) {
		return &repo.DamageError{Blob: p.ID, Err: p.Err}
	}
	if errors.Is(err, tree.ErrInvalid) {
		return &repo.DamageError{Err: err}
	}
	return err
}

func join(dir, name string) string {
	if dir == "/" {
		return "/" + name
	}
	return dir + "/" + name
}
