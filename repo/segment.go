package repo

import (
	"sync"

	"github.com/kura-backup/kura/internal/budget"
	"github.com/kura-backup/kura/internal/freelist"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
)

// job is one segment on its way into a pack: a large blob that has no id yet, or a group of small
// ones that have.
type job struct {
	t       object.BlobType
	plain   *budget.Buffer
	ids     []object.BlobID
	lengths []uint32
	done    func(Saved, error) // of a large blob
	like    Like               // likewise; nil if there is nothing like it
	offset  int64              // where it lies in that
	given   []givenBase        // blobs that it is known to be like

	sketched bool // see sketch
}

// finish releases the plaintext and reports the result.
func (j *job) finish(s *Session, saved Saved, err error) {
	j.plain.Release()
	if j.done != nil {
		j.done(saved, err)
	}
}

// work is one worker: it names, compresses, seals and verifies segments.
func (s *Session) work() error {
	var c coder
	for {
		var j *job
		select {
		case j = <-s.jobs:
		case <-s.ended:
			return nil
		}
		if err := s.err(); err != nil {
			j.finish(s, Saved{}, err)
			continue
		}
		saved, err := s.process(j, &c)
		j.finish(s, saved, s.fail(err))
	}
}

// coder is what a worker keeps from one segment to the next.
type coder struct {
	coded freelist.Scratch // a segment's stored bytes
	delta deltaCoder
}

func (s *Session) process(j *job, c *coder) (Saved, error) {
	plain := j.plain.B
	var saved Saved
	if j.ids == nil {
		saved.ID = s.r.hasher.ID(j.t, plain)
		if !s.claim(saved.ID) {
			if j.like != nil {
				j.like.Known(j.offset, saved.ID)
			}
			return saved, nil
		}
		saved.New = true
		s.added.Add(uint64(len(plain)))
		j.ids, j.lengths = []object.BlobID{saved.ID}, []uint32{uint32(len(plain))}
	}
	n := pack.NewSegment{Stored: plain, Plain: plain, IDs: j.ids, Lengths: j.lengths}
	defer c.delta.release() // n.Base is needed until it was verified
	if err := s.encode(j, c, &n); err != nil {
		return saved, err
	}
	if err := s.packs.add(j.t, n); err != nil {
		return saved, err
	}
	if s.mayBeDelta(j) && !s.opts.DryRun {
		s.r.bases.put(n.IDs[0], &n, j.like != nil)
	}
	return saved, nil
}

// encode sets the coding and the stored bytes of a segment.
func (s *Session) encode(j *job, c *coder, n *pack.NewSegment) error {
	deltas := s.mayBeDelta(j)
	if deltas {
		if err := s.encodeDelta(j, c, n); err != nil || n.Coding == pack.Delta {
			return err
		}
	}
	if s.opts.Compression.Off {
		return nil
	}
	n.Stored, n.Coding = pack.EncodeSegment(&c.coded, n.Plain, s.opts.Compression.Level)
	// What does not compress is seldom like anything: it is not worth the time.
	if deltas && n.Coding != pack.Raw {
		j.sketch(n)
	}
	return nil
}

// group joins small blobs of one type to a segment.
type group struct {
	mu      sync.Mutex
	t       object.BlobType
	buf     *budget.Buffer
	ids     []object.BlobID
	lengths []uint32
}

// add appends a blob. When the group has no room for it, the group as it was is returned as a job
// and a new one is begun.
func (g *group) add(s *Session, id object.BlobID, data []byte) (full *job, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.buf != nil && (len(g.buf.B)+len(data) > pack.GroupTarget || len(g.ids) == pack.MaxBlobsPerSegment) {
		full = g.takeLocked()
	}
	if g.buf == nil {
		if g.buf, err = s.budget.Get(s.ctx, pack.GroupTarget); err != nil {
			if full != nil {
				full.finish(s, Saved{}, err)
			}
			return nil, err
		}
	}
	g.buf.B = append(g.buf.B, data...)
	g.ids = append(g.ids, id)
	g.lengths = append(g.lengths, uint32(len(data)))
	return full, nil
}

// take returns what the group holds as a job, or nil.
func (g *group) take() *job {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.buf == nil {
		return nil
	}
	return g.takeLocked()
}

func (g *group) takeLocked() *job {
	j := &job{t: g.t, plain: g.buf, ids: g.ids, lengths: g.lengths}
	g.buf = nil
	g.ids, g.lengths = make([]object.BlobID, 0, len(j.ids)), make([]uint32, 0, len(j.ids))
	return j
}
