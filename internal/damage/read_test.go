package damage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/restore"
	"github.com/kura-backup/kura/tree"
)

// reading is what came of reading all snapshots.
type reading struct {
	whole   map[string]bool // files that are what they were, by snapshot and path
	refused error           // the first error that names what is damaged
	wrong   error           // the first thing that must not be
}

// read reads every snapshot that there should be.
func (w *world) read(ctx context.Context, r *repo.Repository) *reading {
	got := &reading{whole: map[string]bool{}}
	for id, c := range w.want {
		e := r.State().Snapshots[id]
		if e == nil || !e.Live() {
			got.wrong = fmt.Errorf("snapshot %s is not there, and nothing says why", id.Short())
			continue
		}
		snap, err := r.OpenSnapshot(e)
		if err != nil {
			got.fail(err)
			continue
		}
		root, err := snap.RootID()
		if err != nil {
			got.fail(err)
			continue
		}
		seen := 0
		whole := got.folder(ctx, r, id, "", root, c, &seen)
		if whole && seen != len(c) {
			got.wrong = fmt.Errorf("snapshot %s has %d files instead of %d", id.Short(), seen, len(c))
		}
	}
	return got
}

// folder reads a folder and reports whether all of its entries could be listed.
func (g *reading) folder(ctx context.Context, r *repo.Repository, id object.SessionID, path string, dir object.BlobID, c content, seen *int) bool {
	whole := true
	for n, err := range tree.ReadDir(ctx, dir, r.LoadTree) {
		if err != nil {
			g.fail(err)
			whole = false
			continue
		}
		at := path + "/" + n.Name
		if n.Type == tree.Folder {
			whole = g.folder(ctx, r, id, at, n.Subtree, c, seen) && whole
			continue
		}
		*seen++
		data, err := readFile(ctx, r, n)
		if err != nil {
			g.fail(err)
			continue
		}
		if !bytes.Equal(data, c[at]) {
			g.wrong = fmt.Errorf("snapshot %s: %s has other bytes", id.Short(), at)
			continue
		}
		g.whole[id.String()+at] = true
	}
	return whole
}

func readFile(ctx context.Context, r *repo.Repository, n *tree.Node) (data []byte, err error) {
	for e, err := range tree.ReadContent(ctx, n, r.LoadTree) {
		if err != nil {
			return nil, err
		}
		b, err := r.LoadBlob(ctx, object.DataBlob, e.ID)
		if err != nil {
			return nil, err
		}
		data = append(data, b...)
	}
	return data, nil
}

// fail notes an error of reading, which must say what is damaged.
func (g *reading) fail(err error) {
	if named := damaged(err); named == "" {
		g.wrong = fmt.Errorf("an error that names no object: %w", err)
	}
	if g.refused == nil {
		g.refused = err
	}
}

// damaged is the name of the object that an error says is damaged, or where the index has no place for a blob,
// that of the blob.
func damaged(err error) string {
	if d := (*repo.DamageError)(nil); errors.As(err, &d) {
		if d.Object == "" {
			return d.Blob.String()
		}
		return d.Object
	}
	if d := (*log.DamageError)(nil); errors.As(err, &d) {
		return d.Name
	}
	return ""
}

// restore writes every snapshot into a folder, by package restore, and compares the files.
func (w *world) restore(ctx context.Context, r *repo.Repository) *reading {
	got := &reading{whole: map[string]bool{}}
	dir, err := os.MkdirTemp(w.dir, "target-")
	if err != nil {
		got.wrong = err
		return got
	}
	defer os.RemoveAll(dir)
	for id, c := range w.want {
		e := r.State().Snapshots[id]
		if e == nil {
			got.wrong = fmt.Errorf("snapshot %s is not there, and nothing says why", id.Short())
			continue
		}
		snap, err := r.OpenSnapshot(e)
		if err != nil {
			got.fail(err)
			continue
		}
		got.restored(ctx, r, snap, filepath.Join(dir, id.String()), c)
	}
	return got
}

func (g *reading) restored(ctx context.Context, r *repo.Repository, snap *repo.Snapshot, target string, c content) {
	bad := map[string]error{}
	_, err := restore.Run(ctx, r, snap, restore.Options{Target: target}, restore.Events{Error: func(path string, err error) {
		bad[path] = err
	}})
	if err != nil {
		g.fail(err)
		return
	}
	for _, err := range bad {
		g.fail(err)
	}
	for _, path := range slices.Sorted(maps.Keys(c)) {
		data, err := os.ReadFile(filepath.Join(target, path))
		switch {
		case reported(bad, path): // what is there of it is what could be read
		case err != nil:
			g.wrong = fmt.Errorf("snapshot %s: %s was not restored, and nothing said so: %w", snap.ID.Short(), path, err)
		case !bytes.Equal(data, c[path]):
			g.wrong = fmt.Errorf("snapshot %s: %s was restored with other bytes", snap.ID.Short(), path)
		default:
			g.whole[snap.ID.String()+path] = true
		}
	}
}

// reported reports whether an error was about a file or a folder above it.
func reported(bad map[string]error, path string) bool {
	for p := range bad {
		if p == path || strings.HasPrefix(path, strings.TrimSuffix(p, "/")+"/") {
			return true
		}
	}
	return false
}
