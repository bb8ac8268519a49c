package repo

import (
	"sync"

	"github.com/kura-backup/kura/internal/budget"
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
	var scratch []byte // holds compressed segments, kept from one to the next
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
		saved, err := s.process(j, &scratch)
		j.finish(s, saved, s.fail(err))
	}
}

// maxScratch is the largest buffer that a worker keeps for the next segment. Few chunks are larger.
const maxScratch = 4 << 20

func (s *Session) process(j *job, scratch *[]byte) (Saved, error) {
	plain := j.plain.B
	var saved Saved
	if j.ids == nil {
		saved.ID = s.r.hasher.ID(j.t, plain)
		if !s.claim(saved.ID) {
			return saved, nil
		}
		saved.New = true
		s.added.Add(uint64(len(plain)))
		j.ids, j.lengths = []object.BlobID{saved.ID}, []uint32{uint32(len(plain))}
	}
	stored, coding := plain, pack.Raw
	if !s.opts.Compression.Off {
		stored, coding = pack.EncodeSegment((*scratch)[:0], plain, s.opts.Compression.Level)
		if coding != pack.Raw && cap(stored) <= maxScratch {
			*scratch = stored
		}
	}
	return saved, s.packs.add(j.t, pack.NewSegment{
		Coding: coding, Stored: stored, Plain: plain, IDs: j.ids, Lengths: j.lengths,
	})
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
