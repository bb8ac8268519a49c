package backup

import (
	"context"
	"math"
	"sort"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/tree"
)

// cachedPages bounds what of an earlier content is in memory: so many content pages, of at most 400 KiB each
// (and nearly all far below 100 KiB), and eight bytes for each page that was read.
const cachedPages = 3

// oldContent finds extents of an earlier content by where they lie. What is in content pages is read when it is
// needed, from the front on, since only then is known where the next page begins. It is not safe for
// concurrent use.
type oldContent struct {
	load tree.LoadFunc

	ids    []object.BlobID     // content pages; none if all is in the one page that is there from the beginning
	starts []int64             // where the pages begin that were read, and the one behind them
	cache  [cachedPages]*spans // those that were used last, the last one first
}

// spans are the extents of a page that are data.
type spans struct {
	page int
	ids  []object.BlobID
	at   []span
}

type span struct{ start, length int64 }

func (s span) end() int64 { return s.start + s.length }

// overlap returns how many bytes from lo to hi are in s.
func (s span) overlap(lo, hi int64) int64 { return max(0, min(s.end(), hi)-max(s.start, lo)) }

func makeOldContent(n *tree.Node, load tree.LoadFunc) oldContent {
	c := oldContent{load: load, ids: n.Pages}
	if len(n.Pages) == 0 {
		s, end := makeSpans(0, 0, &n.Content)
		c.cache[0], c.starts = s, []int64{0, end}
		return c
	}
	c.starts = []int64{0}
	return c
}

// makeSpans returns where the data of a page lies that begins at start, and where the page ends.
func makeSpans(page int, start int64, content *tree.Content) (*spans, int64) {
	s := &spans{page: page, ids: content.IDs, at: make([]span, 0, len(content.IDs))}
	for i, length := range content.Lengths {
		length = min(length, math.MaxInt64-start) // of several pages together nobody has checked it
		if content.Kinds == nil || content.Kinds[i] == tree.Data {
			s.at = append(s.at, span{start, length})
		}
		start += length
	}
	return s, start
}

// from returns the number of the first span that ends behind offset.
func (s *spans) from(offset int64) int {
	return sort.Search(len(s.at), func(i int) bool { return s.at[i].end() > offset })
}

// find returns the number of the span with an id that is nearest to where offset lies, or -1.
func (s *spans) find(id *object.BlobID, offset int64) int {
	at := s.from(offset)
	for lo, hi := at-1, at; lo >= 0 || hi < len(s.ids); lo, hi = lo-1, hi+1 {
		if hi < len(s.ids) && s.ids[hi] == *id {
			return hi
		}
		if lo >= 0 && s.ids[lo] == *id {
			return lo
		}
	}
	return -1
}

// pages is how many there are.
func (c *oldContent) pages() int { return max(1, len(c.ids)) }

// at returns the number of the page that has offset, or of the nearest one.
func (c *oldContent) at(ctx context.Context, offset int64) (int, error) {
	for c.starts[len(c.starts)-1] <= offset && len(c.starts) <= c.pages() {
		if _, err := c.read(ctx, len(c.starts)-1); err != nil {
			return 0, err
		}
	}
	n := sort.Search(len(c.starts), func(i int) bool { return c.starts[i] > offset })
	return min(max(n-1, 0), c.pages()-1), nil
}

// page returns a page whose beginning is known.
func (c *oldContent) page(ctx context.Context, n int) (*spans, error) {
	for i, s := range c.cache {
		if s != nil && s.page == n {
			copy(c.cache[1:i+1], c.cache[:i])
			c.cache[0] = s
			return s, nil
		}
	}
	return c.read(ctx, n)
}

func (c *oldContent) read(ctx context.Context, n int) (*spans, error) {
	id := c.ids[n]
	data, err := c.load(ctx, id)
	if err != nil {
		return nil, err
	}
	p, err := tree.DecodePage(data)
	if err == nil && p.Kind != tree.ContentPage {
		err = errNoContent
	}
	if err != nil {
		return nil, &tree.PageError{ID: id, Err: err}
	}
	s, end := makeSpans(n, c.starts[n], &p.Content)
	if n == len(c.starts)-1 {
		c.starts = append(c.starts, end)
	}
	copy(c.cache[1:], c.cache[:])
	c.cache[0] = s
	return s, nil
}

// overlaps calls each for the extents of data that have bytes from lo to hi, in order.
func (c *oldContent) overlaps(ctx context.Context, lo, hi int64, each func(object.BlobID, span)) error {
	n, err := c.at(ctx, lo)
	if err != nil {
		return err
	}
	for ; n < c.pages() && c.starts[n] < hi; n++ {
		s, err := c.page(ctx, n)
		if err != nil {
			return err
		}
		for i := s.from(lo); i < len(s.at) && s.at[i].start < hi; i++ {
			each(s.ids[i], s.at[i])
		}
	}
	return nil
}

// find returns where the extent with an id begins: the nearest to offset of those on its page, or else one of
// those on the other pages at hand.
func (c *oldContent) find(ctx context.Context, id object.BlobID, offset int64) (start int64, ok bool, err error) {
	n, err := c.at(ctx, offset)
	if err != nil {
		return 0, false, err
	}
	if _, err := c.page(ctx, n); err != nil {
		return 0, false, err
	}
	for _, s := range c.cache {
		if s == nil {
			break
		}
		if i := s.find(&id, offset); i >= 0 {
			return s.at[i].start, true, nil
		}
	}
	return 0, false, nil
}
