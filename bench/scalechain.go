package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/tree"
)

// How the other snapshots come about: 16 hosts have backed up the same tree, each day, and from one day to the next two
// files of it have changed. So they share nearly all folders; each adds some blobs and pages, two packs, an index
// segment and an entry of the log.
const (
	chainHosts   = 16
	chainFiles   = 2  // changed in each snapshot
	chainBlobs   = 5  // new in each of these
	chainReopen  = 50 // snapshots, after which the client that makes them is a new one
	chainPurpose = 1  // of the random numbers
)

func chainHost(i int) string { return fmt.Sprintf("host-%02d", i%chainHosts) }

// addSnapshots adds those that are wanted to the ones that there are, and returns how many there are then: fewer after
// an interruption.
func (d *scaleData) addSnapshots(ctx context.Context, path string, have int) (_ int, err error) {
	start := time.Now()
	cache, err := os.MkdirTemp(d.folder, "cache-")
	if err != nil {
		return have, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(cache)) }()
	c := &chain{cache: cache, rng: scaleRandom(d.seed, chainPurpose+byte(have))}
	c.pick = rand.New(c.rng)
	for have < d.size.snapshots && ctx.Err() == nil {
		to := min(have+chainReopen, d.size.snapshots)
		if err := c.extend(context.WithoutCancel(ctx), path, have, to); err != nil {
			return have, err
		}
		have = to
		note("%v: %d snapshots after %v", d.size, have, time.Since(start).Round(time.Second))
	}
	return have, nil
}

// chain makes snapshots, each from the one before of the same host.
type chain struct {
	saver
	cache string
	rng   *rand.ChaCha8
	pick  *rand.Rand
	fresh map[object.BlobID][]byte // pages of this session, which can not be read before its commit
}

// extend makes the snapshots with the numbers from up to, not including, to.
func (c *chain) extend(ctx context.Context, path string, from, to int) (err error) {
	r, done, err := openScale(ctx, path, c.cache)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	c.r = r
	last, err := newest(ctx, r)
	if err != nil {
		return err
	}
	roots := map[string]object.BlobID{}
	all, err := r.Snapshots(ctx)
	if err != nil {
		return err
	}
	for _, s := range all { // oldest first
		if roots[s.Host], err = s.RootID(); err != nil {
			return err
		}
	}
	for i := from; i < to; i++ {
		host := chainHost(i)
		root, ok := roots[host]
		if !ok {
			if root, err = last.RootID(); err != nil {
				return err
			}
		}
		if roots[host], err = c.snapshot(ctx, last, host, i, root); err != nil {
			return err
		}
	}
	return nil
}

// chainYears is how long ago the first of them was made.
const chainYears = 3

// snapshot commits snapshot i of a host, made from its last root.
func (c *chain) snapshot(ctx context.Context, like *repo.Snapshot, host string, i int, root object.BlobID) (object.BlobID, error) {
	c.host, c.fresh = host, map[object.BlobID][]byte{}
	err := c.begin(ctx)
	for range chainFiles {
		if err != nil {
			return root, err
		}
		root, err = c.change(ctx, root)
	}
	if err != nil {
		return root, err
	}
	m := like.Manifest
	m.Host, m.Root = host, root[:]
	m.Time += int64(time.Duration(i)*time.Hour) - int64(chainYears*365*24*time.Hour)
	m.End = m.Time
	_, err = c.s.Commit(repo.CommitOptions{Manifest: &m})
	return root, err
}

// change copies a folder in which one file, somewhere below it, has some new blobs.
func (c *chain) change(ctx context.Context, id object.BlobID) (object.BlobID, error) {
	var nodes []tree.Node
	for n, err := range tree.ReadDir(ctx, id, c.load) {
		if err != nil {
			return id, err
		}
		nodes = append(nodes, *n)
	}
	if len(nodes) == 0 {
		return id, errors.New("an empty folder")
	}
	var err error
	switch n := &nodes[c.pick.IntN(len(nodes))]; n.Type {
	case tree.Folder:
		n.Subtree, err = c.change(ctx, n.Subtree)
	case tree.File:
		err = c.rewrite(n)
	}
	if err != nil {
		return id, err
	}
	return tree.WriteDir(ctx, nodes, c.keep)
}

// keep stores a page.
func (c *chain) keep(ctx context.Context, page []byte) (object.BlobID, error) {
	id, err := c.page(ctx, page)
	c.fresh[id] = slices.Clone(page)
	return id, err
}

func (c *chain) load(ctx context.Context, id object.BlobID) ([]byte, error) {
	if page, ok := c.fresh[id]; ok {
		return page, nil
	}
	return c.r.LoadTree(ctx, id)
}

// rewrite replaces the first blobs of a file.
func (c *chain) rewrite(n *tree.Node) error {
	was := n.Content
	n.Content = tree.Content{}
	at := 0
	for e := range was.Extents() {
		if at++; at <= chainBlobs {
			var err error
			if e, err = c.random(c.rng, int(e.Length)); err != nil {
				return err
			}
		}
		n.Content.Append(e)
	}
	return nil
}
