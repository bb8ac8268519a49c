package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"syscall"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/freelist"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
)

// Unreadable reports whether the store says that it can not read one object that is there: what a dying disk
// says of single files. A store that is gone, or out of reach, says other things.
func Unreadable(ctx context.Context, err error) bool {
	if ctx.Err() != nil || backends.KindOf(err) != backends.Permanent {
		return false
	}
	for _, e := range []error{
		syscall.EIO, syscall.ELOOP, syscall.EISDIR, fs.ErrPermission, io.ErrUnexpectedEOF, backends.ErrTooLarge,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// plains holds memory for the plaintext of segments that are verified, from one to the next.
var plains = freelist.New[*freelist.Scratch](runtime.GOMAXPROCS(0))

// VerifySegment decrypts and decodes a segment of a pack, and verifies that it is the blobs with the given
// ids and lengths. What it is not is a DamageError; where a base of a delta can not be read it is that of the base,
// and wraps ErrBase. Without an index no more is verified of a delta than that it is what was encrypted. The
// ciphertext is overwritten, but for an error that wraps ErrBase.
func (r *Repository) VerifySegment(ctx context.Context, ix *Index, ref object.Ref, s *Segment, ids []object.BlobID, lengths []uint32, ciphertext []byte) error {
	damage := func(err error) error { return &DamageError{Object: ref.Name(), Err: err} }
	key, err := r.OpenOrigin(ref, s.Origin)
	if err != nil {
		return err
	}
	if ix == nil && s.Coding == pack.Delta {
		if _, err := key.Open(nil, s.Ordinal, ciphertext); err != nil {
			return damage(err)
		}
		return nil
	}
	base, err := r.LoadBases(ctx, ix, s)
	if d := (*DamageError)(nil); errors.As(err, &d) {
		return &DamageError{Object: d.Object, Blob: d.Blob, Err: fmt.Errorf("%w: %w", ErrBase, d.Err)}
	}
	if err != nil {
		return err
	}
	scratch, ok := plains.Get()
	if !ok {
		scratch = new(freelist.Scratch)
	}
	defer plains.Put(scratch)
	var buf []byte
	if s.Coding != pack.Raw {
		buf = scratch.For(int(s.Plain))
	}
	plain, err := decodeOver(buf, key, s, ciphertext, base)
	if err != nil {
		return damage(err)
	}
	t := object.DataBlob
	if ref.Class == object.TreePack {
		t = object.TreeBlob
	}
	for i, id := range ids {
		n := uint64(lengths[i])
		if n > uint64(len(plain)) {
			return damage(errors.New("its blobs are longer than it"))
		}
		if r.hasher.ID(t, plain[:n]) != id {
			return damage(fmt.Errorf("blob %s does not have its id", id.Short()))
		}
		plain = plain[n:]
	}
	return nil
}
