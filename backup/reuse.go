package backup

import (
	"context"

	"github.com/kura-backup/kura/source/files"
	"github.com/kura-backup/kura/tree"
)

// reuse takes over what a parent has of an entry if it did not change since.
func (w *worker) reuse(ctx context.Context, f *folder, e *entry, st *files.Stat) (bool, error) {
	for k, old := range e.old {
		if old == nil || !w.sameContent(k, old, st) {
			continue
		}
		strict := w.unchanged(k, old, st)
		if !strict && st.Type != tree.File {
			continue // quickly read
		}
		known, err := w.relyNode(ctx, f, old)
		if err != nil {
			return false, err
		}
		if !known {
			continue
		}
		if !strict {
			return w.reuseContent(ctx, f, e, k, st), nil
		}
		e.node, e.same = old, k == 0
		var fresh tree.Node
		w.describeIn(f, &fresh, st)
		if !sameOwner(old, &fresh) {
			// Nothing that the ctime would show; a user may have got another name.
			n := *old
			n.Mode, n.UID, n.GID, n.User, n.Group = fresh.Mode, fresh.UID, fresh.GID, fresh.User, fresh.Group
			n.BTime, n.ATime, n.Links = fresh.BTime, fresh.ATime, fresh.Links
			e.node, e.same = &n, false
		}
		w.settle(f, e.node, Unmodified, 0)
		return true, nil
	}
	return false, nil
}

// sameContent reports whether an entry has the content that the k-th parent has of it, by the rules that the user
// has chosen.
func (w *walk) sameContent(k int, old *tree.Node, st *files.Stat) bool {
	if old.Type != st.Type || old.Error != "" || old.MTime != st.MTime || old.Device != st.Device ||
		old.Type == tree.File && old.Size != st.Size {
		return false
	}
	if w.rules.ignoreCtime || w.rules.ignoreInode {
		return (w.rules.ignoreInode || old.Inode == st.Inode) && !tooFresh(old.MTime, w.starts[k]) &&
			old.CTime != (tree.Time{}) // otherwise some of it could not be read: see attributes
	}
	return w.unchanged(k, old, st)
}

// unchanged reports whether nothing of an entry with the same content has changed, either.
func (w *walk) unchanged(k int, old *tree.Node, st *files.Stat) bool {
	return old.Inode == st.Inode && old.CTime == st.CTime && !tooFresh(old.CTime, w.starts[k])
}

// reuseContent takes over the content that a parent has of a file, and reads the rest anew. It reports false if the
// file can not be opened.
func (w *worker) reuseContent(ctx context.Context, f *folder, e *entry, k int, st *files.Stat) bool {
	file, err := f.dir.Open(ctx, e.name, st.UID)
	if err != nil {
		return false
	}
	defer file.Close()
	if same, err := file.Same(st); err != nil || !same {
		return false
	}
	old := e.old[k]
	n := &tree.Node{Name: e.name, Content: old.Content, Pages: old.Pages}
	w.describeIn(f, n, st)
	attrs, err := file.Attrs()
	w.attributes(ctx, n, attrs, err, func() string { return f.pathOf(e.name) })
	n.Flags = file.Flags()
	e.node, e.same = n, k == 0 && equalNodes(n, old)
	w.settle(f, n, Unmodified, 0)
	return true
}

// relyNode reports whether the repository still has everything that a parent's node refers to.
func (w *worker) relyNode(ctx context.Context, f *folder, n *tree.Node) (bool, error) {
	if !w.relyAttributes(n) || !w.relyAll(n.Content.IDs) || !w.relyAll(n.Pages) {
		return false, nil
	}
	if len(n.Pages) == 0 {
		return true, nil
	}
	for e, err := range tree.ReadContent(ctx, n, w.repo.LoadTree) {
		if err != nil {
			return false, w.parentLost(f, err)
		}
		if e.Kind == tree.Data && !w.session.Rely(e.ID) {
			return false, nil
		}
	}
	return true, nil
}
