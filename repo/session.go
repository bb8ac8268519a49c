package repo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/internal/budget"
	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/zst"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/pack/parity"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

// SessionOptions say how a session stores blobs. The zero value is the default.
type SessionOptions struct {
	Compression Compression
	Workers     int    // goroutines that compress and encrypt; 0 means one for each CPU, and at most 16
	Host        string // written into the session's signs of life
	DryRun      bool   // do all the work but write nothing; Commit is refused
	Packing     Packing
	Similar     Similar
}

// Compression is how segments are compressed.
type Compression struct {
	Off   bool
	Level zst.Level
}

// maxWorkers is for how many inFlight has work. Each has up to 20 MiB of memory.
const maxWorkers = 16

// Session is one writer's run: it stores blobs and makes at most one entry in the log. Save may be
// called concurrently. A session ends with Commit, Continue or Abort; after the first error of the
// store all later calls fail with it, and nothing can be committed.
type Session struct {
	r    *Repository
	id   object.SessionID
	opts SessionOptions
	ix   *Index

	ctx    context.Context // of the whole session; cancelled with the first error
	cancel context.CancelCauseFunc

	known     knownSet      // blobs that this session has stored, or is about to
	adoptable *orphans      // packs of dead sessions
	relied    []atomic.Bool // packs of ix that this session relies on, by number
	inherited []object.Ref  // packs that the run's earlier sessions relied on or stored

	groups  [2]group // small blobs that wait for company, by type
	budget  *budget.Budget
	aside   *aside // nil where a lookup costs nothing
	jobs    chan *job
	ended   chan struct{} // closed when no more jobs are taken
	workers *errgroup.Group
	packs   *packs
	closed  atomic.Bool

	bases         *bases
	near, similar luck // with bases by place, and by similarity

	added, stored atomic.Uint64
}

// NewSession begins a session on the newest state known.
func (r *Repository) NewSession(ctx context.Context, o SessionOptions) (*Session, error) {
	if err := o.Packing.Check(); err != nil {
		return nil, err
	}
	id := object.NewSessionID(r.State().N)
	var ix *Index
	var unfinished []object.SessionID
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		ix, err = r.Index(gctx)
		return err
	})
	g.Go(func() (err error) {
		if !o.DryRun {
			unfinished, err = r.unfinished(gctx)
		}
		return err
	})
	err := g.Wait()
	if err != nil {
		return nil, err
	}
	s := &Session{r: r, id: id, opts: o, ix: ix, relied: make([]atomic.Bool, ix.NumPacks())}
	if s.opts.Workers <= 0 {
		s.opts.Workers = min(runtime.GOMAXPROCS(0), maxWorkers)
		if ix.IsFar() {
			s.opts.Workers += farWorkers
		}
	}
	if s.adoptable, err = r.findOrphans(ctx, ix, unfinished); err != nil {
		return nil, err
	}
	if s.packs, err = newPacks(s); err != nil {
		return nil, err
	}
	s.bases = newBases(r, ix, s.opts.Workers)
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	s.budget = budget.New(inFlight).Keep(inFlight * 3 / 2)
	for i := range s.groups {
		s.groups[i].t = object.BlobType(i + 1)
	}
	s.jobs, s.ended = make(chan *job), make(chan struct{})
	if ix.IsFar() {
		s.aside = newAside()
	}
	s.workers = new(errgroup.Group)
	for range s.opts.Workers {
		s.workers.Go(s.work)
	}
	return s, nil
}

// ID is the session's id, and the id of the snapshot that it will commit.
func (s *Session) ID() object.SessionID { return s.id }

// Index is the index that the session resolves blobs against.
func (s *Session) Index() *Index { return s.ix }

// fail ends the session with err, if it is the first.
func (s *Session) fail(err error) error {
	if err != nil {
		s.cancel(err)
	}
	return s.err()
}

// err is the error that ended the session, or nil.
func (s *Session) err() error {
	if s.ctx.Err() == nil {
		return nil
	}
	return context.Cause(s.ctx)
}

// Saved says what became of a blob.
type Saved struct {
	ID object.BlobID
	// New reports whether this call stored the blob: neither the repository nor this session
	// had it.
	New bool
}

// Save stores data as a blob of type t unless the repository has it. It blocks while too much is in
// flight. data may be reused when Save returns. done is called exactly once, from this goroutine or
// another, when the blob's id is known; the blob is stored only when Commit has returned.
func (s *Session) Save(t object.BlobType, data []byte, done func(Saved, error)) {
	s.save(&job{t: t, done: done}, data)
}

// SaveNow stores a blob and waits for its id.
func (s *Session) SaveNow(t object.BlobType, data []byte) (Saved, error) {
	if 0 < len(data) && len(data) < pack.SmallBlob && s.aside == nil && s.err() == nil {
		return s.saveSmall(t, data) // as save does, without what is needed to be told later
	}
	return s.saveAndWait(t, data)
}

func (s *Session) saveAndWait(t object.BlobType, data []byte) (saved Saved, err error) {
	ready := make(chan struct{})
	s.Save(t, data, func(sv Saved, e error) {
		saved, err = sv, e
		close(ready)
	})
	<-ready
	return saved, err
}

func (s *Session) saveSmall(t object.BlobType, data []byte) (Saved, error) {
	id := s.r.hasher.ID(t, data)
	if !s.claim(id) {
		return Saved{ID: id}, nil
	}
	return s.join(t, id, data)
}

// join stores a small blob that was claimed.
func (s *Session) join(t object.BlobType, id object.BlobID, data []byte) (Saved, error) {
	s.added.Add(uint64(len(data)))
	g := &s.groups[t-1]
	full, err := g.add(s, id, data)
	if err != nil {
		return Saved{}, err
	}
	if full != nil {
		s.submit(full)
	}
	return Saved{ID: id, New: true}, s.err()
}

// Rely notes that the snapshot refers to a blob that was stored before, and reports whether the
// repository has it. If it does not, the caller must store it.
func (s *Session) Rely(id object.BlobID) bool {
	if s.r.sound(s.ix, id, s.relyOn) {
		return true
	}
	return s.known.has(id) || s.adoptable.adopt(s, id)
}

// relyOn notes that the snapshot needs a pack of the index.
func (s *Session) relyOn(packNo uint32) {
	if !s.relied[packNo].Load() { // spares the shared cache line
		s.relied[packNo].Store(true)
	}
}

// claim resolves a blob by the rules of the protocol: it is in the index, and relied on; or in an
// orphaned pack, which is adopted; or the caller must store it (true).
func (s *Session) claim(id object.BlobID) bool {
	return !s.Rely(id) && s.known.add(id)
}

// submit hands a segment to the workers.
func (s *Session) submit(j *job) {
	select {
	case s.jobs <- j:
	case <-s.ctx.Done():
		j.finish(s, Saved{}, s.err())
	case <-s.ended:
		j.finish(s, Saved{}, errEnded)
	}
}

// Stats are the bytes that a session has added so far: before compression, and as stored.
type Stats struct {
	Added  uint64
	Stored uint64
}

// Stats returns what has been added so far. It may be called at any time.
func (s *Session) Stats() Stats { return Stats{Added: s.added.Load(), Stored: s.stored.Load()} }

// Blobs is how many blobs the session has stored: its memory grows with them.
func (s *Session) Blobs() int { return s.known.len() }

var errEnded = errors.New("repo: session used after its end")

// drain waits until everything saved so far is in packs and, unless the session failed, uploaded.
// A Save that is under way or follows may fail.
func (s *Session) drain() error {
	if s.closed.Swap(true) {
		return errEnded
	}
	s.aside.wait()
	for i := range s.groups {
		if j := s.groups[i].take(); j != nil {
			s.submit(j)
		}
	}
	close(s.ended) // not jobs: of an aborted session a Save may still be about to send
	s.fail(s.workers.Wait())
	s.fail(s.packs.close())
	return s.err()
}

// Abort ends the session without an entry. What it has uploaded can be adopted by a later one.
func (s *Session) Abort() {
	s.cancel(errors.New("repo: session was aborted"))
	_ = s.drain() // the error is the one just set, or an earlier one that its caller has seen
}

// Flush waits until everything is uploaded, without committing, for dry runs.
func (s *Session) Flush() (err error) {
	defer func() { s.end(err) }()
	return s.drain()
}

// end ends the session, which went well without an error. Otherwise whoever still uses it hears what went wrong, and not that it is over: of
// several who fail at the same time one is heard.
func (s *Session) end(err error) {
	if err == nil {
		err = errors.New("repo: session has ended")
	}
	s.cancel(err)
}

// CommitOptions say what to commit.
type CommitOptions struct {
	Manifest  *Manifest
	Partial   bool
	Run       object.SessionID   // the same for all sessions of a run
	Supersede []object.SessionID // earlier partial snapshots of the run
	// Stored is called when everything is uploaded, with what the session has added. It may change
	// the manifest. Nil is not called.
	Stored func(Stats)
	// Allowed is asked before each try to add the entry, with the state that it would be added to. Its error ends
	// the commit. Nil allows it.
	Allowed func(*log.State) error
}

// Commit uploads what is left and adds the snapshot to the log. When it returns nil the snapshot is
// durable. ErrStale means that others collected what the session relied on: nothing is committed,
// and the run has to be repeated in a new session. The session is over in any case.
func (s *Session) Commit(c CommitOptions) (_ *Snapshot, err error) {
	defer func() { s.end(err) }()
	if err := s.drain(); err != nil {
		return nil, err
	}
	if s.opts.DryRun {
		return nil, errors.New("repo: a dry run can not be committed")
	}
	add, segments, err := s.uploadIndex()
	if err != nil {
		return nil, err
	}
	if c.Stored != nil {
		c.Stored(s.Stats())
	}
	c.Manifest.Partial = 0
	if c.Partial {
		c.Manifest.Partial = 1
	}
	manifest, err := sealManifest(s.packs.secrets[object.TreeBlob], c.Manifest)
	if err != nil {
		return nil, err
	}
	entry := &log.Entry{
		Kind: log.KindSnapshot, Session: s.id, Clock: now(),
		Manifest: manifest, Partial: c.Partial, Run: c.Run, Add: add, Index: segments,
	}
	st, err := s.r.Commit(s.ctx, func(_ context.Context, st *log.State) (*log.Entry, error) {
		if err := s.check(st, add); err != nil {
			return nil, err
		}
		if c.Allowed != nil {
			if err := c.Allowed(st); err != nil {
				return nil, err
			}
		}
		e := *entry
		for _, id := range c.Supersede {
			if old := st.Snapshots[id]; old != nil && old.Live() && !old.Pinned {
				e.Supersede = append(e.Supersede, id)
			}
		}
		return &e, nil
	})
	if err != nil {
		return nil, err
	}
	return &Snapshot{ID: s.id, Manifest: *c.Manifest, Entry: st.Snapshots[s.id]}, nil
}

// check verifies, against the whole of st, that everything the snapshot relies on is there.
func (s *Session) check(st *log.State, add []log.PackRef) error {
	if !st.Open(s.id) {
		return fmt.Errorf("%w: the session was idle for long and was revoked", ErrStale)
	}
	if st.Epoch != s.ix.state.Epoch { // what it has stored is sealed with keys that are to be used no more
		return fmt.Errorf("%w: the keys were rotated", ErrStale)
	}
	stale := func(ref object.Ref) error { return fmt.Errorf("%w: %v", ErrStale, ref) }
	for n := range s.relied {
		if s.relied[n].Load() {
			if ref, _ := s.ix.Pack(uint32(n)); !st.Addable(ref.Ref) {
				return stale(ref.Ref)
			}
		}
	}
	for _, ref := range s.inherited {
		if !st.Addable(ref) {
			return stale(ref)
		}
	}
	for _, p := range add {
		if !st.Addable(p.Ref) {
			return stale(p.Ref)
		}
	}
	return nil
}

// Continue begins the run's next session after a partial snapshot was committed: it goes on relying
// on everything that this one relied on or stored.
func (s *Session) Continue(ctx context.Context) (*Session, error) {
	next, err := s.r.NewSession(ctx, s.opts)
	if err != nil {
		return nil, err
	}
	next.inherited = slices.Clone(s.inherited)
	for n := range s.relied {
		if s.relied[n].Load() {
			ref, _ := s.ix.Pack(uint32(n))
			next.inherited = append(next.inherited, ref.Ref)
		}
	}
	for _, p := range s.addedPacks() {
		next.inherited = append(next.inherited, p.Ref)
	}
	slices.SortFunc(next.inherited, object.Ref.Compare)
	next.inherited = slices.Compact(next.inherited)
	return next, nil
}

// addedPacks lists own and adopted packs.
func (s *Session) addedPacks() []log.PackRef {
	var out []log.PackRef
	for _, p := range s.packs.finished() {
		out = append(out, log.PackRef{Ref: p.ref, Size: p.size})
	}
	for _, p := range s.adoptable.adopted() {
		out = append(out, log.PackRef{Ref: p.ref, Size: p.size})
	}
	return out
}

// uploadIndex stores index segments for every blob of every own and adopted pack.
func (s *Session) uploadIndex() (add, segments []log.PackRef, err error) {
	var seg index.Segment
	all := append(s.packs.finished(), s.adoptable.adopted()...)
	if len(all) > 0 {
		// What adopts and stores no packs has not given a sign yet: by it a collector sees, should
		// the commit fail, whose index segments these are.
		s.packs.signOnce(s.ctx)
	}
	flush := func() error {
		if len(seg.Blobs) == 0 {
			return nil
		}
		refs, err := s.r.PutIndex(s.ctx, s.id, &seg)
		segments = append(segments, refs...)
		seg = index.Segment{}
		return err
	}
	for _, p := range all {
		n := 0
		for i := range p.dir.Segments {
			n += len(p.dir.Segments[i].IDs)
		}
		if len(seg.Blobs)+n > index.MaxBlobs {
			if err := flush(); err != nil {
				return nil, nil, err
			}
		}
		if err := seg.AddPack(p.ref, p.size, p.dir); err != nil {
			return nil, nil, err
		}
	}
	if err := flush(); err != nil {
		return nil, nil, err
	}
	return s.addedPacks(), segments, nil
}

// PutIndex stores an index segment, in several objects if it is too large for one.
func (r *Repository) PutIndex(ctx context.Context, sid object.SessionID, seg *index.Segment) ([]log.PackRef, error) {
	parts, err := seg.Split(index.MaxBlobs)
	if err != nil {
		return nil, err
	}
	var refs []log.PackRef
	for _, part := range parts {
		obj, err := index.Encode(r.Keys(), part)
		if err != nil {
			return nil, err
		}
		// Without an index segment its packs must be read to find anything: it is always worth 3 %.
		if obj, err = parity.Append(obj, 0, pack.DefaultParity); err != nil {
			return nil, err
		}
		ref := object.Ref{Class: object.Index, Session: sid, Hash: object.Sum(obj)}
		if err := putObject(ctx, r.store, ref.Name(), obj); err != nil {
			return nil, err
		}
		refs = append(refs, log.PackRef{Ref: ref, Size: int64(len(obj))})
	}
	return refs, nil
}

// kindOf says which secret encrypts blobs of type t.
func kindOf(t object.BlobType) seal.Kind {
	if t == object.TreeBlob {
		return seal.Meta
	}
	return seal.Data
}

// now is the time that entries carry, ns since 1970.
func now() int64 { return clock.Now().UnixNano() }

// coin is a fair coin that an observer of pack contents can not predict.
func coin(rng *rand.ChaCha8) int { return int(rng.Uint64() & 1) }
