package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

// Options say what to check.
type Options struct {
	ReadData bool // read all packs, too
}

// Events tell how a check goes. Nil functions are not called. Step and Problem may be called from
// several goroutines, but never at the same time.
type Events struct {
	Phase   func(name string)
	Step    func(done, total uint64)
	Problem func(Problem)
}

// Problem is one piece of damage.
type Problem struct {
	Object   string // name in the store, if the damage is in one object
	Snapshot string // short id of a snapshot that is affected, if one is
	Path     string // path in it
	Err      error
	// Hint is set for what is odd but costs nobody anything: a leftover, a lost copy of what
	// exists twice. It is no damage.
	Hint bool
}

func (p Problem) String() string {
	var where []string
	if p.Snapshot != "" {
		where = append(where, "snapshot "+p.Snapshot)
	}
	if p.Path != "" {
		where = append(where, p.Path)
	}
	if p.Object != "" {
		where = append(where, p.Object)
	}
	return strings.Join(where, ": ") + ": " + p.Err.Error()
}

// Report is what a check found.
type Report struct {
	Problems  []Problem
	Snapshots int
	Packs     int
	Blobs     uint64 // places of blobs that directories list
	BytesRead int64  // of packs, with ReadData
	Garbage   int    // objects that the next prune deletes
	Adoptable int    // packs and index segments of sessions that have not finished
}

// Damaged counts the problems that are damage.
func (r *Report) Damaged() (n int) {
	for _, p := range r.Problems {
		if !p.Hint {
			n++
		}
	}
	return n
}

// checker is one run.
type checker struct {
	r     *repo.Repository
	store backends.Store
	opts  Options
	st    *log.State

	mu  sync.Mutex // guards ev and rep
	ev  Events
	rep Report
}

// Run checks the repository as of the newest state.
func Run(ctx context.Context, r *repo.Repository, o Options, ev Events) (*Report, error) {
	if err := r.Refresh(ctx); err != nil {
		return nil, err
	}
	c := &checker{r: r, store: r.Store(), opts: o, st: r.State(), ev: ev}
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"checking config and key slots", c.config},
		{"checking the log", c.log},
		{"checking packs and index", c.packs},
		{"checking snapshots", c.snapshots},
	} {
		if ev.Phase != nil {
			ev.Phase(part.name)
		}
		if err := part.run(ctx); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(c.rep.Problems, func(a, b Problem) int { return strings.Compare(a.String(), b.String()) })
	return &c.rep, nil
}

// problem notes damage.
func (c *checker) problem(p Problem) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rep.Problems = append(c.rep.Problems, p)
	if c.ev.Problem != nil {
		c.ev.Problem(p)
	}
}

// note notes err as damage of the object and returns nil, or returns err if it is not damage.
func (c *checker) note(name string, err error) error {
	if err == nil {
		return nil
	}
	if d := (*repo.DamageError)(nil); errors.As(err, &d) {
		if d.Object != "" {
			name = d.Object
		}
		err = d.Err
		if !d.Blob.IsZero() {
			err = fmt.Errorf("blob %s: %w", d.Blob.Short(), err)
		}
	} else if !errors.Is(err, backends.ErrNotExist) && !errors.Is(err, backends.ErrRange) {
		return err
	}
	c.problem(Problem{Object: name, Err: err})
	return nil
}

// current reads the log again and reports whether the newest state still names the pack or index segment:
// what a collector has made go since the check began is not lost.
func (c *checker) current(ctx context.Context, ref object.Ref) (bool, error) {
	if err := c.r.Refresh(ctx); err != nil {
		return false, err
	}
	st := c.r.State()
	_, valid := st.Index[ref]
	return valid || st.Live(ref), nil
}

// noteCurrent is note for an object that a collector may have made go.
func (c *checker) noteCurrent(ctx context.Context, ref object.Ref, err error) error {
	if err == nil {
		return nil
	}
	if current, cerr := c.current(ctx, ref); cerr != nil || !current {
		return cerr
	}
	return c.note(ref.Name(), err)
}

func (c *checker) step(done, total int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ev.Step != nil {
		c.ev.Step(uint64(done), uint64(total))
	}
}

// config compares the two copies of what exists twice.
func (c *checker) config(ctx context.Context) error {
	if err := c.twice(ctx, object.ConfigName, object.ConfigCopyName, func(obj []byte) error {
		_, err := repo.DecodeConfig(c.r.Keys(), obj)
		return err
	}); err != nil {
		return err
	}
	seen := map[string]bool{}
	for info, err := range c.store.List(ctx, object.KeysPrefix, "") {
		if err != nil {
			return err
		}
		id, _, err := object.ParseSlotName(info.Name)
		if err != nil {
			c.problem(Problem{Object: info.Name, Err: err, Hint: true})
			continue
		}
		if seen[id] {
			continue
		}
		seen[id] = true
		if err := c.twice(ctx, object.SlotName(id, false), object.SlotName(id, true), func(obj []byte) error {
			h, err := seal.ParseHeader(obj) // without its password no more can be known
			if err == nil && h.Class != object.Slot {
				err = fmt.Errorf("an object of class %v", h.Class)
			}
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) twice(ctx context.Context, name, second string, good func([]byte) error) error {
	var copies [][]byte
	for _, n := range []string{name, second} {
		obj, err := c.store.Get(ctx, n, 0, -1, nil)
		if err == nil {
			if gerr := good(obj); gerr != nil {
				c.problem(Problem{Object: n, Err: gerr})
				continue
			}
			copies = append(copies, obj)
		} else if err := c.note(n, err); err != nil {
			return err
		}
	}
	if len(copies) == 2 && !bytes.Equal(copies[0], copies[1]) {
		// Which of them is right may need a password to tell.
		c.problem(Problem{Object: name, Err: fmt.Errorf("differs from its copy %s", second)})
		c.problem(Problem{Object: second, Err: fmt.Errorf("differs from %s", name)})
	}
	return nil
}

// log folds the log from its first entry on, without checkpoints.
func (c *checker) log(ctx context.Context) error {
	hashes := map[uint64]object.Hash{}
	err := c.r.Log().Entries(ctx, func(rec *log.Record) error {
		hashes[rec.N] = rec.Hash
		if rec.Void != nil {
			c.problem(Problem{Object: object.LogName(rec.N), Hint: true, Err: fmt.Errorf("a void entry: %w", rec.Void)})
		}
		c.step(int(rec.N), int(c.st.N))
		return nil
	})
	if d := (*log.DamageError)(nil); errors.As(err, &d) {
		c.problem(Problem{Object: d.Name, Err: d.Err})
	} else if err != nil {
		return err
	}
	for info, err := range c.store.List(ctx, object.CheckpointsPrefix, "") {
		if err != nil {
			return err
		}
		n, err := object.ParseNumbered(object.CheckpointsPrefix, info.Name)
		if err != nil {
			c.problem(Problem{Object: info.Name, Err: err, Hint: true})
			continue
		}
		hash, folded := hashes[n]
		if !folded {
			continue // of an entry that came since, or behind the damage that was just reported
		}
		obj, err := c.store.Get(ctx, info.Name, 0, -1, nil)
		if errors.Is(err, backends.ErrNotExist) {
			continue // an old one, deleted meanwhile
		}
		if err != nil {
			return err
		}
		if err := log.CheckCheckpoint(c.r.Keys(), n, hash, obj); err != nil {
			c.problem(Problem{Object: info.Name, Err: fmt.Errorf("not usable, which only costs time: %w", err)})
		}
	}
	return nil
}
