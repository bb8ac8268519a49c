package repo

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/budget"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
)

const (
	// basesInFlight bounds the memory for bases that is used again; what does not fit is allocated.
	basesInFlight = 24 << 20
	// usualBase is the least memory for one: with that of many sizes some is always let go for want of another.
	usualBase = 2 << 20
	// keptBases is how many are kept that nobody uses: where chunk boundaries have moved the next chunk needs the last one's.
	keptBases = 2
)

// bases makes the bases of a session's deltas. For these alone it does without what [Repository.LoadBlob] does for all: new
// memory for each, room in the cache of segments, and the ids of what bases are themselves made of. Safe for concurrent use.
type bases struct {
	r      *Repository
	ix     *Index
	budget *budget.Budget

	mu   sync.Mutex
	kept []keptBase // the last used first
}

type keptBase struct {
	id object.BlobID
	madeBase
}

// madeBase is the plaintext of a base, which has to be released.
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

func newBases(r *Repository, ix *Index) *bases {
	return &bases{r: r, ix: ix, budget: budget.New(basesInFlight)}
}

// errNotMade says that a base is to be read in the way in which all blobs are.
var errNotMade = errors.New("repo: this is no simple base")

// load returns a blob, verified by its id, from a copy of less than a depth.
func (b *bases) load(ctx context.Context, id object.BlobID, below uint8) (madeBase, error) {
	if m, ok := b.get(id); ok {
		return m, nil
	}
	made := 0
	m, err := b.make(ctx, id, below, &made)
	if err == nil {
		if b.r.hasher.ID(object.DataBlob, m.plain) == id {
			b.keep(id, m)
			return m, nil
		}
		m.release()
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
// spares eight of nine hashes.
func (b *bases) make(ctx context.Context, id object.BlobID, below uint8, made *int) (madeBase, error) {
	var buf [8]local.Place
	places := b.ix.placesBelow(id, below, buf[:0])
	if *made++; len(places) == 0 || *made > maxToMake {
		return madeBase{}, errNotMade
	}
	p, err := b.ix.Place(places[0])
	if err != nil {
		return madeBase{}, err
	}
	if p.Offset > 0 || p.Length != p.Plain {
		return madeBase{}, errNotMade // its neighbours may be wanted next
	}
	base, err := b.joined(ctx, &p.Segment, made)
	if err != nil {
		return madeBase{}, err
	}
	defer base.release()
	return b.decode(ctx, &p, base.plain)
}

// joined returns what a segment is a delta against.
func (b *bases) joined(ctx context.Context, s *Segment, made *int) (madeBase, error) {
	var out []byte
	for i := range s.Bases.Len() {
		id := s.Bases.At(i)
		m, ok := b.get(id)
		if !ok {
			var err error
			if m, err = b.make(ctx, id, s.Depth, made); err != nil {
				return madeBase{}, err
			}
		}
		if s.Bases.Len() == 1 {
			return m, nil
		}
		if len(out)+len(m.plain) > pack.MaxJoined {
			m.release()
			return madeBase{}, errNotMade
		}
		out = append(out, m.plain...)
		m.release()
	}
	return madeBase{plain: out}, nil
}

func (b *bases) decode(ctx context.Context, p *Place, base []byte) (madeBase, error) {
	key, err := b.r.OpenOrigin(p.Pack, p.Origin)
	if err != nil {
		return madeBase{}, err
	}
	in := b.buffer(int(p.Stored))
	defer in.release()
	ct, err := b.r.FetchRange(ctx, p.Pack, int64(p.At), int64(p.Stored), in.plain)
	if err != nil {
		return madeBase{}, err
	}
	m := b.buffer(max(int(p.Plain), usualBase))
	if m.plain, err = DecodeSegment(m.plain, key, &p.Segment, ct, base); err != nil {
		m.release()
		return madeBase{}, err
	}
	return m, nil
}

// buffer returns an empty buffer with room for n bytes.
func (b *bases) buffer(n int) madeBase {
	if mem, ok := b.budget.TryGet(n); ok {
		return madeBase{mem.B, mem}
	}
	return madeBase{plain: make([]byte, 0, n)}
}

// get returns a base that is kept.
func (b *bases) get(id object.BlobID) (madeBase, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.kept, func(k keptBase) bool { return k.id == id })
	if i < 0 {
		return madeBase{}, false
	}
	k := b.kept[i]
	copy(b.kept[1:i+1], b.kept[:i])
	b.kept[0] = k
	k.share()
	return k.madeBase, true
}

// keep keeps a base that was verified, in place of the one that was not used for longest.
func (b *bases) keep(id object.BlobID, m madeBase) {
	m.share()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.kept) == keptBases {
		b.kept[keptBases-1].release()
		b.kept = b.kept[:keptBases-1]
	}
	b.kept = slices.Insert(b.kept, 0, keptBase{id, m})
}
