package backup

import (
	"context"
	"sync"

	"github.com/kura-backup/kura/chunk"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/tree"
)

// extentQueue is the content of a file or a stream whose blobs may not have their ids yet. One
// goroutine adds to it; the session tells the ids from others.
type extentQueue struct {
	length int64
	writer *tree.ContentWriter
	like   *predecessor // nil if there is none

	mu       sync.Mutex
	extents  []tree.Extent // those that were not passed to writer; data without an id is on its way
	passed   int           // how many were
	onTheWay int
	sealed   bool // nothing is added any more
	added    int64
	err      error
	last     func() // called once when it is sealed and nothing is on its way
}

// passEvery is after how many extents those with ids are passed to the writer.
const passEvery = 64

// add adds the next extent. Data is saved in s.
func (q *extentQueue) add(ctx context.Context, s *repo.Session, ch chunk.Chunk) error {
	e := tree.Extent{Kind: tree.ExtentKind(ch.Kind), Length: ch.Length}
	offset := q.length
	q.length += ch.Length
	q.mu.Lock()
	at := q.passed + len(q.extents)
	q.extents = append(q.extents, e)
	if ch.Kind == chunk.Data {
		q.onTheWay++
	}
	ready := len(q.extents) >= passEvery
	q.mu.Unlock()
	if ch.Kind == chunk.Data {
		var like repo.Like
		if q.like != nil {
			like = q.like
		}
		s.SaveLike(ch.Data, like, offset, func(saved repo.Saved, err error) { q.stored(at, saved, err) })
	}
	if ready {
		return q.pass(ctx)
	}
	return nil
}

// again adds an extent of which everything is stored.
func (q *extentQueue) again(ctx context.Context, e tree.Extent) error {
	q.length += e.Length
	q.mu.Lock()
	if last := len(q.extents) - 1; last >= 0 && e.Kind != tree.Data && q.extents[last].Kind == e.Kind {
		q.extents[last].Length += e.Length
	} else {
		q.extents = append(q.extents, e)
	}
	ready := len(q.extents) >= passEvery
	q.mu.Unlock()
	if ready {
		return q.pass(ctx)
	}
	return nil
}

// stored notes the id of the extent at a place. It may be called by a worker of the session, and so must
// not use the session.
func (q *extentQueue) stored(at int, saved repo.Saved, err error) {
	q.mu.Lock()
	e := &q.extents[at-q.passed] // can not have been passed without its id
	e.ID = saved.ID
	if saved.New {
		q.added += e.Length
	}
	if err != nil && q.err == nil {
		q.err = err
	}
	q.onTheWay--
	over := q.sealed && q.onTheWay == 0
	q.mu.Unlock()
	if over {
		q.last()
	}
}

// pass passes the extents that have their ids to the writer.
func (q *extentQueue) pass(ctx context.Context) error {
	q.mu.Lock()
	n := 0
	for n < len(q.extents) && (q.extents[n].Kind != tree.Data || !q.extents[n].ID.IsZero()) {
		n++
	}
	ready := q.extents[:n:n]
	err := q.err
	if n > 0 {
		q.extents = append([]tree.Extent(nil), q.extents[n:]...)
		q.passed += n
	}
	q.mu.Unlock()
	if err != nil {
		return err
	}
	for _, e := range ready {
		if err := q.writer.Add(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// seal says that nothing will be added, and reports whether all ids are there. If not, last will be called.
func (q *extentQueue) seal() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sealed = q.onTheWay > 0
	return q.onTheWay == 0
}

// finish sets the content of n when all ids are there.
func (q *extentQueue) finish(ctx context.Context, n *tree.Node) (added int64, err error) {
	if err := q.pass(ctx); err != nil {
		return 0, err
	}
	return q.added, q.writer.Finish(ctx, n)
}

// largeContent is the content of a file of several extents. As a task it finishes the file, once all of it
// is stored.
type largeContent struct {
	extentQueue
	r *reading
}

func newLargeContent(ctx context.Context, w *walk, r *reading) *largeContent {
	own := *r // who reads goes on to other files
	c := &largeContent{r: &own}
	c.writer = tree.NewContentWriter(w.savePage)
	c.last = func() { w.queue.push(c) }
	if r.st.Size >= minLike {
		for _, old := range r.f.entries[r.at].old {
			if c.like == nil {
				c.like = newPredecessor(ctx, old, w.repo.LoadTree)
			}
		}
	}
	return c
}

func (c *largeContent) add(ctx context.Context, w *worker, ch chunk.Chunk) error {
	return c.extentQueue.add(ctx, w.session, ch)
}

func (c *largeContent) size() int64 { return c.length }

func (c *largeContent) finish(ctx context.Context, w *worker) (bool, error) {
	if !c.seal() {
		return false, nil
	}
	return true, c.conclude(ctx, w)
}

func (c *largeContent) conclude(ctx context.Context, w *worker) error {
	added, err := c.extentQueue.finish(ctx, &c.r.node.Node)
	if err == nil {
		err = w.parents.unread(w.repo, w.report, c.r.path, c.like.failure())
	}
	if err != nil {
		return err
	}
	w.conclude(c.r.f, &c.r.f.entries[c.r.at], &c.r.node.Node, added)
	return nil
}

// run finishes the file as a task.
func (c *largeContent) run(ctx context.Context, w *worker) error {
	if err := c.conclude(ctx, w); err != nil {
		return err
	}
	return w.publish(ctx, c.r.f, c.r.at, []entryState{settled})
}
