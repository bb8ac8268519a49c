package check

import (
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
	"github.com/kura-backup/kura/repo/records"
)

// Options say what to check.
type Options struct {
	Read Choice // which packs to read from beginning to end
}

// Events tell how a check goes. Nil functions are not called. Step and Problem may be called from
// several goroutines, but never at the same time.
type Events struct {
	Phase   func(name string)
	Step    func(done, total uint64)
	Problem func(Problem)
}

// checker is one run.
type checker struct {
	r     *repo.Repository
	store backends.Store
	opts  Options
	st    *log.State

	indexLost bool // an index segment can not be read: what it lists would seem lost
	damaged   map[object.Ref]struct{}
	lost      map[object.BlobID]*loss // blobs of data packs that can not be read
	noted     *records.Loaded

	mu       sync.Mutex // guards what follows, and damaged
	deltas   readDeltas
	ev       Events
	rep      Report
	verified records.Verified // packs that were read and found whole
}

// Run checks the repository as of the newest state.
func Run(ctx context.Context, r *repo.Repository, o Options, ev Events) (*Report, error) {
	if err := r.Refresh(ctx); err != nil {
		return nil, err
	}
	r.DistrustCache()
	c := &checker{
		r: r, store: r.Store(), opts: o, st: r.State(), ev: ev,
		damaged: map[object.Ref]struct{}{}, lost: map[object.BlobID]*loss{}, verified: records.Verified{},
	}
	return &c.rep, c.run(ctx, []phase{
		{"checking config and key slots", c.config},
		{"checking the log", c.log},
		{"checking records", c.records},
		{"checking packs and index", c.packs},
		{"checking snapshots", c.snapshots},
	})
}

type phase struct {
	name string
	run  func(context.Context) error
}

func (c *checker) run(ctx context.Context, phases []phase) error {
	for _, p := range phases {
		if c.ev.Phase != nil {
			c.ev.Phase(p.name)
		}
		if err := p.run(ctx); err != nil {
			return err
		}
	}
	slices.SortStableFunc(c.rep.Problems, func(a, b Problem) int { return strings.Compare(a.String(), b.String()) })
	return nil
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

// isDamage reports whether an error is about one object, so that the check can go on behind it.
func isDamage(ctx context.Context, err error) bool {
	return errors.As(err, new(*repo.DamageError)) || errors.Is(err, backends.ErrNotExist) ||
		errors.Is(err, backends.ErrRange) || repo.Unreadable(ctx, err)
}

// note notes err as damage of the object and returns nil, or returns err if it is not damage.
func (c *checker) note(ctx context.Context, name string, err error) error {
	if err == nil || !isDamage(ctx, err) {
		return err
	}
	if d := (*repo.DamageError)(nil); errors.As(err, &d) {
		if d.Object != "" {
			name = d.Object
		}
		err = d.Err
		if !d.Blob.IsZero() {
			err = fmt.Errorf("blob %s: %w", d.Blob.Short(), err)
		}
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

// noteCurrent is note for an object that a collector may have made go. noted is false for one that has gone,
// and without an error.
func (c *checker) noteCurrent(ctx context.Context, ref object.Ref, err error) (noted bool, _ error) {
	if err == nil || !isDamage(ctx, err) {
		return false, err
	}
	if current, cerr := c.current(ctx, ref); cerr != nil || !current {
		return false, cerr
	}
	return true, c.note(ctx, ref.Name(), err)
}

func (c *checker) step(done, total int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ev.Step != nil {
		c.ev.Step(uint64(done), uint64(total))
	}
}
