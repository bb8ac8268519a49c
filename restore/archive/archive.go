package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/restore"
	"github.com/kura-backup/kura/tree"
)

// Format is that of an archive.
type Format uint8

// The formats.
const (
	Tar Format = 1
	Zip Format = 2
)

var (
	// ErrFormat is returned for a format that there is not.
	ErrFormat = errors.New("archive: unknown format")
	// ErrNoPlace is wrapped where the format has no place for an entry, such as a device in a zip archive.
	ErrNoPlace = errors.New("the archive has no place for it")
)

// Events are told what happens, by one goroutine. Nil fields are allowed.
type Events struct {
	// Error is called for every entry that is not in the archive, or not all of it.
	Error func(path string, err error)
}

// Result is what was written.
type Result struct {
	Entries, Bytes uint64
	Errors         uint64 // entries that are missing, or not as they were
	Omitted        uint64 // those of them for which the format has no place
}

// sink is a format.
type sink interface {
	// add writes an entry; content is that of a file. ErrNoPlace means that nothing was written. Where only a part of the
	// entry has no place omitted says which, and all else was written.
	add(name string, n *tree.Node, content io.Reader) (omitted, err error)
	// link writes a further name of a file, or reports false if the format has none. ErrNoPlace means that nothing was written.
	link(name, first string, n *tree.Node) (bool, error)
	Close() error
}

// Write writes what is at a path of a snapshot: of a folder what is in it, under names that begin there; anything else under its
// own name. Where it returns an error the archive is not complete, and has no end.
func Write(ctx context.Context, r *repo.Repository, snap *repo.Snapshot, path string, w io.Writer, format Format, ev Events) (Result, error) {
	var to sink
	switch format {
	case Tar:
		to = newTar(ctx, r, w)
	case Zip:
		to = newZip(w)
	default:
		return Result{}, ErrFormat
	}
	node, err := r.Find(ctx, snap, path)
	if err != nil {
		return Result{}, err
	}
	x := &writer{ctx: ctx, repo: r, to: to, events: ev, names: map[file]*names{}}
	if node.Type == tree.Folder {
		err = x.folder(node)
	} else {
		err = x.entry(node.Name, node)
	}
	if err == nil {
		err = to.Close()
	}
	return x.result, err
}

// writer writes an archive.
type writer struct {
	ctx    context.Context // of the call
	repo   *repo.Repository
	to     sink
	events Events
	result Result
	names  map[file]*names
	mounts []string // folders with a file system of their own, each in the one before
}

// file is what hard links have in common.
type file struct {
	mount string
	inode uint64
}

// names are the names of a file that are still to come, if there are that many, and the first.
type names struct {
	first string
	left  uint64
}

func (x *writer) folder(dir *tree.Node) error {
	if dir.Subtree.IsZero() {
		return fmt.Errorf("archive: the folder could not be read when it was backed up: %s", dir.Error)
	}
	if dir.Error != "" {
		x.failed(dir.Name, fmt.Errorf("not all of it could be read when it was backed up: %s", dir.Error))
	}
	return tree.Walk(x.ctx, dir.Subtree, x.repo.LoadTree, func(path string, n *tree.Node) error {
		for len(x.mounts) > 0 && !strings.HasPrefix(path, x.mounts[len(x.mounts)-1]+"/") {
			x.mounts = x.mounts[:len(x.mounts)-1]
		}
		if n.Mount && n.Type == tree.Folder {
			x.mounts = append(x.mounts, path)
		}
		return x.entry(path[1:], n)
	})
}

// entry writes an entry.
func (x *writer) entry(name string, n *tree.Node) error {
	if err := x.ctx.Err(); err != nil {
		return context.Cause(x.ctx)
	}
	if n.Error != "" {
		x.failed(name, fmt.Errorf("it could not be read when it was backed up: %s", n.Error))
		if n.Type != tree.Folder {
			return nil
		}
	}
	linked, omitted, err := x.write(name, n)
	switch {
	case errors.Is(err, ErrNoPlace):
		omitted = fmt.Errorf("a %v: %w", n.Type, err)
	case err != nil:
		return fmt.Errorf("archive: %s: %w", name, err)
	case !linked:
		x.result.Bytes += uint64(n.Size)
		fallthrough
	default:
		x.result.Entries++
	}
	if omitted != nil {
		x.result.Omitted++
		x.failed(name, omitted)
	}
	return nil
}

// write writes an entry in full, or as a further name of a file that is in the archive already.
func (x *writer) write(name string, n *tree.Node) (linked bool, omitted, err error) {
	if n.Type != tree.File || n.Links < 2 {
		omitted, err = x.add(name, n)
		return false, omitted, err
	}
	key := file{inode: n.Inode}
	if len(x.mounts) > 0 {
		key.mount = x.mounts[len(x.mounts)-1]
	}
	known := x.names[key]
	if known == nil {
		// A name that is not in the archive can have no others.
		if omitted, err = x.add(name, n); err == nil {
			x.names[key] = &names{first: name, left: n.Links - 1}
		}
		return false, omitted, err
	}
	if known.left--; known.left == 0 {
		delete(x.names, key)
	}
	if linked, err = x.to.link(name, known.first, n); !linked && err == nil {
		omitted, err = x.add(name, n)
	}
	return linked, omitted, err
}

func (x *writer) add(name string, n *tree.Node) (omitted, err error) {
	if n.Type != tree.File {
		return x.to.add(name, n, nil)
	}
	content, err := restore.NewReader(x.ctx, x.repo, n)
	if err != nil {
		return nil, err
	}
	omitted, err = x.to.add(name, n, content)
	return omitted, errors.Join(err, content.Close())
}

func (x *writer) failed(path string, err error) {
	x.result.Errors++
	if x.events.Error != nil {
		x.events.Error(path, err)
	}
}
