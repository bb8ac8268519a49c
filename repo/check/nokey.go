package check

import (
	"context"
	"errors"
	"fmt"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack/parity"
	"github.com/kura-backup/kura/repo"
)

// NoKey verifies what can be verified without any key: every object that is named by its hash has that hash,
// the two copies of config and of each key slot are there and equal, log entries have consecutive numbers,
// and what is neither has the header of its class. Objects that are missing altogether are not noticed,
// other than log entries and second copies: which there should be is written in the log, and sealed.
//
// The report counts in PacksRead the objects whose hash was verified. The error is repo.ErrNoRepository where
// there are no objects at all.
func NoKey(ctx context.Context, store backends.Store, ev Events) (*Report, error) {
	c := &checker{store: store, ev: ev}
	return &c.rep, c.run(ctx, []phase{
		{"checking config and key slots", c.configForm},
		{"checking the log's numbers", c.logForm},
		{"reading everything that is named by its hash", c.hashes},
	})
}

func (c *checker) configForm(ctx context.Context) error {
	empty := true
	for _, err := range c.store.List(ctx, "", "") {
		if err != nil {
			return err
		}
		empty = false
		break
	}
	if empty {
		return repo.ErrNoRepository
	}
	if err := c.twice(ctx, object.ConfigName, object.ConfigCopyName, false, ofClass(object.Config)); err != nil {
		return err
	}
	_, err := c.slots(ctx)
	return err
}

// logForm checks the numbers of log entries, and the headers of what is not named by its hash.
func (c *checker) logForm(ctx context.Context) error {
	last := uint64(0)
	for info, err := range c.store.List(ctx, object.LogPrefix, "") {
		if err != nil {
			return err
		}
		n, err := object.ParseNumbered(object.LogPrefix, info.Name)
		if err != nil {
			c.problem(Problem{Object: info.Name, Err: err, Hint: true})
			continue
		}
		for last++; last < n; last++ {
			c.problem(Problem{Object: object.LogName(last), Err: errors.New("missing, though a later entry exists")})
		}
		if err := c.form(ctx, info.Name, object.LogEntry); err != nil {
			return err
		}
	}
	if last == 0 {
		c.problem(Problem{Object: object.LogName(1), Err: errors.New("there is no log")})
	}
	for info, err := range c.store.List(ctx, object.CheckpointsPrefix, "") {
		if err != nil {
			return err
		}
		if err := c.form(ctx, info.Name, object.Checkpoint); err != nil {
			return err
		}
	}
	return nil
}

// form checks an object of which no more than the header can be judged; of one with parity, that too.
func (c *checker) form(ctx context.Context, name string, class object.Class) error {
	obj, err := c.store.Get(ctx, name, 0, -1, nil)
	if errors.Is(err, backends.ErrNotExist) {
		return nil // an old checkpoint, deleted meanwhile
	}
	mendable := class == object.Checkpoint // it says nothing that the log does not
	switch {
	case err != nil && !repo.Unreadable(ctx, err):
		return err
	case err != nil:
	case class == object.LogEntry && !parity.Whole(obj):
		err = errors.New("its bytes do not fit its parity")
		_, _, merr := parity.Mend(obj, 0, parity.Whole)
		mendable = merr == nil
	default:
		err = ofClass(class)(obj)
	}
	if err != nil {
		c.problem(Problem{Object: name, Err: err, Mendable: mendable})
	}
	return nil
}

// hashes reads every object that is named by its hash.
func (c *checker) hashes(ctx context.Context) error {
	prefixes := []string{object.DataPrefix, object.TreePrefix, object.IndexPrefix, object.ParityPrefix, object.RecordsPrefix}
	count := func(size int) {
		c.rep.PacksRead++
		c.rep.BytesRead += int64(size)
	}
	return c.hashed(ctx, prefixes, count, func(info backends.Info, err error) {
		ref, perr := object.ParseRef(info.Name)
		p := Problem{Object: info.Name, Err: err, Mendable: perr == nil && c.mends(ctx, ref)}
		if p.Mendable {
			p.Err = fmt.Errorf("%w; its parity mends it", err)
		}
		c.problem(p)
	})
}

// mends reports whether an object can be made again from its own parity.
func (c *checker) mends(ctx context.Context, ref object.Ref) bool {
	obj, err := c.store.Get(ctx, ref.Name(), 0, -1, nil)
	if err != nil {
		return false
	}
	_, _, err = parity.Mend(obj, 0, func(whole []byte) bool { return object.Sum(whole) == ref.Hash })
	return err == nil
}
