package repo

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
)

// LoadBases returns what a segment is a delta against: the plaintexts of its bases, joined, each verified by its id.
// Of a segment that is none it returns nil. The bytes may be shared and must not be changed. A base that can not be
// read is mended; the error for one that is lost is a DamageError of where it should be.
func (r *Repository) LoadBases(ctx context.Context, ix *Index, s *Segment) ([]byte, error) {
	joined, _, err := r.loadBases(ctx, ix, s)
	return joined, err
}

// maxMade is how many segments may be decoded to have the bases of one. What writers make takes far less (maxToMake), also
// if other copies of the bases are read than those that the writer knew. What needs more was made to take long: without a
// bound the work is sixteenfold with each step of a chain.
const maxMade = 1024

// loadBases is LoadBases that tells how many segments were decoded.
func (r *Repository) loadBases(ctx context.Context, ix *Index, s *Segment) (joined []byte, made int, err error) {
	for i := range s.Bases.Len() {
		base, n, err := r.loadBase(ctx, ix, s.Bases.At(i), s.Depth)
		if err != nil {
			return nil, 0, err
		}
		if made += n; made > maxMade {
			return nil, 0, &DamageError{Blob: s.Bases.At(i), Err: fmt.Errorf("more than %d others have to be read for what is made of it", maxMade)}
		}
		if s.Bases.Len() == 1 {
			return base, made, nil
		}
		if len(joined)+len(base) > pack.MaxJoined {
			return nil, 0, &DamageError{Blob: s.Bases.At(i), Err: fmt.Errorf("%w: the bases of a delta have more than %d bytes", pack.ErrInvalid, pack.MaxJoined)}
		}
		joined = append(joined, base...)
	}
	return joined, made, nil
}

// loadBase reads a blob from a copy of less than a depth, and mends it if it has to.
func (r *Repository) loadBase(ctx context.Context, ix *Index, id object.BlobID, below uint8) ([]byte, int, error) {
	key := groundKey{id, below}
	if err := r.lost.of(ix, key); err != nil {
		return nil, 0, err
	}
	data, n, err := r.loadFrom(ctx, ix, object.DataBlob, id, below)
	if !errors.As(err, new(*DamageError)) {
		return data, n, err
	}
	mended, n, merr := r.loadMendedFrom(ctx, ix, object.DataBlob, id, below)
	if merr == nil && mended == nil || errors.As(merr, new(*DamageError)) {
		r.lost.note(ix, key, err)
		return nil, 0, err // which says what is the matter in the store
	}
	return mended, n, merr
}

// lostBases are bases that could not be read, with the reasons. They are not tried again for each blob that is made of
// them, as long as the state of the log stays the same: there may be many of these, and many ways from one to the
// other. It is safe for concurrent use.
type lostBases struct {
	mu    sync.Mutex
	ix    *Index
	bases map[groundKey]error
}

// maxLost bounds how many are remembered.
const maxLost = 1 << 16

func (l *lostBases) of(ix *Index, key groundKey) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ix != ix {
		return nil
	}
	return l.bases[key]
}

func (l *lostBases) note(ix *Index, key groundKey, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ix != ix || len(l.bases) >= maxLost {
		l.ix, l.bases = ix, map[groundKey]error{}
	}
	l.bases[key] = err
}
