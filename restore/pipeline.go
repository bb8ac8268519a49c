package restore

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/budget"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
)

// ciphertext is a segment as it was fetched.
type ciphertext struct {
	seg *segment
	b   []byte
	buf *budget.Buffer // what b is a part of
}

// job is a piece of a segment's plaintext with the places where it belongs.
type job struct {
	plain []byte
	buf   *budget.Buffer
	needs []need
}

// needsPerJob is how many small files one writer makes in a row.
const needsPerJob = 32

// transfer brings the blobs of a batch to their places. Those that can not be had from one place are tried at the next.
func (run *run) transfer(ctx context.Context, b *batch) error {
	if run.o.DryRun {
		return run.pretend(b)
	}
	for first := true; ; first = false {
		again, err := run.stages(ctx, b)
		if err != nil {
			return err
		}
		again = append(again, b.unresolved...)
		if first { // by an index that nothing was wrong with so far
			again = append(again, b.lost...)
		} else if err := run.loseAll(b.lost); err != nil {
			return err
		}
		if len(again) == 0 {
			return nil
		}
		if b, err = run.replan(ctx, b, again); err != nil {
			return err
		}
	}
}

// replan plans the next try. Where a pack or a blob is missing, a collector may have moved what was in it: then the
// newest state is looked at, and if there is a new one all begins again.
func (run *run) replan(ctx context.Context, b *batch, needs []need) (*batch, error) {
	gone := func(n need) bool { return errors.Is(n.err, backends.ErrNotExist) || errors.Is(n.err, repo.ErrNotFound) }
	if slices.ContainsFunc(needs, gone) {
		if err := run.r.Refresh(ctx); err != nil {
			return nil, err
		}
	}
	ix, err := run.r.VerifiedIndex(ctx) // before anything is given up
	if err != nil {
		return nil, err
	}
	next := newBatch(ix)
	for _, n := range needs {
		if ix != b.ix {
			n.tries, n.err = 0, nil
		}
		if err := next.add(n); err != nil {
			return nil, err
		}
	}
	if ix == b.ix { // what it does not have now it will not have later
		next.lost = append(next.lost, next.unresolved...)
		next.unresolved = nil
	}
	return next, nil
}

// lose gives up a file because of one of its blobs.
func (run *run) lose(n *need, err error) error {
	run.fail(n.file, err)
	return run.release(n.file)
}

func (run *run) loseAll(needs []need) error {
	for i := range needs {
		if err := run.lose(&needs[i], needs[i].err); err != nil {
			return err
		}
	}
	return nil
}

// pretend is the dry run's transfer: only what the index does not have is lost.
func (run *run) pretend(b *batch) error {
	if err := run.loseAll(append(b.unresolved, b.lost...)); err != nil {
		return err
	}
	for _, p := range b.packs {
		for _, s := range p.segments {
			for i := range s.needs {
				if err := run.release(s.needs[i].file); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// stages runs fetchers, decoders and writers, and those who decode deltas. It returns what could not be had.
func (run *run) stages(ctx context.Context, b *batch) (failed []need, err error) {
	list := b.fetches(run.reach)
	g, ctx := errgroup.WithContext(ctx)
	s := &stages{run: run, ctx: ctx, ix: b.ix, decode: make(chan ciphertext, run.decoders), write: make(chan job, run.writers)}
	l := newLane(s, b)
	if len(list) == 0 && len(l.wanted) == 0 {
		return nil, nil
	}
	all := len(l.ranges) + len(list)
	take := counter()
	s.stage(g, min(run.fetchers, all), func() { close(s.decode) }, func() error {
		for i := take(); i < all; i = take() {
			if err := s.fetchNext(l, list, i); err != nil {
				return err
			}
		}
		return nil
	})
	turn := counter()
	s.stage(g, min(run.decoders, len(l.wanted)), l.close, func() error {
		for i := turn(); i < len(l.wanted); i = turn() {
			if err := l.write(l.wanted[i]); err != nil {
				return err
			}
		}
		return nil
	})
	s.stage(g, run.decoders, func() { close(s.write) }, func() error {
		for c := range s.decode {
			if err := s.decodeSegment(c); err != nil {
				return err
			}
		}
		return nil
	})
	s.stage(g, run.writers, nil, func() error {
		for j := range s.write {
			if err := s.writeJob(j); err != nil {
				return err
			}
		}
		return nil
	})
	err = g.Wait()
	return s.failed, err
}

// stages are the channels between the goroutines of one batch.
type stages struct {
	run    *run
	ctx    context.Context // of the batch
	ix     *repo.Index     // of the batch
	decode chan ciphertext
	write  chan job

	mu     sync.Mutex
	failed []need
}

// counter returns a function that counts from 0, for many callers.
func counter() func() int {
	var next atomic.Int64
	return func() int { return int(next.Add(1)) - 1 }
}

// fetchNext fetches the ranges of the lane, and then the others.
func (s *stages) fetchNext(l *lane, list []fetch, i int) error {
	if i < len(l.ranges) {
		return l.prefetch(l.ranges[i])
	}
	return s.fetch(&list[i-len(l.ranges)])
}

// stage starts goroutines. The last one to end calls last.
func (s *stages) stage(g *errgroup.Group, n int, last func(), work func() error) {
	var left atomic.Int64
	left.Store(int64(n))
	for range n {
		g.Go(func() error {
			defer func() {
				if left.Add(-1) == 0 && last != nil {
					last()
				}
			}()
			return work()
		})
	}
}

// send gives something to the next stage, unless the run has ended.
func send[T any](ctx context.Context, c chan<- T, v T) error {
	select {
	case c <- v:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// fetch reads a range. If that fails for damage, its segments are read one by one: a pack that was cut short costs
// what is behind the cut.
func (s *stages) fetch(f *fetch) error {
	buf, err := s.run.fetched.Get(s.ctx, int(f.length))
	if err != nil {
		return err
	}
	b, err := s.read(f, buf.B)
	if err != nil {
		buf.Release()
		return s.unread(f, err)
	}
	defer buf.Release()
	for _, seg := range f.segments {
		from := int64(seg.At) - f.from
		end := from + int64(seg.Stored)
		if end > int64(len(b)) { // the index is wrong about it
			s.retry(seg.needs, &repo.DamageError{Object: f.pack.Name(), Err: backends.ErrRange})
			continue
		}
		buf.Share(1)
		// With its own capacity: it is decrypted in place.
		if err := s.pass(ciphertext{seg: seg, b: b[from:end:end], buf: buf}); err != nil {
			return err
		}
	}
	return nil
}

// pass gives a segment to the decoders, unless it is to be decoded at once.
func (s *stages) pass(c ciphertext) error {
	if s.run.atOnce(c.seg) {
		return s.decodeSegment(c)
	}
	return send(s.ctx, s.decode, c)
}

func (s *stages) read(f *fetch, buf []byte) ([]byte, error) {
	if !f.whole {
		return s.run.r.FetchRange(s.ctx, f.pack, f.from, f.length, buf)
	}
	b, _, err := s.run.r.LoadPack(s.ctx, f.pack, f.length, buf)
	return b, err
}

// unread deals with a range that could not be read.
func (s *stages) unread(f *fetch, err error) error {
	if !lost(err) {
		return err
	}
	if len(f.segments) == 1 || f.whole || errors.Is(err, backends.ErrNotExist) {
		for _, seg := range f.segments {
			s.retry(seg.needs, err)
		}
		return nil
	}
	for _, seg := range f.segments {
		one := fetch{pack: f.pack, from: int64(seg.At), length: int64(seg.Stored), segments: []*segment{seg}}
		if err := s.fetch(&one); err != nil {
			return err
		}
	}
	return nil
}

// retry remembers what could not be had from where it was looked for.
func (s *stages) retry(needs []need, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range needs {
		n.fail(err)
		s.failed = append(s.failed, n)
	}
}

// decodeSegment decrypts, decompresses and verifies, and gives the blobs to the writers.
func (s *stages) decodeSegment(c ciphertext) error {
	plain, buf, err := s.open(c)
	if err != nil {
		if lost(err) || errors.Is(err, pack.ErrCoding) {
			s.retry(c.seg.needs, err)
			return nil
		}
		return err
	}
	defer buf.Release()
	needs, err := s.check(c.seg, plain)
	if err != nil {
		return err
	}
	if s.run.atOnce(c.seg) {
		return s.writeNeeds(plain, needs)
	}
	for piece := range slices.Chunk(needs, needsPerJob) {
		buf.Share(1)
		if err := send(s.ctx, s.write, job{plain: plain, buf: buf, needs: piece}); err != nil {
			return err
		}
	}
	return nil
}

// open returns the plaintext of a segment and the buffer that it lies in. The user of c.buf that c stands
// for is passed on or released.
func (s *stages) open(c ciphertext) (plain []byte, buf *budget.Buffer, err error) {
	keep := false
	defer func() {
		if !keep {
			c.buf.Release()
		}
	}()
	key, err := s.run.r.OpenOrigin(c.seg.pack, c.seg.Origin)
	if err != nil {
		return nil, nil, err
	}
	if c.seg.Coding == pack.Raw {
		plain, err := key.Open(c.b[:0], c.seg.Ordinal, c.b)
		if err != nil {
			return nil, nil, s.damaged(c.seg, err)
		}
		if len(plain) != int(c.seg.Plain) {
			return nil, nil, s.damaged(c.seg, pack.ErrInvalid)
		}
		keep = true
		return plain, c.buf, nil
	}
	base, err := s.run.r.LoadBases(s.ctx, s.ix, &c.seg.Segment) // of a delta that is tried again
	if err != nil {
		return nil, nil, err
	}
	if buf, err = s.run.decoded.Get(s.ctx, int(c.seg.Plain)); err != nil {
		return nil, nil, err
	}
	if plain, err = repo.DecodeSegment(buf.B, key, &c.seg.Segment, c.b, base); err != nil {
		buf.Release()
		return nil, nil, s.damaged(c.seg, err)
	}
	return plain, buf, nil
}

// damaged is the error for a segment that can not be decoded.
func (s *stages) damaged(seg *segment, err error) error {
	if errors.Is(err, pack.ErrCoding) {
		return err // not damage: a newer kura wrote it
	}
	return &repo.DamageError{Object: seg.pack.Name(), Err: err}
}

// check verifies every blob of a segment that is needed, once, and returns what can be written.
func (s *stages) check(seg *segment, plain []byte) ([]need, error) {
	slices.SortStableFunc(seg.needs, func(a, b need) int { return cmp.Compare(a.offset, b.offset) })
	place := repo.Place{Pack: seg.pack}
	good := seg.needs[:0]
	var last object.BlobID
	var bad error
	for _, n := range seg.needs {
		if n.id != last || n.offset != place.Offset || n.length != place.Length {
			last, place.Offset, place.Length = n.id, n.offset, n.length
			_, bad = s.run.r.Extract(object.DataBlob, n.id, &place, plain)
		}
		if bad == nil {
			good = append(good, n)
			continue
		}
		if !lost(bad) {
			return nil, bad
		}
		s.retry([]need{n}, bad)
	}
	return good, nil
}

func (s *stages) writeJob(j job) error {
	defer j.buf.Release()
	return s.writeNeeds(j.plain, j.needs)
}

// writeNeeds brings blobs of a segment to their places.
func (s *stages) writeNeeds(plain []byte, needs []need) error {
	if len(needs) > 0 {
		p := needs[0].file.path()
		s.run.rep.p.Current.Store(&p)
	}
	for i := range needs {
		n := &needs[i]
		if s.ctx.Err() != nil {
			return context.Cause(s.ctx)
		}
		if !n.file.failed() {
			err := s.run.put(n.file, n.at, plain[n.offset:n.offset+n.length])
			if err := s.run.fileError(n.file, err); err != nil {
				return err
			}
		}
		if err := s.run.release(n.file); err != nil {
			return err
		}
	}
	return nil
}
