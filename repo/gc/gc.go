package gc

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"syscall"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

// Options say how to collect. The zero value is the default.
type Options struct {
	DryRun bool
	// Hold is how long forgotten snapshots are kept, counted from the entry that forgot them, by the
	// store's clock. Until then they can be brought back.
	Hold time.Duration
	// Forget are live snapshots that a dry run takes for forgotten.
	Forget []object.SessionID
	// MaxUnused is the share of unneeded bytes, of all bytes in packs, that is left alone because
	// freeing it would mean to write needed bytes again. 0 means 0.05; negative means none.
	MaxUnused float64
	// Idle is how old the last sign of life of a session may be, by the store's clock, before it is
	// revoked. 0 means 30 minutes. A session whose process is known to be dead is revoked at once.
	Idle time.Duration
	Host string // written into the run's own sign of life
	// Packing is how new packs are made. Groups of parity across packs are kept up to date anyway; with
	// Packing.Groups a repository without any gets some.
	Packing repo.Packing
}

// Events tell how a run goes. Nil functions are not called.
type Events struct {
	Phase func(name string)        // a new part of the work begins
	Step  func(done, total uint64) // within a phase that counts
}

func (e *Events) phase(name string) {
	if e.Phase != nil {
		e.Phase(name)
	}
}

func (e *Events) step(done, total uint64) {
	if e.Step != nil {
		e.Step(done, total)
	}
}

// Result says what a run did, or for a dry run would do. A dry run can only estimate what new packs take:
// PacksAdded, PacksAfter and BytesAfter; and it does not say what would become of groups. Everything else is
// what a real run in its place would have said.
type Result struct {
	Entry     uint64 // number of the log entry; 0 if none was needed
	Snapshots int    // live ones, whose blobs were kept
	Held      int    // forgotten ones that are held, whose blobs were kept, too
	Gone      []object.SessionID
	Revoked   []object.SessionID
	Open      int // sessions that may be at work: what they uploaded was not touched

	PacksBefore, PacksAfter     int
	PacksDropped, PacksRepacked int // repacked ones are among the dropped
	PacksAdded                  int
	BytesBefore, BytesAfter     int64 // in live packs
	BytesRepacked               int64 // written again into new packs
	BytesUnused                 int64 // of BytesAfter, needed by nobody
	IndexReplaced, IndexAdded   int

	// Unreadable are live snapshots of which nobody can know what they need. See collector.live.
	Unreadable []object.SessionID

	// Damaged are packs that were to be repacked and are damaged: they stay as they are.
	Damaged []object.Ref

	GroupsAdded, GroupsDeleted int // of parity across packs
	Groups                     int // that there are after the run; for a dry run, those that there are now
	GroupBytes                 int64

	ObjectsDeleted int // without old checkpoints, and the run's own sign of life
	BytesDeleted   int64
}

// ErrRevoked is returned when another collector revoked the run's session. Nothing was changed; the
// next run starts anew.
var ErrRevoked = errors.New("gc: another collector is at work and has revoked this run; run prune again")

// collector is one run.
type collector struct {
	r    *repo.Repository
	sid  object.SessionID
	opts Options
	ev   *Events

	assumed   map[object.SessionID]struct{} // live snapshots that are taken for forgotten
	weighing  bool                          // whether these go although there is a time to hold
	forgotten map[uint64]time.Time          // when log entries were put
	now       time.Time                     // by the store's clock

	unreadable map[uint64]object.SessionID // by the numbers of their entries

	marks    *marks
	lacking  bool // whether needed data blobs are not in the index
	facts    map[object.Ref]*indexFacts
	sizes    map[object.Ref]int64 // of the packs in the store
	verdicts *verdicts
	replaced *replacement // of the last try to commit
	plan     *plan
	revoke   []object.SessionID
	uploaded bool // whether anything was stored that only this session's entry can name
	frugal   bool // whether nothing is repacked, for lack of room
	res      Result
}

// Run frees what no live snapshot needs. It may run beside any number of writers and other
// collectors. The error is a repo.DamageError when something that snapshots need can not be read:
// nothing is dropped then.
func Run(ctx context.Context, r *repo.Repository, o Options, ev Events) (*Result, error) {
	if role := r.Keys().Role(); role < seal.Maintainer {
		return nil, fmt.Errorf("gc: collecting needs a maintainer's or the owner's key, this is a %v's", role)
	}
	if o.MaxUnused == 0 {
		o.MaxUnused = 0.05
	}
	if o.Idle == 0 {
		o.Idle = 30 * time.Minute
	}
	if len(o.Forget) > 0 && !o.DryRun {
		return nil, errors.New("gc: only a dry run takes snapshots for forgotten")
	}
	c := newCollector(r, o, &ev)
	if err := c.run(ctx); err != nil {
		return nil, err
	}
	return &c.res, nil
}

func newCollector(r *repo.Repository, o Options, ev *Events) *collector {
	c := &collector{
		r: r, opts: o, ev: ev, marks: newMarks(), assumed: map[object.SessionID]struct{}{},
		facts: map[object.Ref]*indexFacts{}, verdicts: newVerdicts(),
	}
	for _, id := range o.Forget {
		if s := r.State().Snapshots[id]; s != nil && s.Live() && !s.Pinned {
			c.assumed[id] = struct{}{}
		}
	}
	rand.Read(c.sid[:]) // never fails
	return c
}

func (c *collector) run(ctx context.Context) error {
	if err := c.r.Refresh(ctx); err != nil {
		return err
	}
	if err := c.r.Log().CheckTail(ctx); err != nil {
		return fmt.Errorf("gc: nothing was changed: %w", err)
	}
	if !c.opts.DryRun {
		// The sign makes the store tell its time, and shows other collectors that this one lives.
		if err := c.r.PutSign(ctx, c.sid, 0, c.opts.Host); err != nil {
			return err
		}
	}
	for {
		before := c.r.State()
		err := c.attempt(ctx)
		if err == nil {
			break
		}
		if full(err) && !c.frugal {
			// Dropping what is needed by nobody makes room without taking any. What was stored so far
			// becomes garbage by the entry.
			c.frugal = true
			continue
		}
		// What is missing may have been collected by another since: then the plan is outdated.
		if !errors.Is(err, backends.ErrNotExist) && !errors.Is(err, errMissing) {
			return err
		}
		if rerr := c.r.Refresh(ctx); rerr != nil {
			return rerr
		}
		if c.r.State() == before {
			return err
		}
		if !c.r.State().Open(c.sid) {
			return ErrRevoked
		}
	}
	if c.opts.DryRun {
		groups, err := c.r.Groups(ctx)
		c.countGroups(groups)
		return err
	}
	err := c.keepGroups(ctx)
	if err != nil && !full(err) {
		return err
	}
	if derr := c.deleteGarbage(ctx); derr != nil || err == nil {
		return derr
	}
	// There was no room for new groups before, but may be now. They are made from what is left then.
	return c.keepGroups(ctx)
}

// full reports whether the store has no room. An entry that may yet appear is another matter: until it is known
// whether it has, there must be no other.
func full(err error) bool {
	if errors.Is(err, log.ErrOutcomeUnknown) {
		return false
	}
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// attempt plans and commits on the newest state known. Only what is marked is kept from one attempt to
// the next.
func (c *collector) attempt(ctx context.Context) error {
	c.res, c.revoke, c.plan, c.replaced = Result{}, nil, nil, nil
	objects, err := c.listObjects(ctx)
	if err != nil {
		return err
	}
	c.now, c.sizes = objects.now, objects.sizes
	if err := c.lookForgotten(ctx, c.r.State()); err != nil {
		return err
	}
	if err := c.findDead(ctx, objects); err != nil {
		return err
	}
	ix, err := c.mark(ctx)
	if err != nil {
		return err
	}
	if c.plan, err = c.choose(ctx, ix, objects); err != nil {
		return err
	}
	if c.opts.DryRun {
		return c.preview(ctx, ix)
	}
	if err := c.carry(ctx); err != nil {
		return err
	}
	return c.commit(ctx)
}

// mark marks what the snapshots need that stay in the newest state, and returns the index of that state.
// A collector that ran meanwhile can make blobs move: then the newer state is tried, until one holds
// still.
func (c *collector) mark(ctx context.Context) (*repo.Index, error) {
	c.ev.phase("finding what snapshots need")
	for {
		ix, err := c.r.VerifiedIndex(ctx)
		if err != nil {
			return nil, err
		}
		snaps, err := c.live(ix.State())
		if err != nil {
			return nil, err
		}
		err = c.marks.addSnapshots(ctx, c.r, snaps)
		if err == nil {
			c.count(snaps)
			return ix, nil
		}
		if damage := (*repo.DamageError)(nil); !errors.As(err, &damage) {
			return nil, err
		}
		if rerr := c.r.Refresh(ctx); rerr != nil {
			return nil, rerr
		}
		if c.r.State() == ix.State() {
			return nil, fmt.Errorf("gc: nothing was changed, since a snapshot can not be read: %w", err)
		}
	}
}

// live opens the snapshots of a state that must be kept. One with a manifest that is none, in an entry that
// is authentic, was made so by whoever held the key, and would stop every run until somebody forgets it.
// Nobody can restore it, and nothing can be marked from it: only the packs that its entry added stay,
// as they are, until it is forgotten.
func (c *collector) live(st *log.State) ([]*repo.Snapshot, error) {
	var out []*repo.Snapshot
	c.unreadable = map[uint64]object.SessionID{}
	for _, s := range st.Snapshots {
		if !c.stays(s) {
			continue
		}
		snap, err := c.r.OpenSnapshot(s)
		if errors.As(err, new(*repo.UnreadableError)) {
			c.unreadable[s.N] = s.ID
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, snap)
	}
	return out, nil
}

// count tells the snapshots that stay because they are live from those that are held.
func (c *collector) count(snaps []*repo.Snapshot) {
	c.res.Snapshots, c.res.Held = 0, 0
	c.res.Unreadable = slices.SortedFunc(maps.Values(c.unreadable), object.SessionID.Compare)
	for _, s := range snaps {
		if _, assumed := c.assumed[s.ID]; assumed || !s.Entry.Live() {
			c.res.Held++
		} else {
			c.res.Snapshots++
		}
	}
}
