package transfer

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/kura-backup/kura/internal/budget"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
	"github.com/kura-backup/kura/tree"
)

// maxTries is how often a snapshot is copied again because others collected what its copy relied on.
const maxTries = 5

// Bytes of segments in memory: as they were fetched, and decoded.
const (
	fetchedBudget = 16 << 20
	decodedBudget = 16 << 20
)

// errThere ends a commit: somebody else has copied the snapshot meanwhile.
var errThere = errors.New("transfer: the destination has it")

// lostError is a part of a snapshot that the source does not have. Damage of the destination is none.
type lostError struct{ err error }

func (e *lostError) Error() string { return e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

// isLost reports whether an error says that something of the source is not as it was written.
func isLost(err error) bool {
	return errors.As(err, new(*lostError)) || errors.As(err, new(*tree.PageError)) || errors.Is(err, tree.ErrInvalid)
}

// copier is one run.
type copier struct {
	from, to *repo.Repository
	opts     Options
	events   Events
	progress *Progress // never nil
	result   Result

	fetched, decoded *budget.Budget
	reach            repo.Reach
	workers          int

	// session is the one under way; nil if one has to be begun. What the others have committed it relies on.
	session *repo.Session
	last    *repo.Session              // that committed the last snapshot; nil if the next session has to begin from nothing
	walked  map[object.BlobID]struct{} // pages of the source below which session, or those before it, have everything

	names  *names                     // nil if both repositories name blobs alike
	wanted map[object.BlobID]struct{} // of a dry run: blobs that it would have copied

	counting sync.Mutex // guards wanted, and result while goroutines are at work
}

func newCopier(from, to *repo.Repository, o Options, ev Events) *copier {
	c := &copier{
		from: from, to: to, opts: o, events: ev, progress: ev.Progress,
		fetched: budget.New(fetchedBudget), decoded: budget.New(decodedBudget),
		reach: from.Reach(), workers: max(8, runtime.GOMAXPROCS(0)),
	}
	if c.progress == nil {
		c.progress = new(Progress)
	}
	if from.Store().Caps().Local {
		c.workers = 2 * runtime.GOMAXPROCS(0)
	}
	if c.result.Same = from.Keys().SharesIDs(to.Keys()); !c.result.Same {
		c.names = newNames()
	}
	if o.DryRun {
		c.wanted = map[object.BlobID]struct{}{}
	}
	c.startAnew()
	return c
}

// startAnew forgets what earlier sessions had, and which pages need not be looked at again because of it.
func (c *copier) startAnew() {
	c.last, c.walked = nil, map[object.BlobID]struct{}{}
	if c.names != nil {
		c.names.trees = map[object.BlobID]object.BlobID{}
	}
}

func (c *copier) run(ctx context.Context) error {
	if c.from.Config().ID == c.to.Config().ID {
		return ErrSame
	}
	for _, kind := range []seal.Kind{seal.Meta, seal.Data} {
		if !c.from.Keys().CanRead(kind) {
			return fmt.Errorf("%w: a copy needs a key of the source that reads everything, and this is a %v's",
				ErrCanNotRead, c.from.Keys().Role())
		}
	}
	defer c.abort()
	c.progress.SnapshotsTotal.Store(uint64(len(c.opts.Snapshots)))
	for _, s := range c.opts.Snapshots {
		item, err := c.one(ctx, s)
		if err != nil {
			return err
		}
		c.note(item)
	}
	return nil
}

// abort ends the session under way. What it has stored can be adopted by the next one.
func (c *copier) abort() {
	if c.session != nil {
		c.session.Abort()
		c.session = nil
	}
}

func (c *copier) note(i Item) {
	switch i.Fate {
	case Copied:
		c.result.Copied++
	case There:
		c.result.There++
	case Damaged:
		c.result.Damaged++
	case Forgotten:
		c.result.Forgotten++
	}
	c.progress.SnapshotsDone.Add(1)
	if c.events.Snapshot != nil {
		c.events.Snapshot(i)
	}
}

// one copies a snapshot unless the destination has it.
func (c *copier) one(ctx context.Context, s *repo.Snapshot) (Item, error) {
	item := Item{Snapshot: s}
	if s.Err != nil {
		item.Fate, item.Err = Damaged, s.Err
		return item, nil
	}
	about := "snapshot " + s.ID.Short()
	c.progress.Current.Store(&about)
	for n := 1; ; n++ {
		if id, ok := c.find(c.to.State(), s); ok {
			item.Fate, item.ID = There, id
			return item, nil
		}
		err := c.try(ctx, s, &item)
		var lost *lostError
		switch {
		case err == nil:
			item.Fate = Copied
			return item, nil
		case errors.Is(err, errThere):
			c.startAnew()
			continue // find finds it now
		case errors.Is(err, repo.ErrStale) && n < maxTries:
			c.startAnew()
			if err := c.to.Refresh(ctx); err != nil {
				return item, err
			}
		case errors.Is(err, repo.ErrStale):
			return item, fmt.Errorf("transfer: gave up after %d tries: %w", n, err)
		case errors.As(err, &lost):
			clear(c.walked) // pages among it have nothing below them in the destination
			item.Fate, item.Err = Damaged, lost.err
			if err := c.from.Refresh(ctx); err != nil {
				return item, err
			}
			if e := c.from.State().Snapshots[s.ID]; e == nil || !e.Live() {
				item.Fate, item.Err = Forgotten, nil
			}
			return item, nil
		default:
			return item, err
		}
	}
}

// try makes one attempt to copy a snapshot.
func (c *copier) try(ctx context.Context, s *repo.Snapshot, item *Item) (err error) {
	if err := c.begin(ctx); err != nil {
		return err
	}
	root, err := s.RootID()
	if err != nil {
		return &lostError{&repo.DamageError{Object: object.LogName(s.Entry.N), Err: err}}
	}
	blobs, bytes := c.result.Blobs, c.result.Bytes
	defer func() { item.Blobs, item.Bytes = c.result.Blobs-blobs, c.result.Bytes-bytes }()
	if err := c.walk(ctx, root); err != nil {
		return err
	}
	if c.opts.DryRun {
		return nil
	}
	if c.names != nil {
		if root, err = c.rewrite(ctx, root); err != nil {
			return err
		}
	}
	session := c.session
	c.session, c.last = nil, nil
	copied, err := session.Commit(repo.CommitOptions{
		Manifest: c.manifest(s, root), Partial: s.Entry.Partial, Run: c.sourceID(s),
		Allowed: func(st *log.State) error {
			if _, ok := c.find(st, s); ok {
				return errThere
			}
			return nil
		},
	})
	if err != nil {
		return err
	}
	c.result.Stored += session.Stats().Stored
	c.last, item.ID = session, copied.ID
	return nil
}

// begin makes sure that there is a session.
func (c *copier) begin(ctx context.Context) (err error) {
	switch {
	case c.session != nil:
	case c.last != nil:
		c.session, err = c.last.Continue(ctx)
	default:
		c.session, err = c.to.NewSession(ctx, repo.SessionOptions{
			Compression: c.opts.Compression, Packing: c.opts.Packing, Similar: c.opts.Similar, Host: c.opts.Host, DryRun: c.opts.DryRun,
		})
	}
	return err
}

// sourceID is the id of the snapshot of which a copy of s is one: of which s says to be one, or s. That it is the copy of
// a snapshot that the source has as well nobody but a forger says, who would have that one passed over.
func (c *copier) sourceID(s *repo.Snapshot) object.SessionID {
	id := s.SourceID()
	if e := c.from.State().Snapshots[id]; e != nil && e.Live() {
		return s.ID
	}
	return id
}

// manifest is what the copy of a snapshot says of itself. Its parent is of the other repository.
func (c *copier) manifest(s *repo.Snapshot, root object.BlobID) *repo.Manifest {
	m := s.Manifest
	source := c.sourceID(s)
	m.Root, m.CopyOf, m.Parent, m.Original, m.TimeGiven = root[:], source[:], nil, nil, 1
	m.Tags = slices.Clone(s.Tags)
	return &m
}

// find returns the live snapshot of the destination's state that is s, or a copy of it.
func (c *copier) find(st *log.State, s *repo.Snapshot) (object.SessionID, bool) {
	source := c.sourceID(s)
	for id, e := range st.Snapshots {
		if (id == source || e.Run == source) && e.Live() && (s.Entry.Partial || !e.Partial) && c.same(e, s, source) {
			return id, true
		}
	}
	return object.SessionID{}, false
}

// same reports whether an entry of the destination, as far as its key opens it, says what s says.
func (c *copier) same(e *log.Snapshot, s *repo.Snapshot, source object.SessionID) bool {
	if !c.to.Keys().CanRead(seal.Meta) {
		return true
	}
	have, err := c.to.OpenSnapshot(e)
	return err == nil && have.SourceID() == source && have.Time == s.Time && have.Host == s.Host &&
		have.Start == s.Start && slices.EqualFunc(have.Paths, s.Paths, slices.Equal) &&
		(c.names != nil || slices.Equal(have.Root, s.Root))
}

// names are the new ids of what was copied to a repository that names blobs differently.
type names struct {
	mu    sync.Mutex
	data  map[object.BlobID]object.BlobID
	trees map[object.BlobID]object.BlobID // first pages of folders that the sessions so far have
}

func newNames() *names { return &names{data: map[object.BlobID]object.BlobID{}} }

func (n *names) of(id object.BlobID) (object.BlobID, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	renamed, ok := n.data[id]
	return renamed, ok
}

func (n *names) set(id, renamed object.BlobID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.data[id] = renamed
}
