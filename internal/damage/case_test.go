package damage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/check"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/repo/repair"
)

// look opens the damaged repository, reads everything, and checks it.
func (c *one) look(ctx context.Context, cache string, out *outcome) *reading {
	r, err := c.w.open(ctx, c.store, testrepo.Credential, cache)
	if err != nil {
		got := &reading{refused: err}
		if errors.Is(err, log.ErrRollback) && c.oldCache {
			out.detected = true
			return got
		}
		out.detected = c.about(damaged(err))
		if !out.detected {
			got.wrong = fmt.Errorf("opening failed and did not say why: %w", err)
		}
		return got
	}
	defer r.Close()
	if short, err := c.rolledBack(r); err != nil || short {
		out.detected, err = c.check(ctx, r)
		return &reading{wrong: err}
	}
	var got *reading
	if c.rng.IntN(8) == 0 {
		got = c.w.restore(ctx, r)
	} else {
		got = c.w.read(ctx, r)
	}
	if got.wrong == nil {
		out.detected, got.wrong = c.check(ctx, r)
	}
	if got.wrong == nil && c.rng.IntN(4) == 0 {
		got.wrong = c.checkWithoutKey(ctx)
	}
	return got
}

// checkWithoutKey runs the check that needs no key. Of what has its hash in its name it must find all that is there.
func (c *one) checkWithoutKey(ctx context.Context) error {
	if _, err := object.ParseRef(c.it.name); err != nil || c.kind.missing {
		return nil
	}
	rep, err := check.NoKey(ctx, c.store, check.Events{})
	if err != nil {
		return fmt.Errorf("check without a key gave up: %w", err)
	}
	for _, p := range rep.Problems {
		if p.Object == c.it.name && !p.Hint {
			return nil
		}
	}
	return errors.New("check without a key said nothing")
}

// rolledBack compares the state of the log, and reports whether it is that of before the last entry,
// with that entry missing and nobody who could know.
func (c *one) rolledBack(r *repo.Repository) (bool, error) {
	st, err := log.EncodeState(r.State())
	if err != nil || bytes.Equal(st, c.w.state) {
		return false, err
	}
	if c.tail() && c.kind.missing && !c.wouldMissTail() {
		return true, nil
	}
	return false, fmt.Errorf("another state of the log, of entry %d, and no error", r.State().N)
}

// about reports whether a message about the object is about the damage. Of two copies that differ it may be
// about either, and of the log about any entry: where the chain breaks, there are two that do not fit.
func (c *one) about(name string) bool {
	for changed := range c.changed {
		if first(changed) == first(name) {
			return true
		}
	}
	return strings.HasPrefix(name, object.LogPrefix) && strings.HasPrefix(c.it.name, object.LogPrefix)
}

// first is the name of the first of two copies.
func first(name string) string { return strings.TrimSuffix(name, ".copy") }

// check reports whether a check finds the damage.
func (c *one) check(ctx context.Context, r *repo.Repository) (found bool, err error) {
	rep, err := check.Run(ctx, r, check.Options{Read: check.Choice{All: true}}, check.Events{})
	if err != nil {
		return false, fmt.Errorf("check gave up: %w", err)
	}
	for _, p := range rep.Problems {
		// Whoever adds or removes a key may leave one of its two copies: that is said, and is no damage.
		if p.Hint && !(c.kind.missing && c.it.row == "key slot") {
			continue
		}
		if c.about(p.Object) {
			found = true
		} else if c.mendable() {
			return found, fmt.Errorf("check finds damage where there is none: %v", p)
		}
	}
	return found, nil
}

// repair mends what can be mended, and of the rest a share as far as it can be.
func (c *one) repair(ctx context.Context, dir string, before *reading, out *outcome) {
	var mend func() error
	switch folder := classOf(c.it.name); {
	case folder == "config" || folder == "keys":
		mend = c.copyOver
	case folder == "index":
		mend = func() error { return c.repairs(ctx, dir, true) }
	case folder == "data" || folder == "tree":
		mend = func() error { return c.repairs(ctx, dir, false) }
	default:
		return
	}
	out.repairable = c.repairable()
	if !out.repairable && c.rng.IntN(3) > 0 {
		return
	}
	if err := mend(); err != nil {
		out.missed = fmt.Errorf("repair: %w", err)
		return
	}
	r, err := c.w.open(ctx, c.store, testrepo.Credential, filepath.Join(dir, "after"))
	if err != nil {
		out.missed = fmt.Errorf("after the repair: %w", err)
		return
	}
	defer r.Close()
	after := c.w.read(ctx, r)
	if after.wrong != nil {
		out.wrong = fmt.Errorf("after the repair: %w", after.wrong)
		return
	}
	for file := range before.whole {
		if !after.whole[file] {
			out.missed = fmt.Errorf("%s could be read before the repair, and can not behind it: %w", file, after.refused)
			return
		}
	}
	if out.repairable {
		out.missed = c.wantClean(ctx, r, after)
		out.repaired = out.missed == nil
	}
}

func (c *one) wantClean(ctx context.Context, r *repo.Repository, after *reading) error {
	if after.refused != nil {
		return fmt.Errorf("after the repair: %w", after.refused)
	}
	rep, err := check.Run(ctx, r, check.Options{Read: check.Choice{All: true}}, check.Events{})
	if err == nil && rep.Damaged() > 0 {
		err = fmt.Errorf("after the repair check finds: %v", rep.Problems)
	}
	return err
}

// copyOver puts the good copy over the bad one, as docs/repair.md says.
func (c *one) copyOver() error {
	for name := range c.changed {
		second, ok := strings.CutSuffix(name, ".copy")
		if !ok {
			second = name + ".copy"
		}
		for _, o := range c.w.all {
			if o.name == second {
				c.store.Tamper(name, o.data)
			}
		}
	}
	return nil
}

// repairs runs kura repair index or kura repair packs. The latter needs an index, if there is anything to
// salvage.
func (c *one) repairs(ctx context.Context, dir string, index bool) error {
	key := testrepo.Credential
	if c.maintainer && c.repairable() {
		key = maintainer
	}
	r, err := c.w.open(ctx, c.store, key, filepath.Join(dir, "repair"))
	if err != nil {
		return err
	}
	defer r.Close()
	if index {
		_, err = repair.Index(ctx, r, repair.IndexOptions{}, repair.Events{})
		return err
	}
	_, err = repair.Packs(ctx, r, repair.PacksOptions{}, repair.Events{})
	return err
}
