package records

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/seal"
)

// maxObjects is how many records may lie around before they are merged.
const maxObjects = 16

var (
	// ErrInvalid is returned for a record that breaks the rules of the format.
	ErrInvalid = errors.New("records: invalid")

	// ErrRole is returned by Add with a key whose records would not count.
	ErrRole = errors.New("records: only a maintainer's or the owner's key can note what was verified")
)

// errSigner is a record that a writer has signed, or nobody that is known.
var errSigner = errors.New("not signed by a maintainer or the owner: it does not count")

// Loaded is what the repository's records say together.
type Loaded struct {
	Verified Verified
	Objects  []string // the names of those that count
	Bad      []Bad    // those that can not be used
}

// Bad is a record that was passed over.
type Bad struct {
	Name string
	Err  error
	// Foreign is set for one that is not damaged: its signer does not count.
	Foreign bool
}

// Load reads all records. Times later than now, which a wrong clock has written, are as good as none.
func Load(ctx context.Context, r *repo.Repository, now time.Time) (*Loaded, error) {
	out := &Loaded{Verified: Verified{}}
	for info, err := range r.Store().List(ctx, object.RecordsPrefix, "") {
		if err != nil {
			return nil, err
		}
		obj, err := r.Store().Get(ctx, info.Name, 0, -1, nil)
		if errors.Is(err, backends.ErrNotExist) {
			continue // merged meanwhile
		}
		if err != nil && (ctx.Err() != nil || backends.KindOf(err) != backends.Permanent) {
			return nil, err
		}
		var v Verified
		if err == nil {
			v, err = open(r, info.Name, obj)
		}
		if err != nil {
			out.Bad = append(out.Bad, Bad{Name: info.Name, Err: err, Foreign: errors.Is(err, errSigner)})
			continue
		}
		out.Objects = append(out.Objects, info.Name)
		for h, at := range v {
			if at <= now.Unix() {
				out.Verified.add(h, at)
			}
		}
	}
	return out, nil
}

func open(r *repo.Repository, name string, obj []byte) (Verified, error) {
	ref, err := object.ParseRef(name)
	if err != nil {
		return nil, err
	}
	if object.Sum(obj) != ref.Hash {
		return nil, repo.ErrHash
	}
	keys := r.Keys()
	bind := seal.BindRepo(keys.RepoID())
	_, body, err := keys.Open(object.Record, bind, obj)
	if err != nil {
		return nil, err
	}
	payload, who, err := seal.VerifyBody(object.Record, bind, body, r.State().Signers)
	switch {
	case errors.Is(err, seal.ErrUnknownSigner) || err == nil && who.Role < seal.Maintainer:
		return nil, errSigner
	case err != nil:
		return nil, err
	}
	return Decode(payload)
}

// Add notes that packs were verified, and merges the records when many have piled up. What can not be
// deleted then is left.
func Add(ctx context.Context, r *repo.Repository, v Verified, now time.Time) error {
	if r.Keys().Role() < seal.Maintainer {
		return ErrRole
	}
	if len(v) == 0 {
		return nil
	}
	if err := put(ctx, r, v); err != nil {
		return err
	}
	all, err := Load(ctx, r, now)
	if err != nil || len(all.Objects) <= maxObjects {
		return err
	}
	return merge(ctx, r, all)
}

// merge writes what the records say of live packs into as few as possible, and then deletes the old ones.
func merge(ctx context.Context, r *repo.Repository, all *Loaded) error {
	live := make(Verified, len(all.Verified))
	for ref := range r.State().Packs {
		if at, ok := all.Verified[ref.Hash]; ok {
			live[ref.Hash] = at
		}
	}
	if err := put(ctx, r, live); err != nil {
		return err
	}
	for _, name := range all.Objects {
		// Not allowed here, or somebody else was faster: the object says nothing that is wrong.
		if err := r.Store().Delete(ctx, name); err != nil && !errors.Is(err, backends.ErrNotExist) {
			return ctx.Err()
		}
	}
	return nil
}

// put stores records of at most MaxPacks packs each.
func put(ctx context.Context, r *repo.Repository, v Verified) error {
	part := Verified{}
	for h, at := range v {
		part[h] = at
		if len(part) == MaxPacks {
			if err := putOne(ctx, r, part); err != nil {
				return err
			}
			clear(part)
		}
	}
	if len(part) == 0 {
		return nil
	}
	return putOne(ctx, r, part)
}

func putOne(ctx context.Context, r *repo.Repository, v Verified) error {
	payload, err := Encode(v)
	if err != nil {
		return err
	}
	keys := r.Keys()
	bind := seal.BindRepo(keys.RepoID())
	body, err := keys.SignBody(object.Record, bind, payload)
	if err != nil {
		return err
	}
	obj, err := keys.Seal(object.Record, nil, bind, body)
	if err != nil {
		return err
	}
	ref := object.Ref{Class: object.Record, Hash: object.Sum(obj)}
	rand.Read(ref.Session[:]) // never fails; no entry will ever name it
	if err := r.PutNamed(ctx, ref.Name(), obj); err != nil {
		return fmt.Errorf("note what was verified: %w", err)
	}
	return nil
}

// Share returns how many of the bytes in live packs were verified at or after a time.
func (v Verified) Share(r *repo.Repository, since time.Time) (verified, total int64) {
	for ref, p := range r.State().Packs {
		total += p.Size
		if at, ok := v[ref.Hash]; ok && at >= since.Unix() {
			verified += p.Size
		}
	}
	return verified, total
}
