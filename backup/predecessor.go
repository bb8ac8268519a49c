package backup

import (
	"context"
	"errors"
	"slices"
	"sort"
	"sync"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/tree"
)

const (
	// minLike is the size from which a file is worth a look at what it was: smaller blobs never become deltas.
	minLike = 64 << 10

	// maxMarks is how many places are remembered of which is known where they were: more than there can be
	// chunks on their way.
	maxMarks = 64
	// Where something was is known the less well, the further away the last mark is: 1/32 of the way is
	// what bytes put in and taken out may come to.
	minSlack   = 16 << 10
	maxSlack   = 512 << 10
	slackShare = 32
)

// predecessor is the content that the parent has of a file or a stream, as [repo.Like]: it says which earlier
// blobs lie where a chunk lies now. Bytes that were put in or taken out move what follows. By how
// much is seen wherever a blob turns out to be an earlier one, or the end of a delta shows what it continues. It
// is safe for concurrent use.
type predecessor struct {
	ctx context.Context // of the run: a Like is asked from within the session

	mu    sync.Mutex
	old   oldContent
	size  int64  // of the earlier content
	marks []mark // ascending by now; never empty
	err   error  // why the earlier content can not be read; then nothing is known any more
}

// mark is a place of which is known where it was.
type mark struct{ now, was int64 }

// newPredecessor returns nil if n is not the node of a content that is worth it.
func newPredecessor(ctx context.Context, n *tree.Node, load tree.LoadFunc) *predecessor {
	if n == nil || n.Type != tree.File || n.Error != "" || n.Size < minLike {
		return nil
	}
	return &predecessor{ctx: ctx, old: makeOldContent(n, load), size: n.Size, marks: make([]mark, 1, 4)}
}

// Near returns the earlier extents of data that lie where the given bytes were, as far as is known: those with
// most of them first. An extent that had the same bounds is the only one: it is the same chunk before it was
// changed, and what is beside it has nothing of it.
func (p *predecessor) Near(offset, length int64) []repo.Near {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return nil
	}
	m := p.before(offset)
	at := offset - m.now + m.was
	slack := min(max((offset-m.now)/slackShare, minSlack), maxSlack)
	var best []repo.Near
	closest := int64(-1)
	lo, hi := max(at-slack, 0), min(at+length+slack, p.size)
	p.err = p.old.overlaps(p.ctx, lo, hi, func(id object.BlobID, s span) {
		next := repo.Near{ID: id, Offset: s.start, Length: s.length, Overlap: min(length, s.length)}
		if off := max(distance(s.start, at), distance(s.end(), at+length)); off <= slack && (closest < 0 || off < closest) {
			best, closest = []repo.Near{next}, off
		}
		if closest >= 0 {
			return
		}
		least, most := s.overlap(at, at+length), s.overlap(lo, hi)
		next.Overlap = min((least+most)/2, length)
		i := sort.Search(len(best), func(i int) bool { return best[i].Overlap < next.Overlap })
		best = slices.Insert(best, i, next)
		best = best[:min(len(best), repo.MaxNear)]
	})
	if p.err != nil {
		return nil
	}
	return best
}

func distance(a, b int64) int64 { return max(a-b, b-a) }

// Known notes that the blob at offset is one that was stored before: often an extent of the earlier content.
func (p *predecessor) Known(offset int64, id object.BlobID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return
	}
	m := p.before(offset)
	was, ok, err := p.old.find(p.ctx, id, offset-m.now+m.was)
	if p.err = err; ok {
		p.mark(offset, was)
	}
}

// Moved notes that the byte at now was the one at was.
func (p *predecessor) Moved(now, was int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mark(now, was)
}

// before returns the last mark at or before offset, or else the first one.
func (p *predecessor) before(offset int64) mark {
	i := len(p.marks) - 1
	for i > 0 && p.marks[i].now > offset {
		i--
	}
	return p.marks[i]
}

// mark adds a mark, in place of the foremost if there are too many.
func (p *predecessor) mark(now, was int64) {
	i := len(p.marks)
	for i > 0 && p.marks[i-1].now > now {
		i--
	}
	switch {
	case i > 0 && p.marks[i-1].now == now:
		p.marks[i-1].was = was
	case len(p.marks) < maxMarks:
		p.marks = slices.Insert(p.marks, i, mark{now, was})
	case i > 0:
		copy(p.marks, p.marks[1:i])
		p.marks[i-1] = mark{now, was}
	}
}

// failure is why the earlier content could not be read, or nil.
func (p *predecessor) failure() error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

var errNoContent = errors.New("no content page")
