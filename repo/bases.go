package repo

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/kura-backup/kura/delta"
	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/budget"
	"github.com/kura-backup/kura/internal/freelist"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
)

const (
	// basesInFlight bounds the memory for bases that is used again; what does not fit is allocated.
	basesInFlight = 32 << 20
	// usualBase is the least memory for one: with that of many sizes some is always let go for want of another.
	usualBase = 4 << 20
	// keptBases is how many bytes are kept of blobs that nobody uses: where chunk boundaries have moved the next chunk needs the same
	// ones, and where chains have branched, what they begin with.
	keptBases = 4 << 20
	// mostKept bounds how many these are: each has memory for usualBase, and small ones would hold all that there is.
	mostKept = 4
	// maxHeld bounds the blobs that one is made of, which are all held until it is. What takes more is read in the way in which all blobs are,
	// which needs only a few at once.
	maxHeld = 48 << 20
	// maxStreams bounds the streams of one chain. Those of writers that keep to the rules are no longer than what is made of them.
	maxStreams = 16 << 20
	// keptStreams is how much memory for streams is kept from one base to the next.
	keptStreams = 1 << 20
)

// bases makes the bases of a session's deltas. For these alone it does without what [Repository.LoadBlob] does for all: new
// memory for each, room in the cache of segments, and the blocks of a chain but for the first and the last, which are neither put together nor
// named. Safe for concurrent use.
type bases struct {
	r      *Repository
	ix     *Index
	budget *budget.Budget
	chains *freelist.List[*chain]

	mu    sync.Mutex
	kept  []keptBase // the last used first
	bytes int        // of kept
}

type keptBase struct {
	id object.BlobID
	madeBase
	verified bool
}

// madeBase is the plaintext of a blob, which has to be released.
type madeBase struct {
	plain []byte
	mem   *budget.Buffer // nil: of the collector
}

func (m madeBase) share() {
	if m.mem != nil {
		m.mem.Share(1)
	}
}

func (m madeBase) release() {
	if m.mem != nil {
		m.mem.Release()
	}
}

// chain is what a blob is made of, while it is made.
type chain struct {
	made    int        // segments that were decoded
	held    []madeBase // blobs that pieces are of
	size    int        // of held
	streams []byte     // of which pieces are, too
	stored  freelist.Scratch
	idle    []*delta.Pieces
}

func (c *chain) pieces() *delta.Pieces {
	if last := len(c.idle) - 1; last >= 0 {
		p := c.idle[last]
		c.idle = c.idle[:last]
		return p
	}
	return new(delta.Pieces)
}

func (c *chain) done(p *delta.Pieces) {
	p.Reset()
	c.idle = append(c.idle, p)
}

// add puts a blob behind p, and holds it.
func (c *chain) add(p *delta.Pieces, m madeBase) {
	c.held, c.size = append(c.held, m), c.size+len(m.plain)
	p.Add(m.plain)
}

// isHeld reports whether b is all of the only blob that is held.
func (c *chain) isHeld(b []byte) bool {
	return len(c.held) == 1 && len(b) > 0 && len(b) == len(c.held[0].plain) && &b[0] == &c.held[0].plain[0]
}

// release lets go of everything but memory for the next one.
func (c *chain) release() {
	for i := range c.held {
		c.held[i].release()
	}
	clear(c.held)
	c.made, c.held, c.size = 0, c.held[:0], 0
	if c.streams = c.streams[:0]; cap(c.streams) > keptStreams {
		c.streams = nil
	}
}

func newBases(r *Repository, ix *Index, workers int) *bases {
	return &bases{r: r, ix: ix, budget: budget.New(basesInFlight).Keep(basesInFlight * 5 / 4), chains: freelist.New[*chain](workers)}
}

// errNotMade says that a base is to be read in the way in which all blobs are.
var errNotMade = errors.New("repo: this is no simple base")

// load returns a blob, verified by its id, from a copy of less than a depth.
func (b *bases) load(ctx context.Context, id object.BlobID, below uint8) (madeBase, error) {
	if m, verified, ok := b.get(id); ok {
		if verified || b.r.hasher.ID(object.DataBlob, m.plain) == id {
			b.keep(id, m, true)
			return m, nil
		}
		m.release()
		b.forget()
	}
	m, err := b.make(ctx, id, below)
	if err == nil {
		if b.r.hasher.ID(object.DataBlob, m.plain) == id {
			b.keep(id, m, true)
			return m, nil
		}
		m.release()
	}
	if !errors.Is(err, errNotMade) {
		b.forget() // who knows which of them it was
	}
	if ctx.Err() != nil {
		return madeBase{}, context.Cause(ctx)
	}
	// Whatever it was: this looks at all copies, mends none, and says what is the matter.
	plain, _, err := b.r.loadFrom(ctx, b.ix, object.DataBlob, id, below)
	return madeBase{plain: plain}, err
}

// make makes a blob of the first copy that there is. It is for the caller to verify; what it is made of is not, since the
// blob comes out wrong if that is, and mostly nobody needs it but for this. Where a chain has eight steps that
// spares eight of nine hashes. (It comes out right if it was made of the same wrong bytes, which takes a writer who lies: docs/threat-model.md,
// "poison".)
func (b *bases) make(ctx context.Context, id object.BlobID, below uint8) (madeBase, error) {
	c, ok := b.chains.Get()
	if !ok {
		c = new(chain)
	}
	defer b.chains.Put(c)
	defer c.release()
	p := c.pieces()
	defer c.done(p)
	if err := b.find(ctx, c, p, id, below); err != nil {
		return madeBase{}, err
	}
	if plain, ok := p.Whole(); ok && c.isHeld(plain) {
		c.held[0].share() // it is no delta
		return c.held[0], nil
	}
	m := b.buffer(p.Len())
	m.plain = p.AppendTo(m.plain)
	return m, nil
}

// find puts a blob behind p.
func (b *bases) find(ctx context.Context, c *chain, p *delta.Pieces, id object.BlobID, below uint8) error {
	var buf [8]local.Place
	places := b.ix.placesBelow(id, below, buf[:0])
	if len(places) == 0 {
		return errNotMade
	}
	if m, _, ok := b.get(id); ok {
		c.add(p, m)
		return nil
	}
	if c.made++; c.made > maxToMake {
		return errNotMade
	}
	at, err := b.ix.Place(places[0])
	if err != nil {
		return err
	}
	if at.Offset > 0 || at.Length != at.Plain {
		return errNotMade // its neighbours may be wanted next
	}
	if at.Coding == pack.Delta {
		return b.apply(ctx, c, p, &at)
	}
	if c.size+int(at.Plain) > maxHeld {
		return errNotMade
	}
	m, err := b.decode(ctx, c, &at)
	if err != nil {
		return err
	}
	c.add(p, m)
	b.keep(id, m, false)
	return nil
}

// apply puts what a delta makes behind p.
func (b *bases) apply(ctx context.Context, c *chain, p *delta.Pieces, at *Place) error {
	base := c.pieces()
	defer c.done(base)
	for i := range at.Bases.Len() {
		if err := b.find(ctx, c, base, at.Bases.At(i), at.Depth); err != nil {
			return err
		}
		if base.Len() > pack.MaxJoined {
			return errNotMade
		}
	}
	start := len(c.streams)
	err := b.open(ctx, c, at, func(stored []byte) (err error) {
		c.streams, err = pack.DecodeStream(c.streams, stored, min(int(at.Plain), maxStreams-start))
		return err
	})
	if err != nil {
		return err
	}
	stream := c.streams[start:]
	err = p.Apply(base, stream, int(at.Plain))
	if !errors.Is(err, delta.ErrPieces) {
		return err
	}
	if c.size+int(at.Plain) > maxHeld {
		return errNotMade
	}
	whole, m := b.buffer(base.Len()), b.buffer(int(at.Plain))
	defer whole.release()
	if m.plain, err = delta.Apply(m.plain, base.AppendTo(whole.plain), stream, int(at.Plain)); err != nil {
		m.release()
		return err
	}
	c.add(p, m)
	return nil
}

// decode returns the plaintext of a segment that is no delta.
func (b *bases) decode(ctx context.Context, c *chain, at *Place) (madeBase, error) {
	m := b.buffer(int(at.Plain))
	err := b.open(ctx, c, at, func(stored []byte) (err error) {
		m.plain, err = pack.DecodeSegment(m.plain, stored, at.Coding, int(at.Plain), nil)
		return err
	})
	if err != nil {
		m.release()
		return madeBase{}, err
	}
	return m, nil
}

// open reads and decrypts a segment, and calls use with its stored bytes, which may not be kept.
func (b *bases) open(ctx context.Context, c *chain, at *Place, use func(stored []byte) error) error {
	key, err := b.r.OpenOrigin(at.Pack, at.Origin)
	if err != nil {
		return err
	}
	ct, err := b.r.FetchRange(ctx, at.Pack, int64(at.At), int64(at.Stored), c.stored.For(int(at.Stored)))
	if err != nil {
		return err
	}
	stored, err := key.Open(ct[:0], at.Ordinal, ct)
	if err != nil {
		return err
	}
	return use(stored)
}

// buffer returns an empty buffer with room for a blob of n bytes.
func (b *bases) buffer(n int) madeBase {
	if mem, ok := b.budget.TryGet(max(n, usualBase)); ok {
		return madeBase{mem.B, mem}
	}
	return madeBase{plain: make([]byte, 0, n)}
}

// get returns a blob that is kept.
func (b *bases) get(id object.BlobID) (m madeBase, verified, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.kept, func(k keptBase) bool { return k.id == id })
	if i < 0 {
		return madeBase{}, false, false
	}
	k := b.kept[i]
	copy(b.kept[1:i+1], b.kept[:i])
	b.kept[0] = k
	k.share()
	return k.madeBase, k.verified, true
}

// keep keeps a blob, in place of those that were not used for longest.
func (b *bases) keep(id object.BlobID, m madeBase, verified bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.IndexFunc(b.kept, func(k keptBase) bool { return k.id == id }); i >= 0 {
		if b.kept[i].verified || !verified {
			return
		}
		b.dropLocked(i)
	}
	m.share()
	b.kept = slices.Insert(b.kept, 0, keptBase{id, m, verified})
	for b.bytes += len(m.plain); len(b.kept) > 1 && b.bytes > keptBases || len(b.kept) > mostKept; {
		b.dropLocked(len(b.kept) - 1)
	}
}

func (b *bases) dropLocked(i int) {
	b.bytes -= len(b.kept[i].plain)
	b.kept[i].release()
	b.kept = slices.Delete(b.kept, i, i+1)
}

// forget lets go of all blobs that are kept.
func (b *bases) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.kept) > 0 {
		b.dropLocked(len(b.kept) - 1)
	}
}
