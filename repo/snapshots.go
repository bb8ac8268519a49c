package repo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

// Snapshots returns the live snapshots, by their time and then by the order of their commits. One that can
// not be opened is among them, with Err saying why: whoever holds a writer's key can commit such a
// snapshot, and it must not hide the others.
func (r *Repository) Snapshots(ctx context.Context) ([]*Snapshot, error) {
	return r.openSnapshots(ctx, func(s *log.Snapshot) bool { return s.Live() })
}

// Forgotten returns the snapshots that are forgotten but not yet collected, in the same order.
func (r *Repository) Forgotten(ctx context.Context) ([]*Snapshot, error) {
	return r.openSnapshots(ctx, func(s *log.Snapshot) bool { return !s.Live() })
}

func (r *Repository) openSnapshots(ctx context.Context, want func(*log.Snapshot) bool) ([]*Snapshot, error) {
	var entries []*log.Snapshot
	for _, s := range r.log.State().Snapshots {
		if want(s) {
			entries = append(entries, s)
		}
	}
	snapshots := make([]*Snapshot, len(entries))
	g, _ := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, e := range entries {
		g.Go(func() (err error) {
			snapshots[i], err = r.openAny(e)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(snapshots, func(a, b *Snapshot) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Entry.N, b.Entry.N))
	})
	return snapshots, nil
}

// openAny is OpenSnapshot that returns a snapshot that can not be opened as well, with its Err set.
func (r *Repository) openAny(e *log.Snapshot) (*Snapshot, error) {
	s, err := r.OpenSnapshot(e)
	if errors.As(err, new(*DamageError)) {
		return &Snapshot{ID: e.ID, Manifest: Manifest{Time: e.Clock}, Entry: e, Err: err}, nil
	}
	return s, err
}

// UnreadableError says that a snapshot's manifest is not one, though the entry that has it is authentic:
// whoever signed that entry wrote it so. Nothing can be found out about what the snapshot needs.
type UnreadableError struct {
	ID     object.SessionID
	Signer seal.Role // whose key it was; 0 if it was removed
	Err    error
}

func (e *UnreadableError) Error() string {
	by := fmt.Sprintf("a %v's key", e.Signer)
	if e.Signer == 0 {
		by = "a key that was removed"
	}
	return fmt.Sprintf("the manifest of snapshot %s, signed with %s, can not be read: %v", e.ID.Short(), by, e.Err)
}

func (e *UnreadableError) Unwrap() error { return e.Err }

// OpenSnapshot decrypts a snapshot's manifest and the tags that it was given since. Its error is a
// DamageError where it is the snapshot's fault, which wraps an UnreadableError where it is the manifest's.
func (r *Repository) OpenSnapshot(e *log.Snapshot) (*Snapshot, error) {
	if !r.Keys().CanRead(seal.Meta) {
		return nil, fmt.Errorf("this key can not read snapshots: %w", seal.ErrNoKey)
	}
	damage := func(err error) error { return &DamageError{Object: object.LogName(e.N), Err: err} }
	m, err := openManifest(r.Keys(), &e.Manifest)
	if errors.Is(err, seal.ErrLender) {
		return nil, err
	}
	if err != nil {
		return nil, damage(&UnreadableError{e.ID, r.State().Signers[e.Signer].Role, notOurs(err)})
	}
	if e.Tags != nil {
		stored, err := openMeta(r.Keys(), (*log.SealedManifest)(e.Tags))
		if err == nil {
			m.Tags, err = DecodeTags(stored)
		}
		if errors.Is(err, seal.ErrLender) {
			return nil, err
		}
		if err != nil {
			return nil, damage(fmt.Errorf("tags that snapshot %s was given later: %w", e.ID.Short(), notOurs(err)))
		}
	}
	return &Snapshot{ID: e.ID, Manifest: *m, Entry: e}, nil
}

// notOurs hides that a key is missing: this client has the one that fits all others.
func notOurs(err error) error {
	if errors.Is(err, seal.ErrNoKey) || errors.Is(err, seal.ErrWrongKey) {
		return errors.New("it is not sealed to this repository's key")
	}
	return seal.AsWritten(err) // in an entry that is authentic
}
