package remote

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync"

	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

// farIndex asks the index of the other side. It is safe for concurrent use.
type farIndex struct {
	calls *calls
	ctx   context.Context // of the connection
}

// View implements [repo.FarIndex].
func (f *farIndex) View(ctx context.Context, st *log.State) (repo.FarView, error) {
	r, _, err := f.calls.do(ctx, &request{Op: opIndex, Number: st.N, Hash: st.Hash[:]}, nil, nil, false)
	if err != nil {
		return nil, err
	}
	return &farView{f: f, id: uint32(r.Number), packs: len(st.Packs), origins: map[uint32]*seal.Origin{}}, nil
}

// farView is a farIndex as of one state.
type farView struct {
	f     *farIndex
	id    uint32
	packs int

	mu      sync.Mutex
	origins map[uint32]*seal.Origin // that were told with places; taken once, as the index keeps them
}

// maxTold bounds the origins that are kept until somebody asks for them.
const maxTold = 1 << 16

// Lookup implements [repo.FarView].
func (v *farView) Lookup(ids []object.BlobID) (map[object.BlobID][]local.Place, error) {
	body := make([]byte, 0, len(ids)*idSize)
	for i := range ids {
		body = append(body, ids[i][:]...)
	}
	_, answer, err := v.f.calls.do(v.f.ctx, &request{Op: opLookup, View: v.id}, body, nil, false)
	if err != nil {
		return nil, err
	}
	places, told, err := splitAnswer(answer)
	if err != nil {
		return nil, err
	}
	found, err := decodePlaces(places, v.packs)
	if err != nil {
		return nil, err
	}
	for i := range ids {
		if _, ok := found[ids[i]]; !ok {
			return nil, fmt.Errorf("%w: no answer for blob %v", ErrProtocol, ids[i])
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return found, decodeOrigins(told, func(n uint32, o *seal.Origin) {
		if len(v.origins) < maxTold {
			v.origins[n] = o
		}
	})
}

// Origin implements [repo.FarView].
func (v *farView) Origin(n uint32) (*seal.Origin, error) {
	v.mu.Lock()
	o := v.origins[n]
	delete(v.origins, n)
	v.mu.Unlock()
	if o != nil {
		return o, nil
	}
	_, obj, err := v.f.calls.do(v.f.ctx, &request{Op: opOrigin, View: v.id, Number: uint64(n)}, nil, nil, false)
	if err != nil {
		return nil, err
	}
	o = new(seal.Origin)
	return o, decode(obj, o)
}

// Verify implements [repo.FarView].
func (v *farView) Verify(ctx context.Context) error {
	_, _, err := v.f.calls.do(ctx, &request{Op: opVerify, View: v.id}, nil, nil, false)
	return err
}

// lender has the other side do what takes a private key. It is safe for concurrent use.
type lender struct {
	calls      *calls
	ctx        context.Context // of the connection
	data, meta bool            // whether these are opened
}

var _ seal.Lender = (*lender)(nil)

// Reads implements [seal.Lender].
func (l *lender) Reads(kind seal.Kind) bool {
	return kind == seal.Data && l.data || kind == seal.Meta && l.meta
}

// SessionSecret implements [seal.Lender].
func (l *lender) SessionSecret(kind seal.Kind, epoch uint32, sealed []byte) (secret [32]byte, err error) {
	_, body, err := l.calls.do(l.ctx, &request{Op: opSecret, Kind: uint8(kind), Number: uint64(epoch)}, sealed, nil, false)
	if err == nil && len(body) != len(secret) {
		err = fmt.Errorf("%w: secret of %d bytes", ErrProtocol, len(body))
	}
	if err != nil {
		return secret, lent(err)
	}
	return [32]byte(body), nil
}

// Sign implements [seal.Lender].
func (l *lender) Sign(class object.Class, binding, payload []byte) (sig [ed25519.SignatureSize]byte, err error) {
	q := &request{Op: opSign, Kind: uint8(class), Hash: binding}
	_, body, err := l.calls.do(l.ctx, q, payload, nil, true)
	if err == nil && len(body) != len(sig) {
		err = fmt.Errorf("%w: signature of %d bytes", ErrProtocol, len(body))
	}
	switch {
	case errors.Is(err, repo.ErrMoved):
		// Somebody else has taken the number, so that what is put there is refused whoever has signed it: the log learns by that
		// put who it was, and makes the entry anew.
		return sig, nil
	case err != nil:
		return sig, lent(err)
	}
	return [ed25519.SignatureSize]byte(body), nil
}

// lent is an error as a [seal.Lender] has it.
func lent(err error) error {
	if errors.Is(err, seal.ErrDamaged) || errors.Is(err, seal.ErrNoKey) {
		return err
	}
	return fmt.Errorf("%w: %w", seal.ErrLender, err)
}
