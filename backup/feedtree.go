package backup

import (
	"context"
	"fmt"
	"strings"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/tree"
)

// level is a folder whose pages are being written.
type level struct {
	path   string // without the slash at its end
	node   *tree.Node
	writer *tree.DirWriter
	old    *tree.Node // what the parent has of it
	before *cursor    // of what is in it
}

// builder writes the pages of a snapshot whose entries come in the order of a walk.
type builder struct {
	*feed
	levels []level
	unused []*tree.DirWriter
	leaf   string // the last entry that is no folder
}

// build writes the pages of all folders and returns the root's.
func (w *feed) build(ctx context.Context, src source.Source) (object.BlobID, error) {
	replacing, ok := src.(source.Replacing)
	all, err := newEntries(w.records, ok && replacing.Replaces())
	if err != nil {
		return object.BlobID{}, err
	}
	b := &builder{feed: w}
	var old *tree.Node
	if w.parent != nil {
		if old, err = w.parent.RootNode(); err != nil {
			return object.BlobID{}, err
		}
	}
	b.push("", &tree.Node{Type: tree.Folder}, old)
	for i := range all.list {
		if !all.counts(i) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return object.BlobID{}, context.Cause(ctx)
		}
		n, err := all.node(i)
		if err == nil {
			err = b.add(ctx, all.list[i].path, n, all.list[i].added)
		}
		if err != nil {
			return object.BlobID{}, err
		}
	}
	for len(b.levels) > 1 {
		if err := b.pop(ctx); err != nil {
			return object.BlobID{}, err
		}
	}
	return b.levels[0].writer.Finish(ctx)
}

// add adds the next entry.
func (b *builder) add(ctx context.Context, path string, n *tree.Node, added int64) error {
	if b.leaf != "" && strings.HasPrefix(path, b.leaf) && path[len(b.leaf)] == '/' {
		return fmt.Errorf("%w: %s, since %s is no folder", source.ErrPath, path, b.leaf)
	}
	slash := strings.LastIndexByte(path, '/')
	if err := b.enter(ctx, path[:slash]); err != nil {
		return err
	}
	if n.Type == tree.Folder {
		old, err := b.before(ctx, n.Name)
		if err == nil {
			b.push(path, n, old)
		}
		return err
	}
	b.leaf = path
	old, err := b.before(ctx, n.Name)
	if err != nil {
		return err
	}
	return b.put(ctx, path, n, old, added)
}

// enter makes a folder the one that entries are added to.
func (b *builder) enter(ctx context.Context, dir string) error {
	for top := b.top(); top.path != dir && !strings.HasPrefix(dir, top.path+"/"); top = b.top() {
		if err := b.pop(ctx); err != nil {
			return err
		}
	}
	for top := b.top(); top.path != dir; top = b.top() {
		rest := dir[len(top.path)+1:]
		name, _, _ := strings.Cut(rest, "/")
		n := source.FolderNode(0o755)
		n.Name = name
		old, err := b.before(ctx, name)
		if err != nil {
			return err
		}
		b.push(dir[:len(top.path)+1+len(name)], &n, old)
	}
	return nil
}

func (b *builder) top() *level { return &b.levels[len(b.levels)-1] }

func (b *builder) push(path string, n, old *tree.Node) {
	l := level{path: path, node: n, old: old}
	if old != nil && old.Type == tree.Folder && !old.Subtree.IsZero() {
		l.before = newCursor(old.Subtree, b.repo.LoadTree)
	}
	if last := len(b.unused) - 1; last >= 0 {
		l.writer, b.unused = b.unused[last], b.unused[:last]
	} else {
		l.writer = tree.NewDirWriter(b.savePage)
	}
	b.levels = append(b.levels, l)
}

// pop ends the folder at the top.
func (b *builder) pop(ctx context.Context) error {
	l := *b.top()
	id, err := l.writer.Finish(ctx)
	if err != nil {
		return err
	}
	l.node.Subtree = id
	b.unused = append(b.unused, l.writer)
	b.levels = b.levels[:len(b.levels)-1]
	return b.put(ctx, l.path, l.node, l.old, 0)
}

// before returns what the parent has of an entry of the folder at the top.
func (b *builder) before(ctx context.Context, name string) (*tree.Node, error) {
	l := b.top()
	n, _, err := l.before.find(ctx, name)
	if err != nil {
		l.before = nil
		return nil, b.lost(l.path+"/", err)
	}
	return n, nil
}

// put adds an entry to the folder at the top, and reports it.
func (b *builder) put(ctx context.Context, path string, n, old *tree.Node, added int64) error {
	action := actionOf([2]*tree.Node{old}, old != nil && equalNodes(n, old))
	b.report.count(n, action)
	b.report.require.saw(n, func() string { return path })
	if b.report.wantsItems() {
		b.report.item(Item{Path: path, Type: n.Type, Action: action, Size: n.Size, Added: added})
	}
	return b.top().writer.Add(ctx, n)
}
