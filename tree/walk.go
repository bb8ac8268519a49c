package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/kura-backup/kura/internal/object"
)

// maxNesting bounds how deep Walk goes, because it recurses. File systems refuse paths long before.
const maxNesting = 10_000

// Walk calls visit for every node below a folder, given the id of its first page: a folder before what is
// in it, entries in order of their names. The path begins with a slash and is relative to that
// folder. visit may return [fs.SkipDir] to leave out what is in a folder, and [fs.SkipAll] to end
// the walk; any other error ends it and is returned, as are those of [ReadDir].
func Walk(ctx context.Context, root object.BlobID, load LoadFunc, visit func(path string, n *Node) error) error {
	err := walk(ctx, "", root, load, visit, maxNesting)
	if errors.Is(err, fs.SkipAll) {
		return nil
	}
	return err
}

func walk(
	ctx context.Context, path string, id object.BlobID, load LoadFunc, visit func(string, *Node) error, depth int,
) error {
	if depth == 0 {
		return fmt.Errorf("%w: more than %d folders in each other", ErrTooDeep, maxNesting)
	}
	for n, err := range ReadDir(ctx, id, load) {
		if err != nil {
			return err
		}
		sub := path + "/" + n.Name
		err = visit(sub, n)
		if errors.Is(err, fs.SkipDir) && n.Type == Folder {
			continue
		}
		if err != nil {
			return err
		}
		if n.Subtree.IsZero() {
			continue
		}
		if err := walk(ctx, sub, n.Subtree, load, visit, depth-1); err != nil {
			return err
		}
	}
	return nil
}
