package restore

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/kura-backup/kura/internal/budget"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/restore/internal/jail"
	"github.com/kura-backup/kura/tree"
)

// run is one restore. It is safe for concurrent use once it has begun.
type run struct {
	r   *repo.Repository
	o   Options
	rep *report
	ctx context.Context // of the stages; for errors, and for what they load aside

	target     *folder
	madeTarget bool // by this run, or by one that was cut off
	folders    folders
	files      openFiles
	disks      map[uint64]disk // by their device; of the walker until the end

	selection   *selection
	xattrs      xattrFilter
	given       []string   // if something is deleted, the paths that were backed up, sorted
	spare       jail.Spare // what is not deleted
	config      []byte     // if something is deleted, the repository's, by which it is known; nil if it has none
	folderError error      // that ends the run; of the walker

	fetched, decoded, linked *budget.Budget
	reach                    repo.Reach
	near                     bool // the store: see atOnce
	fetchers                 int
	decoders                 int
	writers                  int
}

func newRun(r *repo.Repository, o Options, ev Events) *run {
	cpus := runtime.GOMAXPROCS(0)
	run := &run{
		r: r, o: o, rep: newReport(ev),
		fetched: budget.New(fetchedBudget), decoded: budget.New(decodedBudget), linked: budget.New(linkedBudget),
		reach: r.Reach(), fetchers: 8, decoders: cpus, writers: max(4, 2*cpus),
	}
	if r.Store().Caps().Local {
		run.near, run.fetchers = true, max(4, 2*cpus)
	}
	if o.Concurrency > 0 {
		run.fetchers, run.writers = o.Concurrency, o.Concurrency
	}
	run.files = openFiles{folders: &run.folders, incomplete: map[*file]struct{}{}}
	return run
}

func (run *run) result() *Result { return run.rep.result() }

// atOnce reports whether a segment goes through all stages in one goroutine: what came from a near store and is not compressed is in
// the core's cache then, and behind others in a queue it would not be.
func (run *run) atOnce(seg *segment) bool {
	return run.near && seg.Coding == pack.Raw && len(seg.needs) <= needsPerJob
}

// prepare checks the options.
func (run *run) prepare() (err error) {
	if run.o.Target == "" {
		return errors.New("restore: no target folder given")
	}
	if err := run.o.Check(); err != nil {
		return err
	}
	if run.selection, err = newSelection(&run.o.Patterns); err != nil {
		return err
	}
	run.xattrs, err = newXAttrFilter(&run.o)
	return err
}

func (run *run) restore(ctx context.Context, snap *repo.Snapshot) error {
	if err := run.prepare(); err != nil {
		return err
	}
	if run.o.Delete {
		if err := run.prepareDelete(ctx, snap); err != nil {
			return err
		}
	}
	node, err := run.r.Find(ctx, snap, run.o.Path)
	if err != nil {
		return err
	}
	if node.Name == "" && run.selection == nil {
		run.rep.expect(&snap.Summary)
	}
	if err := run.openTarget(node); err != nil {
		return err
	}
	defer run.closeTarget()
	run.target.covered = !node.MTime.IsZero() && node.Error == "" && !run.passedThrough(run.target) ||
		node.Name == "" && run.coversTop(snap)
	run.target.mount = node.Mount
	if run.o.Delete && run.selection == nil && run.target.dir != nil && run.target.dir.IsTop() {
		return errTop
	}

	if err := run.transferAll(ctx, node); err != nil {
		run.files.discardAll(run)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	if run.o.DryRun {
		return nil
	}
	if run.o.Verify {
		if err := run.verify(ctx, node); err != nil {
			return err
		}
	}
	if run.o.Sync {
		return run.sync()
	}
	return nil
}

// openTarget opens the target, or makes it. As which folder of the snapshot it is made is written on it, as it were, until it has the metadata
// of that: a run that was cut off has made what the next one finds.
func (run *run) openTarget(node *tree.Node) error {
	run.target = &folder{made: true, place: run.selection.root()}
	run.target.pending.Store(1) // the walker
	var dir *jail.Dir
	var made bool
	var err error
	if run.o.DryRun {
		dir, err = jail.View(run.o.Target)
		if errors.Is(err, syscall.ENOENT) {
			run.target.missing = true
			return nil
		}
	} else {
		dir, made, err = jail.Open(run.o.Target, isTop(node))
	}
	var info jail.Info
	if err == nil {
		run.target.dir, run.target.refs = dir, 1
		info, err = dir.Stat()
	}
	if err == nil {
		err = run.noteDisk(run.target, dir)
	}
	if err != nil {
		run.closeTarget()
		return fmt.Errorf("restore: target: %w", err)
	}
	run.madeTarget = made || isTop(node) && info.IsUnfinished()
	if made && isTop(node) {
		dir.DropACLs()
	}
	if made {
		dir.SetOurs()
	}
	run.target.existed, run.target.inherits = !made, dir.HasDefaultACL()
	return nil
}

// isTop reports whether a node has the metadata of a target that was made for it: everything in a snapshot is in no folder that has any.
func isTop(node *tree.Node) bool { return node.Type == tree.Folder && node.Name != "" }

func (run *run) closeTarget() {
	run.folders.closeAll()
	run.closeDisks()
	if run.target.dir != nil {
		_ = run.target.dir.Close() // a folder: nothing was written through it
	}
}

// transferAll runs the walker beside the batches that it makes.
func (run *run) transferAll(ctx context.Context, node *tree.Node) error {
	g, ctx := errgroup.WithContext(ctx)
	run.ctx = ctx
	ix, err := run.r.Index(ctx)
	if err != nil {
		return err
	}
	batches := make(chan *batch)
	g.Go(func() error {
		defer close(batches)
		w := &walker{run: run, out: batches, b: newBatch(ix), limit: firstEntries, inodes: map[inodeKey]*inode{}}
		if run.o.OwnersByName {
			w.owners = newOwners()
		}
		return w.walk(ctx, node)
	})
	g.Go(func() error {
		for b := range batches {
			if err := run.execute(ctx, b); err != nil {
				return err
			}
		}
		return nil
	})
	return g.Wait()
}

// execute does everything in a batch.
func (run *run) execute(ctx context.Context, b *batch) error {
	if err := run.compare(ctx, b); err != nil {
		return err
	}
	if err := run.each(ctx, len(b.empty), func(i int) error { return run.writeEmpty(b.empty[i]) }); err != nil {
		return err
	}
	if err := run.fillSpans(ctx, b); err != nil {
		return err
	}
	if err := run.transfer(ctx, b); err != nil {
		return err
	}
	if err := run.each(ctx, len(b.others), func(i int) error { return run.placeOther(b.others[i]) }); err != nil {
		return err
	}
	return run.each(ctx, len(b.links), func(i int) error { return run.placeLink(b.links[i]) })
}

func (run *run) writeEmpty(f *file) error {
	if !run.o.DryRun && !f.failed() {
		if err := run.fileError(f, run.writeWhole(f, 0, nil)); err != nil {
			return err
		}
	}
	return run.release(f)
}

// each calls do for 0 to n-1, several at a time, and stops at the first error.
func (run *run) each(ctx context.Context, n int, do func(int) error) error {
	const piece = 32 // neighbours are mostly in one folder: leave them to one goroutine
	return run.spread(ctx, n, run.writers, piece, do)
}

// spread calls do for 0 to n-1 from some workers, each of which takes a piece at a time.
func (run *run) spread(ctx context.Context, n, workers, piece int, do func(int) error) error {
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range min(workers, (n+piece-1)/piece) {
		g.Go(func() error {
			for {
				end := int(next.Add(int64(piece)))
				for i := end - piece; i < min(end, n); i++ {
					if ctx.Err() != nil {
						return context.Cause(ctx)
					}
					if err := do(i); err != nil {
						return err
					}
				}
				if end >= n {
					return nil
				}
			}
		})
	}
	return g.Wait()
}
