package powerloss_test

import (
	"context"
	"errors"
	"sync"

	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
)

// story is a use of a repository.
type story struct {
	name string
	run  func(ctx context.Context, h *history) error
}

var stories = []story{
	{"one client", oneClient},
	{"a client dies, another goes on", clientDies},
	{"two at once", twoAtOnce},
}

func (h *history) init(ctx context.Context) (*process, error) {
	c, m := h.open()
	p := &process{client: c, mount: m, cache: h.tempDir()}
	var err error
	if p.Repository, err = repo.Init(ctx, c, repo.InitOptions{Credential: testrepo.Credential, CacheDir: p.cache}); err != nil {
		return nil, err
	}
	h.inited = h.led.ack()
	h.keys = p.Keys()
	return p, h.keepCache(p)
}

// do lets a process do things one after the other, and copies its cache after each.
func (h *history) do(p *process, steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
		if err := h.keepCache(p); err != nil {
			return err
		}
	}
	return nil
}

// oneClient initialises, backs up, forgets, prunes and writes checkpoints.
func oneClient(ctx context.Context, h *history) error {
	p, err := h.init(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	backup := func() error { return h.backup(ctx, p, h.draw()) }
	forget := func() error { return h.forget(ctx, p) }
	prune := func() error { return prune(ctx, p) }
	checkpoint := func() error { return p.Log().WriteCheckpoint(ctx) }
	return h.do(p, backup, backup, forget, prune, checkpoint, backup, forget, prune, checkpoint, prune)
}

// clientDies lets a client die anywhere, often between a link and the fsync that would
// have made it durable. Another takes over what it sees, and is told that all is well.
func clientDies(ctx context.Context, h *history) error {
	p, err := h.init(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := h.backup(ctx, p, h.draw()); err != nil {
		return err
	}
	first, err := h.start(ctx)
	if err != nil {
		return err
	}
	defer first.Close()
	chunks := h.draw()
	if h.rng.IntN(2) == 0 {
		first.mount.DieAfter(h.rng.IntN(60))
	} else {
		first.mount.DieAfterLink(1 + h.rng.IntN(7))
	}
	if err := h.backup(ctx, first, chunks); err != nil && !first.mount.Dead() {
		return err
	}
	h.from = h.disk.Ops()
	second, err := h.start(ctx)
	if err != nil {
		return err
	}
	defer second.Close()
	return h.do(
		second,
		func() error { return h.backup(ctx, second, append(chunks, h.draw()...)) },
		func() error { return h.forget(ctx, second) },
		func() error { return prune(ctx, second) },
	)
}

// twoAtOnce has two clients back up, and then one prune beside a backup.
func twoAtOnce(ctx context.Context, h *history) error {
	first, err := h.init(ctx)
	if err != nil {
		return err
	}
	defer first.Close()
	second, err := h.start(ctx)
	if err != nil {
		return err
	}
	defer second.Close()
	both := func(a, b func() error) error {
		var wg sync.WaitGroup
		var errs [2]error
		wg.Go(func() { errs[0] = h.do(first, a) })
		wg.Go(func() { errs[1] = h.do(second, b) })
		wg.Wait()
		return errors.Join(errs[:]...)
	}
	chunks := [][][]byte{h.draw(), h.draw(), h.draw()}
	if err := both(
		func() error { return h.backup(ctx, first, chunks[0]) },
		func() error { return h.backup(ctx, second, chunks[1]) },
	); err != nil {
		return err
	}
	if err := h.do(first, func() error { return h.forget(ctx, first) }); err != nil {
		return err
	}
	return both(
		func() error { return prune(ctx, first) },
		func() error { return h.backup(ctx, second, chunks[2]) },
	)
}
