package repo

import (
	"context"

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
// give blobs different ids. It blocks while too much is in flight; the blob is stored only when Commit has returned.
func (s *Session) SaveChecked(b CheckedBlob) (Saved, error) {
	if err := s.err(); err != nil {
		return Saved{}, err
	}
	id := b.id
	if !s.r.Keys().SharesIDs(b.by) {
		id = s.r.hasher.ID(b.t, b.data)
	}
	if !s.claim(id) {
		return Saved{ID: id}, nil
	}
	if len(b.data) < pack.SmallBlob {
		return s.join(b.t, id, b.data)
	}
	buf, err := s.budget.Copy(s.ctx, b.data)
	if err != nil {
		return Saved{}, s.fail(err)
	}
	s.added.Add(uint64(len(b.data)))
	s.submit(&job{t: b.t, plain: buf, ids: []object.BlobID{id}, lengths: []uint32{uint32(len(b.data))}})
	return Saved{ID: id, New: true}, s.err()
}
