package gc

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/tree"
)

const (
	walkers   = 8         // packs that are read at once: what counts is the way to a far store
	readGap   = 256 << 10 // bytes between two segments that are read for nothing rather than asked for apart
	readMost  = 2 << 20   // bytes that are read at once, but for a segment or pack that is larger
	smallPack = 1 << 20   // one that ends before this is read as a whole
	wholePack = 6 << 20   // one that does not is never read as a whole
)

// walker visits the pages of trees, many at a time. A page is read by its segment, segments of one pack
// together, and what else of the tree is in a segment that was read anyway is visited at once: as pages
// lie below one another they lie beside one another, so each segment is mostly read once.
//
// The functions are called by one goroutine at a time.
type walker struct {
	r  *repo.Repository
	ix *repo.Index
	// take is told what a page refers to, and returns which pages among that are to be visited.
	take func(refs []tree.Ref) []object.BlobID
	// lost is told of a page that can not be read; what it returns ends the walk.
	lost func(p page, err error) error

	mu      sync.Mutex
	changed sync.Cond
	waiting map[uint32]*wantedPack // by pack number
	order   []uint32               // of waiting; the last is the next
	read    map[uint32]struct{}    // packs that were read before
	busy    int
	err     error
}

// page is one to be visited.
type page struct {
	id   object.BlobID
	root int // of the walk, below which it was met first
}

// wantedPack is what is wanted of one pack.
type wantedPack struct {
	no       uint32
	segments map[local.Place][]wantedPage // by a place without its blob
}

type wantedPage struct {
	page
	offset, length uint32 // in the segment
}

// noPack is the number under which pages wait that are in no pack.
const noPack = ^uint32(0)

// walk visits the given pages and all that take returns.
func (w *walker) walk(ctx context.Context, roots []object.BlobID) error {
	w.changed.L = &w.mu
	w.waiting, w.read = map[uint32]*wantedPack{}, map[uint32]struct{}{}
	for i, id := range roots {
		w.push(page{id, i}, w.place(id))
	}
	g, gctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(gctx, func() { w.fail(context.Cause(gctx)) })
	defer stop()
	for range walkers {
		g.Go(func() error { return w.work(gctx) })
	}
	return g.Wait()
}

// place is where a page can be read, with pack noPack if nowhere.
func (w *walker) place(id object.BlobID) local.Place {
	var buf [8]local.Place
	for _, p := range w.ix.Listed(id, buf[:0]) {
		if p.Depth == 0 { // trees have no deltas
			return p
		}
	}
	return local.Place{Pack: noPack}
}

// push has a page wait. mu is held, or there is nobody else yet.
func (w *walker) push(p page, at local.Place) {
	pack := w.waiting[at.Pack]
	if pack == nil {
		pack = &wantedPack{no: at.Pack, segments: map[local.Place][]wantedPage{}}
		w.waiting[at.Pack] = pack
		w.order = append(w.order, at.Pack)
	}
	key := segmentKey(at)
	pack.segments[key] = append(pack.segments[key], wantedPage{p, at.Offset, at.Length})
}

func segmentKey(at local.Place) local.Place {
	at.Offset, at.Length = 0, 0
	return at
}

func (w *walker) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	w.changed.Broadcast()
}

// work visits pack after pack until there is nothing more to do.
func (w *walker) work(ctx context.Context) error {
	for {
		p, whole, err := w.next()
		if p == nil {
			return err
		}
		if err := w.visit(ctx, p, whole); err != nil {
			w.fail(err)
		}
		w.mu.Lock()
		w.busy--
		w.changed.Broadcast()
		w.mu.Unlock()
	}
}

// next takes a pack off the waiting ones, or returns nil at the end. One that is wanted a second time is
// read as a whole, since most of it seems to be needed.
func (w *walker) next() (p *wantedPack, whole bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.order) == 0 && w.busy > 0 && w.err == nil {
		w.changed.Wait()
	}
	if len(w.order) == 0 || w.err != nil {
		return nil, false, w.err
	}
	no := w.order[len(w.order)-1]
	w.order = w.order[:len(w.order)-1]
	p = w.waiting[no]
	delete(w.waiting, no)
	_, whole = w.read[no]
	w.read[no] = struct{}{}
	w.busy++
	return p, whole, nil
}

// span is a part of a pack that was read.
type span struct {
	start    int64
	bytes    []byte
	segments []local.Place // that are wanted of it, ascending
}

func (s *span) has(at local.Place) bool {
	return s.start <= int64(at.SegOffset) && segmentEnd(at) <= s.start+int64(len(s.bytes))
}

// visit visits what is wanted of a pack.
func (w *walker) visit(ctx context.Context, p *wantedPack, whole bool) error {
	if p.no == noPack {
		return w.visitSlowly(ctx, p.segments[local.Place{Pack: noPack}])
	}
	for _, s := range w.plan(p, whole) {
		ref, _ := w.ix.Pack(p.no)
		b, err := w.r.FetchRange(ctx, ref.Ref, s.start, s.length(), nil)
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			for _, at := range s.segments {
				if err := w.visitSlowly(ctx, p.segments[at]); err != nil {
					return err
				}
			}
			continue
		}
		s.bytes = b
		if err := w.visitSpan(ctx, p, &s); err != nil {
			return err
		}
	}
	return nil
}

// length is how much has to be read for the segments.
func (s *span) length() int64 {
	end := s.start
	for _, at := range s.segments {
		end = max(end, segmentEnd(at))
	}
	return end - s.start
}

func segmentEnd(at local.Place) int64 { return int64(at.SegOffset) + int64(at.Stored) }

// plan divides what is wanted of a pack into parts that are read at once.
func (w *walker) plan(p *wantedPack, whole bool) (spans []span) {
	all := make([]local.Place, 0, len(p.segments))
	for at := range p.segments {
		all = append(all, at)
	}
	slices.SortFunc(all, func(a, b local.Place) int { return cmp.Compare(a.SegOffset, b.SegOffset) })
	end := segmentEnd(all[len(all)-1])
	whole = whole && end <= wholePack || end <= smallPack
	for _, at := range all {
		if n := len(spans) - 1; n >= 0 {
			s := &spans[n]
			near := int64(at.SegOffset)-(s.start+s.length()) <= readGap && segmentEnd(at)-s.start <= readMost
			if whole || near {
				s.segments = append(s.segments, at)
				continue
			}
		}
		start := int64(at.SegOffset)
		if whole {
			start = 0
		}
		spans = append(spans, span{start: start, segments: []local.Place{at}})
	}
	return spans
}

// visitSpan visits the pages in a part of a pack, and those below them that are in it, too. The last segment
// is the first: folders are stored after what is in them.
func (w *walker) visitSpan(ctx context.Context, p *wantedPack, s *span) error {
	todo := map[local.Place][]wantedPage{}
	for _, at := range s.segments {
		todo[at] = p.segments[at]
	}
	var scratch, plain []byte
	for len(todo) > 0 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var at local.Place
		for k := range todo {
			if k.SegOffset >= at.SegOffset {
				at = k
			}
		}
		place, decoded, err := w.decode(s, at, &scratch, plain[:0])
		if err != nil {
			if err := w.visitSlowly(ctx, todo[at]); err != nil {
				return err
			}
			delete(todo, at)
			continue
		}
		plain = decoded
		for len(todo[at]) > 0 { // which may grow
			last := len(todo[at]) - 1
			next := todo[at][last]
			todo[at] = todo[at][:last]
			place.Offset, place.Length = next.offset, next.length
			blob, err := w.r.Extract(object.TreeBlob, next.id, &place, plain)
			if err != nil {
				err = w.visitSlowly(ctx, []wantedPage{next})
			} else {
				err = w.visitPage(next.page, blob, s, todo)
			}
			if err != nil {
				return err
			}
		}
		delete(todo, at)
	}
	return nil
}

func (w *walker) decode(s *span, at local.Place, scratch *[]byte, plain []byte) (repo.Place, []byte, error) {
	place, err := w.ix.Place(at)
	if err != nil {
		return place, nil, err
	}
	key, err := w.r.OpenOrigin(place.Pack, place.Origin)
	if err != nil {
		return place, nil, err
	}
	// The ciphertext may be wanted again, for a page that is met later.
	from := int64(at.SegOffset) - s.start
	*scratch = append((*scratch)[:0], s.bytes[from:from+int64(at.Stored)]...)
	plain, err = repo.DecodeSegment(plain, key, &place.Segment, *scratch, nil) // trees have no deltas
	return place, plain, err
}

// visitSlowly visits pages that could not be read as they should, in all the ways that there are: from other copies,
// mended, from a newer state.
func (w *walker) visitSlowly(ctx context.Context, pages []wantedPage) error {
	for _, p := range pages {
		blob, err := w.r.LoadTree(ctx, p.id)
		if err == nil {
			err = w.visitPage(p.page, blob, nil, nil)
		} else {
			w.mu.Lock()
			err = w.lost(p.page, err)
			w.mu.Unlock()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// visitPage takes what a page refers to. Pages in the span that is at hand go to todo, others wait.
func (w *walker) visitPage(p page, blob []byte, s *span, todo map[local.Place][]wantedPage) error {
	var refs []tree.Ref
	for ref, err := range tree.Refs(blob) {
		if err != nil {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.lost(p, &repo.DamageError{Blob: p.id, Err: err})
		}
		refs = append(refs, ref)
	}
	w.mu.Lock()
	below := w.take(refs)
	w.mu.Unlock()
	places := make([]local.Place, len(below))
	for i, id := range below {
		places[i] = w.place(id)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, id := range below {
		at, q := places[i], page{id, p.root}
		if s != nil && len(s.segments) > 0 && at.Pack == s.segments[0].Pack && s.has(at) {
			key := segmentKey(at)
			todo[key] = append(todo[key], wantedPage{q, at.Offset, at.Length})
			continue
		}
		w.push(q, at)
	}
	if len(below) > 0 {
		w.changed.Broadcast()
	}
	return nil
}
