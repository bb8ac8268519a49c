package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/source/files"
	"github.com/kura-backup/kura/tree"
)

// entryState says what is left to do for an entry of a batch.
type entryState uint8

const (
	elsewhere entryState = iota // somebody else finishes it
	toDo
	settled // its result is in its entry, but not yet published
)

// rest is what is left of a batch that met a large file.
type rest struct {
	f     *folder
	from  int
	stats []files.Stat
	state []entryState
}

func (r *rest) run(ctx context.Context, w *worker) error {
	return w.finishBatch(ctx, r.f, r.from, r.stats, r.state)
}

// batch backs up some entries of a folder.
func (w *worker) batch(ctx context.Context, f *folder, from, to int) error {
	stats, state := w.stats[:to-from], w.state[:to-from]
	w.children = w.children[:0]
	// In the order of inodes, by which file systems lay them out: lstat alone of 60,000 files of a folder of a cold ext4 takes 5 % less
	// time (and 15 % less if all are sorted, for which all have to be in memory).
	order := w.order[:len(stats)]
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(f.entries[from+a].inode, f.entries[from+b].inode) })
	for _, i := range order {
		s, err := w.look(f, from+i, &stats[i])
		if err != nil {
			return err
		}
		state[i] = s
	}
	if len(w.children) > 0 {
		slices.SortFunc(w.children, func(a, b *folder) int { return cmp.Compare(a.at, b.at) })
		w.queue.pushFolders(w.children)
		clear(w.children)
	}
	if w.report.events.Progress != nil {
		path := f.pathOf(f.entries[from].name)
		w.report.progress.Current.Store(&path)
	}
	return w.finishBatch(ctx, f, from, stats, state)
}

// look finds out what an entry is, and opens a task if it is a folder.
func (w *worker) look(f *folder, i int, st *files.Stat) (entryState, error) {
	e := &f.entries[i]
	plan := f.plan.find(e.name)
	above := !f.inside && !plan.given
	if err := f.dir.Stat(e.name, above, st); err != nil {
		w.lacks(f, e, vanished(err))
		return settled, nil
	}
	if st.Type == tree.Folder {
		if plan == nil && f.leavesOut(e.name, st) {
			return settled, nil
		}
		w.children = append(w.children, w.openFolder(f, i, st))
		return elsewhere, nil
	}
	if plan == nil {
		if f.leavesOut(e.name, st) {
			return settled, nil
		}
		return toDo, nil
	}
	if len(plan.children) > 0 {
		// It is no way to the given paths below it, even if it is a symlink: it is backed up as what it is.
		w.report.error(f.pathOf(e.name), fmt.Errorf("a %v, not a folder: what was named below it is not in the snapshot", st.Type))
	}
	if !plan.given && (!f.inside || f.only || f.leavesOutName(e.name) || f.leavesOut(e.name, st)) {
		return settled, nil
	}
	return toDo, nil
}

func (w *worker) openFolder(f *folder, i int, st *files.Stat) *folder {
	e := &f.entries[i]
	node := &tree.Node{Name: e.name, Mount: f.isMount(st)}
	c := &folder{up: f, at: i, node: node, onDev: st.Dev, scope: f.scope.child(e.name, st)}
	w.describe(node, st)
	if c.inside {
		c.dir = f.dir.Child(e.name)
	} else {
		// Times and inodes there are none of the source's business: they would make every run differ.
		node.MTime, node.CTime, node.BTime, node.ATime, node.Inode = tree.Time{}, tree.Time{}, tree.Time{}, tree.Time{}, 0
		c.path = f.pathOf(e.name)
		c.dir = w.pool.Root(c.path)
	}
	for k, old := range e.old {
		if old != nil && old.Type == tree.Folder {
			c.old[k] = old
		}
	}
	e.child = c
	return c
}

// isMount reports whether an entry is on another file system than its folder.
func (f *folder) isMount(st *files.Stat) bool { return f.onDev != 0 && f.onDev != st.Dev }

// finishBatch does what is left to do of a batch.
func (w *worker) finishBatch(ctx context.Context, f *folder, from int, stats []files.Stat, state []entryState) error {
	for i := range stats {
		if state[i] != toDo {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if stats[i].Type == tree.File && stats[i].Size > largeFile && i+1 < len(stats) {
			w.queue.push(&rest{f, from + i + 1, slices.Clone(stats[i+1:]), slices.Clone(state[i+1:])})
			stats, state = stats[:i+1], state[:i+1]
			if err := w.publish(ctx, f, from, state); err != nil {
				return err
			}
			clear(state[:i]) // published
		}
		done, err := w.entry(ctx, f, from+i, &stats[i])
		if err != nil {
			return err
		}
		state[i] = elsewhere
		if done {
			state[i] = settled
		}
		if i+1 == len(stats) {
			break // stats may have become shorter
		}
	}
	w.report.stored(w.session.Stats())
	return w.publish(ctx, f, from, state)
}

// entry backs up an entry that is no folder, and reports whether that is done.
func (w *worker) entry(ctx context.Context, f *folder, i int, st *files.Stat) (done bool, err error) {
	e := &f.entries[i]
	for range 3 {
		if done, err := w.reuse(ctx, f, e, st); done || err != nil {
			return done, err
		}
		if st.Type != tree.File {
			w.other(ctx, f, e, st)
			return true, nil
		}
		done, err = w.file(ctx, f, i, st)
		if !errors.Is(err, files.ErrOtherType) {
			return done, err
		}
		// Something else took the file's name since it was looked at: do that instead.
		if err := f.dir.Stat(e.name, false, st); err != nil {
			w.lacks(f, e, vanished(err))
			return true, nil
		}
		if st.Type == tree.Folder {
			w.queue.push(w.openFolder(f, i, st))
			return false, nil
		}
	}
	w.lacks(f, e, ErrChanged)
	return true, nil
}

// lacks reports an entry that the snapshot will not have. If it is there all the same its folder says so: a restore must not
// delete it from there. The folder does not say which one it is, for what two workers find would differ from run to run.
func (w *worker) lacks(f *folder, e *entry, err error) {
	w.report.error(f.pathOf(e.name), err)
	if errors.Is(err, ErrVanished) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.node.Error == "" {
		f.node.Error = errorText(fmt.Errorf("entries of it are missing: %w", err))
	}
}

// other backs up what is neither file nor folder.
func (w *worker) other(ctx context.Context, f *folder, e *entry, st *files.Stat) {
	n := &tree.Node{Name: e.name}
	w.describeIn(f, n, st)
	path := func() string { return f.pathOf(e.name) }
	if st.Type == tree.Symlink {
		target, err := f.dir.Readlink(e.name)
		if err != nil {
			if err = vanished(err); errors.Is(err, ErrVanished) {
				w.report.error(path(), err)
				return
			}
			w.report.error(path(), err)
			n.Error = errorText(err)
		}
		if n.Target = target; target == "" && n.Error == "" {
			n.Error = "it leads nowhere" // to no name at all; some synthetic file systems do that
		}
	}
	attrs, err := f.dir.AttrsOf(e.name)
	w.attributes(ctx, n, attrs, err, path)
	w.conclude(f, e, n, 0)
}

// conclude makes n the result of an entry that was read.
func (w *worker) conclude(f *folder, e *entry, n *tree.Node, added int64) {
	e.node = n
	e.same = e.old[0] != nil && equalNodes(n, e.old[0])
	w.settle(f, n, actionOf(e.old, e.same && n.Type != tree.File), added)
}

// settle counts and reports an entry that is in the snapshot.
func (w *walk) settle(f *folder, n *tree.Node, action Action, added int64) {
	w.report.entry(n, action)
	w.report.require.saw(n, func() string { return f.pathOf(n.Name) })
	if w.report.wantsItems() {
		w.report.item(Item{Path: f.pathOf(n.Name), Type: n.Type, Action: action, Size: n.Size, Added: added})
	}
}

func actionOf(old [2]*tree.Node, same bool) Action {
	switch {
	case same:
		return Unmodified
	case old[0] != nil || old[1] != nil:
		return Changed
	}
	return New
}

// describe sets what stat says of an entry.
func (w *walk) describe(n *tree.Node, st *files.Stat) {
	n.Type, n.Mode, n.UID, n.GID = st.Type, st.Mode, st.UID, st.GID
	n.User, n.Group = w.owners.User(st.UID), w.owners.Group(st.GID)
	n.MTime, n.CTime, n.BTime = st.MTime, st.CTime, st.BTime
	if w.rules.withAtime {
		n.ATime = st.ATime
	}
	n.Inode, n.Device = st.Inode, st.Device
	if st.Type == tree.File {
		n.Size = st.Size
	}
	if n.Links = 0; st.Links > 1 && st.Type != tree.Folder {
		n.Links = st.Links
	}
}

// describeIn sets what stat says of an entry of f that is no folder. The inode of one that is mounted
// there by itself means nothing among those around it, so it is no hard link of any of them.
func (w *walk) describeIn(f *folder, n *tree.Node, st *files.Stat) {
	w.describe(n, st)
	if f.isMount(st) {
		n.Links = 0
	}
}

// attributes sets the folder's extended attributes and inode flags. They change with the ctime.
func (f *folder) attributes(ctx context.Context, w *worker, always bool) {
	if !always {
		for k, old := range f.old {
			if old != nil && old.Error == "" && old.Inode == f.node.Inode && old.CTime == f.node.CTime &&
				!tooFresh(old.CTime, w.starts[k]) && w.relyAttributes(old) {
				f.node.XAttrs, f.node.Flags = old.XAttrs, old.Flags
				return
			}
		}
	}
	if f.up == nil {
		return // the root's own metadata is not stored
	}
	attrs, err := f.dir.Attrs()
	w.attributes(ctx, f.node, attrs, err, f.ownPath)
	f.node.Flags = f.dir.Flags()
}

func (w *worker) relyAttributes(n *tree.Node) bool {
	for i := range n.XAttrs {
		if id := n.XAttrs[i].Blob; !id.IsZero() && !w.session.Rely(id) {
			return false
		}
	}
	return true
}

// attributes sets extended attributes of an entry that was described; what of them could not be read is only reported:
// the entry's content is not worth less. Its ctime is then not known, so that the next run asks again, and does not
// take the entry for what it was.
func (w *worker) attributes(ctx context.Context, n *tree.Node, attrs []files.Attr, err error, path func() string) {
	for _, a := range attrs {
		x := tree.XAttr{Name: a.Name, Value: a.Value}
		if len(a.Value) > tree.MaxInlineXAttr {
			id, e := w.savePage(ctx, a.Value)
			if e != nil {
				return // the session has failed and says so to the next who asks
			}
			x.Value, x.Blob = nil, id
		}
		n.XAttrs = append(n.XAttrs, x)
	}
	if err != nil {
		n.CTime = tree.Time{}
		w.report.error(path(), err)
	}
}

// vanished makes ErrVanished of an error that says that an entry is not there.
func vanished(err error) error {
	if errors.Is(err, unix.ENOENT) {
		return ErrVanished
	}
	return err
}

// errorText is what a snapshot says about an entry that could not be read.
func errorText(err error) string {
	const limit = 1024
	s := err.Error()
	return s[:min(len(s), limit)]
}

func sameOwner(a, b *tree.Node) bool {
	return a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && a.User == b.User && a.Group == b.Group &&
		a.BTime == b.BTime && a.ATime == b.ATime && a.Links == b.Links && a.Mount == b.Mount
}

// equalNodes reports whether two nodes encode to the same bytes.
func equalNodes(a, b *tree.Node) bool {
	return a.Name == b.Name && a.Type == b.Type && sameOwner(a, b) &&
		a.MTime == b.MTime && a.CTime == b.CTime && a.Inode == b.Inode && a.Device == b.Device &&
		a.Flags == b.Flags && a.Target == b.Target && a.Error == b.Error && a.Size == b.Size &&
		a.Subtree == b.Subtree && slices.Equal(a.Pages, b.Pages) &&
		slices.EqualFunc(a.XAttrs, b.XAttrs, func(x, y tree.XAttr) bool {
			return x.Name == y.Name && x.Blob == y.Blob && string(x.Value) == string(y.Value)
		}) &&
		slices.Equal(a.Content.IDs, b.Content.IDs) && slices.Equal(a.Content.Lengths, b.Content.Lengths) &&
		slices.Equal(kinds(a), kinds(b))
}

func kinds(n *tree.Node) []tree.ExtentKind {
	if !slices.ContainsFunc(n.Content.Kinds, func(k tree.ExtentKind) bool { return k != tree.Data }) {
		return nil
	}
	return n.Content.Kinds
}
