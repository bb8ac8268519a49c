package restore

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/budget"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
)

// lane decodes the deltas of a batch with their bases, each of which is fetched and decoded once for all who need
// it, as long as memory suffices. It is safe for concurrent use.
//
// Ciphertext comes ahead, in joined ranges, and waits until it is used; deltas take little of it. Workers take the
// segments that files need, in the order of the files, and decode for each what it is made of, first. A plaintext is
// kept until the last delta that is planned to need it is decoded. When those that are kept reach [linkedBudget] the one
// that was used the longest ago is let go, and if it is needed again it is fetched and decoded again, on its own. In
// chains of a file's generations that hardly happens: neighbours in the file have the same bases.
//
// The id of a blob for a file also proves the bases it was made of, so these are only checked where they are for
// files themselves. If something does not fit, the blob is tried again outside of the lane, with every copy of its bases.
type lane struct {
	s      *stages
	wanted []*segment
	ranges []*linkedRange
	mem    *budget.Budget
	work   *semaphore.Weighted // of what workers decode with at a time

	mu     sync.Mutex
	idle   list.List // of *plaintext, the last used in front
	closed bool
}

// linkedRange is a range of a pack with linked segments.
type linkedRange struct {
	fetch
	listed  bool
	started bool          // guarded by lane.mu
	ready   chan struct{} // closed when what could be read of it has been given to its segments
}

// plaintext is a decoded segment, or one that is being decoded.
type plaintext struct {
	seg   *segment
	ready chan struct{} // closed when what follows is set
	b     []byte
	buf   *budget.Buffer // that b is in; nil if it is not of the budget
	err   error

	refs int           // guarded by lane.mu
	idle *list.Element // guarded by lane.mu
}

func newLane(s *stages, b *batch) *lane {
	wanted, all := b.order()
	for _, s := range all { // while nobody else looks at them
		s.cost()
	}
	for _, s := range wanted {
		s.users++ // so that one which deltas are made of stays until it is written
	}
	return &lane{
		s: s, wanted: wanted, ranges: linkedRanges(all, s.run.reach),
		mem: s.run.linked, work: semaphore.NewWeighted(linkedBudget / 2),
	}
}

// prefetch reads a range for later, unless workers have been faster.
func (l *lane) prefetch(lr *linkedRange) error {
	buf, err := l.s.run.fetched.Get(l.s.ctx, int(lr.length))
	if err != nil {
		return err
	}
	l.mu.Lock()
	untaken := func(s *segment) bool { return !s.taken }
	skip := l.closed || lr.started || !slices.ContainsFunc(lr.segments, untaken)
	lr.started = lr.started || !skip
	l.mu.Unlock()
	if skip {
		buf.Release()
		return nil
	}
	return l.read(lr, buf)
}

// read reads a range and gives its segments what they need of it. What can not be read is tried again by those who need it.
func (l *lane) read(lr *linkedRange, buf *budget.Buffer) error {
	defer close(lr.ready)
	defer buf.Release()
	b, err := l.s.read(&lr.fetch, buf.B)
	if err != nil {
		if lost(err) {
			return nil
		}
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range lr.segments {
		from := int64(s.At) - lr.from
		end := from + int64(s.Stored)
		if s.taken || l.closed || end > int64(len(b)) {
			continue
		}
		buf.Share(1)
		s.bytes, s.buf = b[from:end:end], buf
	}
	return nil
}

// ciphertext returns the ciphertext of a segment, and the buffer to be released after it, if any. It waits for nobody
// who waits for memory.
func (l *lane) ciphertext(s *segment) ([]byte, *budget.Buffer, error) {
	l.mu.Lock()
	if !s.taken && s.bytes == nil {
		if err := l.awaitLocked(s.in); err != nil {
			l.mu.Unlock()
			return nil, nil, err
		}
	}
	b, buf := s.bytes, s.buf
	s.taken, s.bytes, s.buf = true, nil, nil
	l.mu.Unlock()
	if b != nil {
		return b, buf, nil
	}
	b, err := l.s.run.r.FetchRange(l.s.ctx, s.pack, int64(s.At), int64(s.Stored), nil)
	return b, nil, err
}

// awaitLocked sees to it that a range has been read, unless nobody has begun and there is no room for it.
func (l *lane) awaitLocked(lr *linkedRange) error {
	var buf *budget.Buffer
	if !lr.started {
		ok := false
		if buf, ok = l.s.run.fetched.TryGet(int(lr.length)); !ok {
			return nil
		}
		lr.started = true
	}
	l.mu.Unlock()
	defer l.mu.Lock()
	if buf != nil {
		return l.read(lr, buf)
	}
	select {
	case <-lr.ready:
		return nil
	case <-l.s.ctx.Done():
		return context.Cause(l.s.ctx)
	}
}

// close lets go of all that is left when the last worker has ended.
func (l *lane) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, lr := range l.ranges {
		for _, s := range lr.segments {
			if s.buf != nil {
				s.buf.Release()
				s.bytes, s.buf = nil, nil
			}
		}
	}
	for l.idle.Len() > 0 {
		l.dropLocked(l.idle.Back().Value.(*plaintext))
	}
}

// write decodes a segment that files need, and writes its blobs.
func (l *lane) write(s *segment) error {
	cost := min(s.memory, linkedBudget/2)
	if err := l.work.Acquire(l.s.ctx, cost); err != nil {
		return context.Cause(l.s.ctx)
	}
	defer l.work.Release(cost)
	defer l.unuse(s)
	made := 0
	p, err := l.get(s, &made)
	if err != nil {
		if lost(err) || errors.Is(err, pack.ErrCoding) {
			l.s.retry(s.needs, err)
			return nil
		}
		return err
	}
	defer l.release(p)
	needs, err := l.s.check(s, p.b)
	if err != nil {
		return err
	}
	return l.s.writeNeeds(p.b, needs)
}

// get returns the plaintext of a segment. The first to ask decodes it. The caller releases it. What is decoded for it is
// counted in made.
func (l *lane) get(s *segment, made *int) (*plaintext, error) {
	l.mu.Lock()
	p := s.plain
	if p == nil {
		p = &plaintext{seg: s, ready: make(chan struct{}), refs: 1}
		s.plain = p
		l.mu.Unlock()
		p.err = l.decode(p, made)
		close(p.ready)
	} else {
		p.refs++
		if p.idle != nil {
			l.idle.Remove(p.idle)
			p.idle = nil
		}
		l.mu.Unlock()
		select {
		case <-p.ready:
		case <-l.s.ctx.Done():
			return nil, context.Cause(l.s.ctx) // and all ends
		}
	}
	if p.err != nil {
		err := p.err
		l.release(p)
		return nil, err
	}
	return p, nil
}

// errMade is the error for a blob that takes too much to decode. It is tried again outside of the lane, once.
var errMade = fmt.Errorf("more than %d others have to be decoded for it", maxMade)

// release ends the use of a plaintext. An error stays, for all who are still to ask.
func (l *lane) release(p *plaintext) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.refs--; p.refs > 0 || p.err != nil {
		return
	}
	p.idle = l.idle.PushFront(p)
	l.settleLocked(p.seg)
}

// settleLocked lets go of the plaintext of a segment that nobody uses, nor is going to use; and of one that nobody uses
// at the moment and that the budget does not count.
func (l *lane) settleLocked(s *segment) {
	if p := s.plain; p != nil && p.idle != nil && (s.users <= 0 || p.buf == nil) {
		l.dropLocked(p)
	}
}

func (l *lane) dropLocked(p *plaintext) {
	l.idle.Remove(p.idle)
	p.idle = nil
	if p.buf != nil {
		p.buf.Release()
	}
	p.b, p.buf, p.seg.plain = nil, nil, nil
}

// room returns memory for a plaintext, in the place of others that are kept for later if need be. A single one may be
// larger than what there is, as may be those that workers use at a time.
func (l *lane) room(n int) (b []byte, buf *budget.Buffer) {
	for {
		if buf, ok := l.mem.TryGet(n); ok {
			return buf.B, buf
		}
		if !l.dropOldest() {
			return nil, nil
		}
	}
}

// dropOldest lets go of the plaintext that has been idle the longest, if there is any.
func (l *lane) dropOldest() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	oldest := l.idle.Back()
	if oldest == nil {
		return false
	}
	l.dropLocked(oldest.Value.(*plaintext))
	return true
}

// decode decodes a segment, after its bases.
func (l *lane) decode(p *plaintext, made *int) error {
	s := p.seg
	bases, err := l.join(s, made)
	defer l.leave(s, &bases)
	if err != nil {
		return err
	}
	ct, buf, err := l.ciphertext(s)
	if err != nil {
		return err
	}
	if buf != nil {
		defer buf.Release()
	}
	key, err := l.s.run.r.OpenOrigin(s.pack, s.Origin)
	if err != nil {
		return err
	}
	dst, mem := l.room(int(s.Plain))
	plain, err := repo.DecodeSegment(dst, key, &s.Segment, ct, bases.b)
	if err != nil {
		if mem != nil {
			mem.Release()
		}
		return l.s.damaged(s, err)
	}
	p.b, p.buf = plain, mem
	return nil
}

// joined are the bases of a delta.
type joined struct {
	b    []byte
	buf  *budget.Buffer // that b is in; nil if it is not of the budget
	used *plaintext     // that b is part of, if there is one base
}

// join returns the plaintexts of the bases of a segment, one behind the other.
func (l *lane) join(s *segment, made *int) (j joined, err error) {
	*made++
	switch {
	case *made > maxMade:
		return j, &repo.DamageError{Object: s.pack.Name(), Err: errMade}
	case s.Depth == 0:
		return j, nil
	case len(s.bases) == 0: // they are not planned
		j.b, err = l.s.run.r.LoadBases(l.s.ctx, l.s.ix, &s.Segment)
		return j, err
	case len(s.bases) == 1:
		j.used, j.b, err = l.base(&s.bases[0], made)
		return j, err
	}
	at, total := make([]int, len(s.bases)), 0
	for i := range s.bases {
		at[i] = total
		total += int(s.bases[i].length)
	}
	put := func(i int) error {
		p, b, err := l.base(&s.bases[i], made)
		if err != nil {
			return err
		}
		defer l.release(p)
		if j.b == nil {
			if j.b, j.buf = l.room(total); j.b == nil {
				j.b = make([]byte, total)
			}
			j.b = j.b[:total]
		}
		copy(j.b[at[i]:], b)
		return nil
	}
	first := s.first()
	if err := put(first); err != nil {
		return j, err
	}
	for i := range s.bases {
		if i == first {
			continue
		}
		if err := put(i); err != nil {
			return j, err
		}
	}
	return j, nil
}

func (l *lane) base(b *base, made *int) (*plaintext, []byte, error) {
	p, err := l.get(b.seg, made)
	if err != nil {
		return nil, nil, err
	}
	end := uint64(b.offset) + uint64(b.length)
	if end > uint64(len(p.b)) {
		l.release(p)
		return nil, nil, &repo.DamageError{Object: b.seg.pack.Name(), Blob: b.id, Err: backends.ErrRange}
	}
	return p, p.b[b.offset:end], nil
}

// leave says that a delta needs its bases no more.
func (l *lane) leave(s *segment, j *joined) {
	if j.used != nil {
		l.release(j.used)
	}
	if j.buf != nil {
		j.buf.Release()
	}
	for i := range s.bases {
		l.unuse(s.bases[i].seg)
	}
}

// unuse says that one of those who need the plaintext of a segment does so no more.
func (l *lane) unuse(s *segment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.users--
	l.settleLocked(s)
}
