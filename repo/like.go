package repo

import (
	"fmt"

	"github.com/kura-backup/kura/delta"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
)

// Like is an earlier content of something that is being stored, such as the same file in the parent snapshot. By it
// blobs are found against which new ones are stored as deltas. What it says is a guess; a wrong one costs time. It
// is called by several goroutines at once.
type Like interface {
	// Near returns the blobs that lay where [offset, offset+length) of the new content probably was, those with the
	// largest overlap first, at most MaxNear.
	Near(offset, length int64) []Near
	// Known says that the blob at offset is one that was stored before.
	Known(offset int64, id object.BlobID)
	// Moved says that what lies before the offset now lay before the offset was in the earlier content.
	Moved(now, was int64)
}

// MaxNear is the most blobs that Like.Near may return.
const MaxNear = 4

// Near is a blob of an earlier content.
type Near struct {
	ID      object.BlobID
	Offset  int64 // in the earlier content
	Length  int64
	Overlap int64 // bytes of it that are expected in what was asked for
}

// Similar says where the bases of deltas may come from.
type Similar uint8

// Bases are read from a store that is near, and otherwise from the client's own cache. SimilarAlways also reads
// them from a store that is far; with SimilarNever there are no deltas.
const (
	SimilarAuto Similar = iota
	SimilarAlways
	SimilarNever
)

// SaveLike is Save of a data blob that lies at an offset in something of which like is an earlier content, or nil
// if there is none.
func (s *Session) SaveLike(data []byte, like Like, offset int64, done func(Saved, error)) {
	if s.opts.Similar == SimilarNever {
		like = nil
	}
	j := &job{t: object.DataBlob, like: like, offset: offset, done: done}
	if like != nil && delta.MinSize <= len(data) && len(data) < pack.SmallBlob {
		s.saveLarge(j, data)
		return
	}
	s.save(j, data)
}

// save is Save of data as the blob of a job.
func (s *Session) save(j *job, data []byte) {
	if len(data) == 0 || len(data) > object.MaxBlobSize {
		j.done(Saved{}, s.fail(fmt.Errorf("repo: a blob of %d bytes", len(data))))
		return
	}
	if len(data) >= pack.SmallBlob {
		s.saveLarge(j, data)
		return
	}
	if err := s.err(); err != nil {
		j.done(Saved{}, err)
		return
	}
	if s.aside != nil {
		s.saveAside(j, data)
		return
	}
	saved, err := s.saveSmall(j.t, data)
	j.done(saved, err)
}

// saveLarge has a worker store data in a segment of its own.
func (s *Session) saveLarge(j *job, data []byte) {
	err := s.err()
	if err == nil {
		j.plain, err = s.budget.Copy(s.ctx, data)
	}
	if err != nil {
		j.done(Saved{}, err)
		return
	}
	s.submit(j)
}
