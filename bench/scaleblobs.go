package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/tree"
)

// saver stores blobs and pages in sessions, one after the other.
type saver struct {
	r    *repo.Repository
	host string
	s    *repo.Session
}

func (g *saver) begin(ctx context.Context) (err error) {
	if err := g.r.Refresh(ctx); err != nil {
		return err
	}
	g.s, err = g.r.NewSession(ctx, repo.SessionOptions{Compression: repo.Compression{Off: true}, Host: g.host, Workers: 1})
	return err
}

func (g *saver) page(_ context.Context, page []byte) (object.BlobID, error) {
	saved, err := g.s.SaveNow(object.TreeBlob, page)
	return saved.ID, err
}

// random stores a blob of random bytes.
func (g *saver) random(rng *rand.ChaCha8, size int) (tree.Extent, error) {
	b := make([]byte, size)
	_, _ = rng.Read(b) // never fails
	saved, err := g.s.SaveNow(object.DataBlob, b)
	return tree.Extent{Kind: tree.Data, ID: saved.ID, Length: int64(size)}, err
}

// blobMaker copies a snapshot, with other content.
type blobMaker struct {
	saver
	like *repo.Snapshot
	rng  *rand.ChaCha8

	made   int                 // blobs, of all sessions
	part   int                 // of this one
	burst  int                 // since the last that will be garbage
	dead   *tree.ContentWriter // of these in this session
	deads  int64
	copied []tree.Node // folders that are done in this session
}

func (g *blobMaker) run(ctx context.Context) error {
	if err := g.beginPart(ctx); err != nil {
		return err
	}
	node, err := g.like.RootNode()
	if err != nil {
		return err
	}
	id, err := g.folder(ctx, node.Subtree)
	if err != nil {
		return err
	}
	if err := g.commitPart(ctx); err != nil {
		return err
	}
	if err := g.begin(ctx); err != nil {
		return err
	}
	m := g.like.Manifest
	m.Root, m.Time, m.End = id[:], m.Time+int64(time.Second), m.End+int64(time.Second)
	if !g.s.Rely(id) {
		return errors.New("the topmost folder is not stored")
	}
	_, err = g.s.Commit(repo.CommitOptions{Manifest: &m})
	return err
}

func (g *blobMaker) beginPart(ctx context.Context) error {
	g.part, g.deads, g.copied = 0, 0, nil
	g.dead = tree.NewContentWriter(g.page)
	return g.begin(ctx)
}

// folder copies a folder.
func (g *blobMaker) folder(ctx context.Context, id object.BlobID) (object.BlobID, error) {
	w := tree.NewDirWriter(g.page)
	for n, err := range tree.ReadDir(ctx, id, g.r.LoadTree) {
		if err != nil {
			return id, err
		}
		node := *n
		switch {
		case node.Type == tree.Folder && !node.Subtree.IsZero():
			if node.Subtree, err = g.folder(ctx, node.Subtree); err != nil {
				return id, err
			}
			g.copied = append(g.copied, tree.Node{Name: strconv.Itoa(len(g.copied)), Type: tree.Folder, Mode: 0o755, Subtree: node.Subtree})
			if g.part >= partBlobs {
				if err := g.commitPart(ctx); err != nil {
					return id, err
				}
				if err := g.beginPart(ctx); err != nil {
					return id, err
				}
			}
		case node.Type == tree.File && node.Size > 0:
			if err := g.file(ctx, &node); err != nil {
				return id, err
			}
		}
		if err := w.Add(ctx, &node); err != nil {
			return id, err
		}
	}
	return w.Finish(ctx)
}

// file gives a file content of its own.
func (g *blobMaker) file(ctx context.Context, node *tree.Node) error {
	node.Content, node.Pages = tree.Content{}, nil
	for left := node.Size; left > 0; {
		size := int64(blobBytes)
		if left == largeBytes {
			size = largeBytes
		}
		e, err := g.blob(int(size))
		if err != nil {
			return err
		}
		node.Content.Append(e)
		left -= size
	}
	return g.garbage(ctx)
}

// blob stores a new blob.
func (g *blobMaker) blob(size int) (tree.Extent, error) {
	g.made++
	g.part++
	g.burst++
	return g.random(g.rng, size)
}

// garbage stores blobs that will be garbage, now and then.
func (g *blobMaker) garbage(ctx context.Context) error {
	if g.burst < burstBlobs {
		return nil
	}
	for range burstBlobs / 10 {
		e, err := g.blob(blobBytes)
		if err != nil {
			return err
		}
		if err := g.dead.Add(ctx, e); err != nil {
			return err
		}
		g.deads += blobBytes
	}
	g.burst = 0
	return nil
}

// commitPart commits a snapshot of what is done in this session, and of what will be garbage. It is forgotten
// later.
func (g *blobMaker) commitPart(ctx context.Context) error {
	dead := tree.Node{Name: "dead", Type: tree.File, Mode: 0o644, Size: g.deads}
	if err := g.dead.Finish(ctx, &dead); err != nil {
		return err
	}
	slices.SortFunc(g.copied, func(a, b tree.Node) int { return strings.Compare(a.Name, b.Name) })
	root, err := tree.WriteDir(ctx, append(g.copied, dead), g.page)
	if err != nil {
		return err
	}
	m := repo.Manifest{Time: g.like.Time, End: g.like.Time, Host: partsHost, Paths: [][]byte{[]byte("/generated")}, Root: root[:]}
	_, err = g.s.Commit(repo.CommitOptions{Manifest: &m})
	return err
}
