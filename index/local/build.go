package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/internal/durable"
	"github.com/kura-backup/kura/internal/object"
)

const (
	lockName = "lock"
	lockPoll = 20 * time.Millisecond

	// loadWeight divides the memory for loading: this many small index segments are loaded at
	// a time, or one of index.MaxBlobs blobs.
	loadWeight = 8
)

// builder is one run of Sync.
type builder struct {
	dir    durable.FS
	path   string
	want   []object.Ref
	wanted wanted
	load   Load
	size   func(object.Ref) (int64, bool) // of an object; may be nil

	lockFile durable.File // while this builder is the only one
	manifest *manifest
	levels   []*openLevel // those of the manifest
}

// vanished reports whether err means that a file was missing or damaged: that others changed
// the folder, or that it is to be rebuilt. Either way it helps to begin again.
func vanished(err error) bool {
	var load *loadError
	return (errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrDamaged)) && !errors.As(err, &load)
}

// loadError keeps what Load returns apart from our own errors.
type loadError struct{ error }

func (e *loadError) Unwrap() error { return e.error }

// current returns a view if nothing has to be loaded for it, and whether the levels should be
// rewritten.
func (b *builder) current() (v *View, tidy bool, err error) {
	for range attempts {
		m, err := readManifest(b.dir)
		if err != nil {
			return nil, false, err
		}
		if len(b.wanted.missing(b.want, m.Levels)) > 0 {
			return nil, false, nil
		}
		levels, err := openAll(b.path, m.Levels)
		if err == nil {
			return newView(levels, b.wanted, m.NextSource), plan(m.Levels, b.wanted) < len(levels), nil
		}
		if cerr := closeAll(levels); cerr != nil {
			return nil, false, cerr
		}
		if !vanished(err) {
			return nil, false, err
		}
	}
	return nil, false, nil
}

func (b *builder) lock(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		err := b.tryLock()
		if !errors.Is(err, durable.ErrLocked) {
			return err
		}
		timer.Reset(lockPoll)
	}
}

// tryLock takes the builders' lock. Where there are no locks it does nothing: builders then
// may undo each other's work, which costs time.
func (b *builder) tryLock() error {
	if b.lockFile != nil {
		return nil
	}
	f, err := b.dir.CreateExcl(lockName, 0o600)
	if err == nil {
		_ = f.Close()
	} else if !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("local index: %w", err)
	}
	if f, err = b.dir.Open(lockName); err != nil {
		return fmt.Errorf("local index: %w", err)
	}
	switch err := f.TryLock(); {
	case err == nil:
		b.lockFile = f
		return nil
	case errors.Is(err, errors.ErrUnsupported):
		_ = f.Close()
		return nil
	default:
		_ = f.Close()
		return err
	}
}

func (b *builder) unlock() {
	if b.lockFile != nil {
		_ = b.lockFile.Close()
		b.lockFile = nil
	}
}

// build brings the levels to contain all wanted index segments, and into shape.
func (b *builder) build(ctx context.Context) error {
	m, err := readManifest(b.dir)
	if err != nil {
		return err
	}
	b.manifest = m
	if b.levels, err = openAll(b.path, m.Levels); err != nil {
		if !vanished(err) {
			return err
		}
		m.Levels = m.Levels[:len(b.levels)] // later ones refer to the one that is lost
		if err := m.write(ctx, b.dir); err != nil {
			return err
		}
	}
	if err := b.clean(ctx); err != nil {
		return err
	}
	missing := b.wanted.missing(b.want, m.Levels)
	for len(missing) > 0 {
		if missing, err = b.addLevel(ctx, missing); err != nil {
			return err
		}
	}
	from := plan(m.Levels, b.wanted)
	if from == len(m.Levels) {
		return nil
	}
	l, err := compact(ctx, b.dir, b.path, b.levels, from, b.wanted.live(m.Levels, m.NextSource))
	if err != nil {
		var damage *DamagedError
		if errors.As(err, &damage) {
			_ = b.dir.Unlink(damage.File)
		}
		return err
	}
	return b.publish(ctx, from, l)
}

// clean removes what builders that died, or were overtaken, left behind.
func (b *builder) clean(ctx context.Context) error {
	if b.lockFile == nil {
		return nil
	}
	if _, err := durable.Sweep(ctx, b.dir, "."); err != nil {
		return fmt.Errorf("local index: %w", err)
	}
	keep := make(map[string]bool)
	for i := range b.manifest.Levels {
		keep[b.manifest.Levels[i].name()] = true
	}
	entries, err := b.dir.ReadDir(".")
	if err != nil {
		return fmt.Errorf("local index: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		ours := slices.ContainsFunc([]string{buildPrefix, spillPrefix, levelPrefix}, func(p string) bool { return strings.HasPrefix(name, p) })
		if !ours || keep[name] || !e.Type().IsRegular() {
			continue
		}
		if err := b.dir.Unlink(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("local index: %w", err)
		}
	}
	return nil
}

// addLevel makes a level of as many missing index segments as it takes, and returns the rest.
func (b *builder) addLevel(ctx context.Context, missing []object.Ref) ([]object.Ref, error) {
	c, err := newBatch(b.dir, b.levels)
	if err != nil {
		return missing, err
	}
	defer c.close()
	var mu sync.Mutex // guards c, largest and the manifest's NextSource
	largest := index.MaxBlobs
	weights := semaphore.NewWeighted(loadWeight)
	g, gctx := errgroup.WithContext(ctx)
	for len(missing) > 0 {
		ref := missing[0]
		mu.Lock()
		full, weight := c.full(), b.weight(ref, largest)
		mu.Unlock()
		if full || weights.Acquire(gctx, weight) != nil {
			break
		}
		missing = missing[1:]
		g.Go(func() error {
			defer weights.Release(weight)
			seg, err := b.load(gctx, ref)
			if err != nil {
				return &loadError{err}
			}
			mu.Lock()
			defer mu.Unlock()
			if c.empty() {
				largest = 0 // until now it was a guess
			}
			largest = max(largest, len(seg.Blobs))
			number := b.manifest.NextSource
			b.manifest.NextSource++
			return c.add(ref, number, seg)
		})
	}
	if err := g.Wait(); err != nil {
		return missing, err
	}
	if err := ctx.Err(); err != nil {
		return missing, err
	}
	c.closeLevels()
	l, err := c.write(ctx, b.dir, b.path)
	if err != nil {
		return missing, err
	}
	return missing, b.publish(ctx, len(b.levels), l)
}

// weight is the share of the memory for loading that an index segment may need: by the size of its object, of which
// each blob takes at least its id, or else by the largest that was met so far.
func (b *builder) weight(ref object.Ref, largest int) int64 {
	blobs := int64(largest)
	if b.size != nil {
		if size, ok := b.size(ref); ok {
			blobs = size / int64(len(object.BlobID{}))
		}
	}
	return min(1+blobs*(loadWeight-1)/index.MaxBlobs, loadWeight)
}

// publish makes l the level after the first keep ones, in place of the others.
func (b *builder) publish(ctx context.Context, keep int, l level) error {
	m := b.manifest
	m.Levels = append(m.Levels[:keep:keep], l)
	if l.Blobs == 0 {
		m.Levels = m.Levels[:keep]
	}
	if err := m.write(ctx, b.dir); err != nil {
		return err
	}
	old := b.levels[keep:]
	b.levels = b.levels[:keep:keep]
	if err := closeAll(old); err != nil {
		return err
	}
	for _, o := range old {
		_ = b.dir.Unlink(o.name()) // or the next builder does
	}
	if l.Blobs == 0 {
		_ = b.dir.Unlink(l.name())
		return nil
	}
	o, err := m.Levels[keep].open(b.path)
	if err != nil {
		return err
	}
	b.levels = append(b.levels, o)
	return nil
}
