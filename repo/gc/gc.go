package gc

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
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
	// freeing it would mean to write needed bytes again. 0 means 0.05; negative means none; 1 or more means
	// that no needed bytes are written again for that.
	MaxUnused float64
	// MaxUnusedBytes, if not 0, is how many these are, in place of a share.
	MaxUnusedBytes int64
	// MaxRepack is how many needed bytes are written again at most. 0 means any; negative means none.
	MaxRepack int64
	// MaxDuration is the time after which no more packs are written again: what is done is committed.
	// 0 means any.
	MaxDuration time.Duration
	// CommitEvery is how many bytes are written again before that is committed. 0 means 8 GiB, and twice as much each next
	// time, up to a 64th of what is in packs, and 256 GiB.
	CommitEvery int64
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
// PacksAdded, PacksAfter and BytesAfter; it knows neither how long a real run takes nor what the store would not
// delete; and it does not say what would become of groups. Everything else is what a real run in its place
// would have said.
type Result struct {
	Entry     uint64 // number of the last log entry; 0 if none was needed
	Entries   int    // that were made
	Snapshots int    // live ones, whose blobs were kept
	Held      int    // forgotten ones that are held, whose blobs were kept, too
	HeldUntil time.Time
	Gone      []object.SessionID
	Revoked   []object.SessionID
	Open      []OpenSession // what they uploaded was not touched

	PacksBefore, PacksAfter     int
	PacksDropped, PacksRepacked int // repacked ones are among the dropped
	PacksAdded                  int
	BytesBefore, BytesAfter     int64 // in live packs
	BytesRepacked               int64 // written again into new packs
	BytesAdded                  int64 // put into the store: packs, index segments, parity; for a dry run, packs
	BytesUnused                 int64 // of BytesAfter, needed by nobody
	IndexReplaced, IndexAdded   int
	Late                        bool // whether there was no time to write all packs again that should be

	// Unreadable are live snapshots of which nobody can know what they need. See collector.live.
	Unreadable []object.SessionID

	// Damaged are packs that were to be repacked and are damaged: they stay as they are.
	Damaged []object.Ref

	GroupsAdded, GroupsDeleted int // of parity across packs
	Groups                     int // that there are after the run; for a dry run, those that there are now
	GroupBytes                 int64

	ObjectsDeleted int // without old checkpoints, and the run's own sign of life
	BytesDeleted   int64
	Locked         Locked
	Kept           backends.Kept // what was deleted and takes up room still
	LocksExtended  int
}

// OpenSession is a session that may be at work.
type OpenSession struct {
	ID   object.SessionID
	Host string    // as its last sign of life says; empty if it gave none that can be read
	Last time.Time // when its newest object was put, by the store's clock
	Idle time.Duration
}

// Locked is what is garbage and can not be deleted yet.
type Locked struct {
	Objects int
	Bytes   int64
	Until   time.Time // when the first of it can be; zero if unknown
}

// add counts an object of which a Delete said that it is locked.
func (l *Locked) add(size int64, err error) {
	l.Objects++
	l.Bytes += size
	var locked *backends.LockedError
	if errors.As(err, &locked) && !locked.Until.IsZero() && (l.Until.IsZero() || locked.Until.Before(l.Until)) {
		l.Until = locked.Until
	}
}

// ErrRevoked is returned when another collector revoked the run's session. What the session was for was not
// changed, and what the run's entries before it did counts; the next run starts anew.
var ErrRevoked = errors.New("gc: another collector is at work and has revoked this run; run prune again")

// collector is one run.
type collector struct {
	r       *repo.Repository
	sid     object.SessionID              // of the entry that is at hand
	own     map[object.SessionID]struct{} // all of the run
	opts    Options
	ev      *Events
	started time.Time

	assumed   map[object.SessionID]struct{} // live snapshots that are taken for forgotten
	weighing  bool                          // whether these go although there is a time to hold
	forgotten map[uint64]time.Time          // when log entries were put
	now       time.Time                     // by the store's clock

	unreadable map[uint64]object.SessionID // by the numbers of their entries

	marks     *marks
	lacking   bool    // whether needed data blobs are not in the index
	sizes     []int64 // of the packs in the store, by their numbers in the plan's index; -1 if there is none
	verdicts  *verdicts
	maxRivals int
	plan      *plan  // nil before there is one, and when it is outdated
	slice     *slice // of the plan, that is at hand
	revoke    []object.SessionID
	uploaded  bool  // whether anything was stored that only this session's entry can name
	frugal    bool  // whether nothing is repacked, for lack of room
	most      int64 // bytes that a slice carries; 0 before the first
	growing   bool  // the next slice may carry more
	repacked  int   // packs, to show how far it is
	res       Result
}

// Run frees what no live snapshot needs. It may run beside any number of writers and other
// collectors. The error is a repo.DamageError when something that snapshots need can not be read:
// nothing is dropped then. With a [*DeniedError] there is a Result, too.
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
	err := c.run(ctx)
	if err != nil && !errors.As(err, new(*DeniedError)) {
		return nil, err
	}
	return &c.res, err
}

func newCollector(r *repo.Repository, o Options, ev *Events) *collector {
	c := &collector{
		r: r, opts: o, ev: ev, marks: newMarks(ev), assumed: map[object.SessionID]struct{}{},
		own: map[object.SessionID]struct{}{}, verdicts: newVerdicts(), maxRivals: maxRivals, started: clock.Now(),
		most: o.CommitEvery,
	}
	for _, id := range o.Forget {
		if s := r.State().Snapshots[id]; s != nil && s.Live() && !s.Pinned {
			c.assumed[id] = struct{}{}
		}
	}
	return c
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
		err = c.marks.addSnapshots(ctx, c.r, ix, snaps)
		if err == nil {
			c.count(snaps)
			return ix, c.marks.addBases(ctx, ix)
		}
		if damage := (*repo.DamageError)(nil); !errors.As(err, &damage) {
			return nil, err
		}
		if rerr := c.r.Refresh(ctx); rerr != nil {
			return nil, rerr
		}
		if c.r.State() == ix.State() {
			what := "nothing"
			if c.res.Entries > 0 {
				what = "nothing more"
			}
			return nil, fmt.Errorf("gc: %s was changed, since a snapshot can not be read: %w", what, err)
		}
	}
}

// live opens the snapshots of a state that must be kept. One with a manifest that is none, in an entry that
// is authentic, was made so by whoever held the key, and would stop every run until somebody forgets it.
// Nobody can restore it, and nothing can be marked from it: only the packs that its entry added stay,
// as they are, until it is forgotten. One that a newer program wrote is an error, since that
// one can restore it, but not when it is forgotten and held: forgetting it would not help before that is over.
func (c *collector) live(st *log.State) ([]*repo.Snapshot, error) {
	var out []*repo.Snapshot
	c.unreadable = map[uint64]object.SessionID{}
	for _, s := range st.Snapshots {
		if !c.stays(s) {
			continue
		}
		snap, err := c.r.OpenSnapshot(s)
		_, assumed := c.assumed[s.ID]
		must := s.Live() && !assumed
		if errors.As(err, new(*repo.UnreadableError)) && !(must && errors.Is(err, wire.ErrNewer)) {
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
	c.res.Snapshots, c.res.Held, c.res.HeldUntil = 0, 0, time.Time{}
	c.res.Unreadable = slices.SortedFunc(maps.Values(c.unreadable), object.SessionID.Compare)
	for _, s := range snaps {
		if _, assumed := c.assumed[s.ID]; assumed || !s.Entry.Live() {
			c.res.Held++
			if until := c.heldUntil(s.Entry); c.res.HeldUntil.IsZero() || until.Before(c.res.HeldUntil) {
				c.res.HeldUntil = until
			}
		} else {
			c.res.Snapshots++
		}
	}
}
