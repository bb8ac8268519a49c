package check

import (
	"context"
	"errors"
	"fmt"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/repo/records"
)

// log folds the log from its first entry on, without checkpoints.
func (c *checker) log(ctx context.Context) error {
	hashes := map[uint64]object.Hash{}
	err := c.r.Log().Entries(ctx, func(rec *log.Record) error {
		hashes[rec.N] = rec.Hash
		name := object.LogName(rec.N)
		if rec.Mended {
			c.problem(Problem{Object: name, Mendable: true, Err: errors.New("damaged; its parity mends it whenever it is read")})
		}
		if rec.Void != nil {
			c.problem(Problem{Object: name, Hint: true, Err: fmt.Errorf("a void entry: %w", rec.Void)})
		}
		c.step(int(rec.N), int(c.st.N))
		return nil
	})
	if d := (*log.DamageError)(nil); errors.As(err, &d) {
		c.problem(Problem{Object: d.Name, Err: d.Err})
	} else if err != nil {
		if !repo.Unreadable(ctx, err) {
			return err
		}
		c.problem(Problem{Object: object.LogName(uint64(len(hashes)) + 1), Err: err})
	}
	return c.checkpoints(ctx, hashes)
}

// checkpoints checks those of the entries that were folded, whose hashes are given, and those of entries that
// are not there.
func (c *checker) checkpoints(ctx context.Context, hashes map[uint64]object.Hash) error {
	for info, err := range c.store.List(ctx, object.CheckpointsPrefix, "") {
		if err != nil {
			return err
		}
		n, err := object.ParseNumbered(object.CheckpointsPrefix, info.Name)
		if err != nil {
			c.problem(Problem{Object: info.Name, Err: err, Hint: true})
			continue
		}
		want, folded := hashes[n]
		if !folded && n <= c.st.N {
			continue // behind the damage that was just reported
		}
		obj, err := c.store.Get(ctx, info.Name, 0, -1, nil)
		if errors.Is(err, backends.ErrNotExist) {
			continue // an old one, deleted meanwhile
		}
		if err != nil && !repo.Unreadable(ctx, err) {
			return err
		}
		var of object.Hash
		if err == nil {
			of, err = log.OpenCheckpoint(c.r.Keys(), n, obj)
		}
		switch {
		case err == nil && !folded:
			if err := c.cutShort(ctx, n); err != nil {
				return err
			}
			continue
		case err == nil && of != want:
			err = errors.New("it is of another log")
		}
		if err != nil {
			c.problem(Problem{Object: info.Name, Mendable: true, Err: fmt.Errorf("not usable, which only costs time: %w", err)})
		}
	}
	return nil
}

// cutShort reports an entry behind the end of the log, of which there is a checkpoint, unless it has come
// since.
func (c *checker) cutShort(ctx context.Context, n uint64) error {
	if err := c.r.Refresh(ctx); err != nil || c.r.State().N >= n {
		return err
	}
	c.problem(Problem{Object: object.LogName(n), Err: fmt.Errorf("missing, though there was such an entry: %s was made after it", object.CheckpointName(n))})
	return nil
}

// records reads what earlier checks have noted.
func (c *checker) records(ctx context.Context) (err error) {
	if c.noted, err = records.Load(ctx, c.r, clock.Now()); err != nil {
		return err
	}
	for _, bad := range c.noted.Bad {
		c.problem(Problem{Object: bad.Name, Hint: bad.Foreign, Mendable: true, Err: fmt.Errorf("not usable, which costs no data: %w", bad.Err)})
	}
	return nil
}
