package repo

import (
	"context"

	"github.com/kura-backup/kura/delta"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/seal"
)

// CheckedBlob is a blob that was read and has the id that it should have. Its bytes may be shared with others, and
// must not be changed.
type CheckedBlob struct {
	t    object.BlobType
	id   object.BlobID
	data []byte
	by   *seal.Keyring // whose ids these are
}

// LoadChecked is LoadBlob for a blob that is to be stored in another repository.
func (r *Repository) LoadChecked(ctx context.Context, t object.BlobType, id object.BlobID) (CheckedBlob, error) {
	data, err := r.LoadBlob(ctx, t, id)
	return CheckedBlob{t, id, data, r.Keys()}, err
}

// ExtractChecked is Extract for a blob that is to be stored in another repository.
func (r *Repository) ExtractChecked(t object.BlobType, id object.BlobID, p *Place, plain []byte) (CheckedBlob, error) {
	data, err := r.Extract(t, id, p, plain)
	return CheckedBlob{t, id, data, r.Keys()}, err
}

// Bytes are the blob's. They must not be changed.
func (b CheckedBlob) Bytes() []byte { return b.data }

// SaveChecked is Save for a blob of this or another repository. It is named again only if the two repositories
// give blobs different ids. The bases are what it is made of there: if this repository has them, it may be stored as a
// delta of them here, too, and nothing has to be read for that. It blocks while too much is in flight; the blob is stored
// only when Commit has returned.
func (s *Session) SaveChecked(b CheckedBlob, bases ...CheckedBlob) (Saved, error) {
	if err := s.err(); err != nil {
		return Saved{}, err
	}
	id := s.idOf(&b)
	if !s.claim(id) {
		return Saved{ID: id}, nil
	}
	given := s.given(&b, bases)
	if len(b.data) < pack.SmallBlob && len(given) == 0 {
		return s.join(b.t, id, b.data)
	}
	buf, err := s.budget.Copy(s.ctx, b.data)
	if err != nil {
		return Saved{}, s.fail(err)
	}
	s.added.Add(uint64(len(b.data)))
	s.submit(&job{t: b.t, plain: buf, ids: []object.BlobID{id}, lengths: []uint32{uint32(len(b.data))}, given: given})
	return Saved{ID: id, New: true}, s.err()
}

// idOf is what this repository calls a blob.
func (s *Session) idOf(b *CheckedBlob) object.BlobID {
	if s.r.Keys().SharesIDs(b.by) {
		return b.id
	}
	return s.r.hasher.ID(b.t, b.data)
}

// given returns those of the bases that the repository has, as the blobs that lie near to b, with their bytes.
func (s *Session) given(b *CheckedBlob, bases []CheckedBlob) (out []givenBase) {
	if s.opts.Similar == SimilarNever || b.t != object.DataBlob || len(b.data) < delta.MinSize {
		return nil
	}
	at := int64(0)
	for i := range bases {
		n := int64(len(bases[i].data))
		id := s.idOf(&bases[i])
		if _, has := s.ix.Has(id); has && len(out) < MaxNear {
			// All of them are worth being used: they were, there.
			out = append(out, givenBase{Near{ID: id, Offset: at, Length: n, Overlap: int64(len(b.data)) / 2}, bases[i].data})
		}
		at += n
	}
	return out
}
