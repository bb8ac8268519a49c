package repo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/internal/zst"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

// Pin makes live snapshots stay: nobody can forget them until they are unpinned. It returns those
// that it pinned, without those that are pinned already or were forgotten meanwhile.
func (r *Repository) Pin(ctx context.Context, ids []object.SessionID) ([]object.SessionID, error) {
	return r.amend(ctx, log.Entry{Kind: log.KindPin, Pinned: true}, ids, func(s *log.Snapshot) bool { return s.Live() && !s.Pinned })
}

// Unpin is the opposite of Pin. It returns those that it unpinned.
func (r *Repository) Unpin(ctx context.Context, ids []object.SessionID) ([]object.SessionID, error) {
	return r.amend(ctx, log.Entry{Kind: log.KindPin}, ids, func(s *log.Snapshot) bool { return s.Pinned })
}

// amend adds an entry that names those of the snapshots that applies fits, which is asked again of every
// state that the entry might follow. It returns these snapshots.
func (r *Repository) amend(ctx context.Context, e log.Entry, ids []object.SessionID, applies func(*log.Snapshot) bool) (done []object.SessionID, err error) {
	e.Session = object.NewSessionID(r.State().N)
	_, err = r.Commit(ctx, func(_ context.Context, st *log.State) (*log.Entry, error) {
		done = nil
		for _, id := range ids {
			if s := st.Snapshots[id]; s != nil && applies(s) && !slices.Contains(done, id) {
				done = append(done, id)
			}
		}
		if len(done) == 0 {
			return nil, nil
		}
		e.Clock, e.Snapshots = now(), done
		return &e, nil
	})
	if err != nil {
		return nil, err
	}
	return done, nil
}

// SetTags gives live snapshots the tags that change makes of the ones they have. Tags are put in order,
// and each counts once; what can not be read gets none. What others change meanwhile is not lost: change is asked again. It returns the
// snapshots whose tags are others now.
func (r *Repository) SetTags(ctx context.Context, ids []object.SessionID, change func(old []string) []string) (done []object.SessionID, err error) {
	sid := object.NewSessionID(r.State().N)
	secret, err := r.Keys().NewSecret(seal.Meta)
	if err != nil {
		return nil, err
	}
	_, err = r.Commit(ctx, func(_ context.Context, st *log.State) (*log.Entry, error) {
		e := &log.Entry{Kind: log.KindTag, Session: sid, Clock: now()}
		sets := map[string]uint32{}
		for _, id := range ids {
			s := st.Snapshots[id]
			if s == nil || !s.Live() || slices.Contains(e.Snapshots, id) {
				continue
			}
			snap, err := r.OpenSnapshot(s)
			if errors.As(err, new(*UnreadableError)) {
				continue
			}
			if err != nil {
				return nil, err
			}
			tags := slices.Compact(slices.Sorted(slices.Values(change(slices.Clone(snap.Tags)))))
			if slices.Equal(tags, snap.Tags) {
				continue
			}
			for _, tag := range tags {
				if tag == "" {
					return nil, fmt.Errorf("%w: it is empty", ErrTag)
				}
				if !utf8.ValidString(tag) {
					return nil, fmt.Errorf("%w: %q is not UTF-8", ErrTag, tag)
				}
			}
			key := strings.Join(tags, "\x00")
			n, ok := sets[key]
			if !ok {
				sealed, err := sealTags(secret, tags)
				if err != nil {
					return nil, err
				}
				n = uint32(len(e.Tags))
				sets[key], e.Tags = n, append(e.Tags, sealed)
			}
			e.Snapshots, e.TagsOf = append(e.Snapshots, id), append(e.TagsOf, n)
		}
		if done = e.Snapshots; len(done) == 0 {
			return nil, nil
		}
		return e, nil
	})
	if err != nil {
		return nil, err
	}
	return done, nil
}

type wireTags struct {
	Tags []string `cbor:"1,keyasint,omitempty"`
}

// sealTags encrypts tags to whoever may read metadata: a writer's key can not.
func sealTags(secret *seal.Secret, tags []string) (log.SealedTags, error) {
	plain, err := wire.Marshal(wireTags{tags})
	if err != nil {
		return log.SealedTags{}, fmt.Errorf("repo: encode tags: %w", err)
	}
	if len(plain) > maxManifest {
		return log.SealedTags{}, fmt.Errorf("%w: together they have more than 16 MiB", ErrTag)
	}
	m, err := sealMeta(secret, plain)
	return log.SealedTags(m), err
}

// DecodeTags decodes the decrypted bytes of a snapshot's tags, as DecodeManifest does those of a manifest.
func DecodeTags(stored []byte) ([]string, error) {
	plain, err := zst.Decode(nil, stored, maxManifest)
	if err != nil {
		return nil, err
	}
	var w wireTags
	if err := wire.Unmarshal(plain, &w); err != nil {
		return nil, err
	}
	return w.Tags, nil
}
