package thief_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/internal/zst"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

// seal seals anything as a manifest, which takes no more than the public key.
func (w *world) seal(kind seal.Kind, stored []byte) log.SealedManifest {
	w.t.Helper()
	secret, err := w.thief.Keys().NewSecret(kind)
	if err != nil {
		w.t.Fatal(err)
	}
	origin, key, err := secret.NewOrigin()
	if err != nil {
		w.t.Fatal(err)
	}
	return log.SealedManifest{Origin: *origin, Ciphertext: key.Seal(nil, 0, stored)}
}

// zip is a structure as manifests have it.
func (w *world) zip(v any) []byte {
	w.t.Helper()
	plain, err := wire.Marshal(v)
	if err != nil {
		w.t.Fatal(err)
	}
	return zst.Encode(nil, plain, zst.Default)
}

// TestManifest_ThatIsNone_IsListedAndBlocksNothing commits snapshots of which nobody can know what they need. They are
// listed with the role of the key that made them, everything else goes on, and they can be forgotten.
func TestManifest_ThatIsNone_IsListedAndBlocksNothing(t *testing.T) {
	root := make([]byte, 32)
	future := func(w *world) log.SealedManifest {
		m := w.seal(seal.Meta, w.zip(repo.Manifest{Root: root}))
		m.Origin.Epoch = 99
		return m
	}
	forgeries := map[string]func(w *world) log.SealedManifest{
		"random ciphertext": func(w *world) log.SealedManifest { m := w.manifest(); m.Ciphertext = make([]byte, 99); return m },
		"empty":             func(*world) log.SealedManifest { return log.SealedManifest{} },
		"not compressed":    func(w *world) log.SealedManifest { return w.seal(seal.Meta, []byte("x")) },
		"a bomb": func(w *world) log.SealedManifest {
			return w.seal(seal.Meta, zst.Encode(nil, make([]byte, 64<<20), zst.Default))
		},
		"another structure":      func(w *world) log.SealedManifest { return w.seal(seal.Meta, w.zip([]int{1})) },
		"no root":                func(w *world) log.SealedManifest { return w.seal(seal.Meta, w.zip(repo.Manifest{Root: []byte{1}})) },
		"sealed as data":         func(w *world) log.SealedManifest { return w.seal(seal.Data, w.zip(repo.Manifest{Root: root})) },
		"a key of times to come": future,
		"a ciphertext of somebody": func(w *world) log.SealedManifest {
			m := w.seal(seal.Meta, nil)
			m.Ciphertext = w.manifest().Ciphertext
			return m
		},
	}
	for name, forge := range forgeries {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.t = t
			ref, dir := w.pack(object.DataPack, sid(1), []blob{w.junk(1, 5000)})
			w.enter(&log.Entry{
				Kind: log.KindSnapshot, Session: sid(1), Manifest: forge(w), Clock: 1 << 62,
				Add: []log.PackRef{ref}, Index: w.list(sid(1), w.listed(ref, dir)),
			})
			w.refresh()
			all, err := w.maintainer.Snapshots(t.Context())
			if err != nil || len(all) != len(w.honest)+1 {
				t.Fatalf("%d snapshots, %v", len(all), err)
			}
			last := all[len(all)-1]
			unreadable := (*repo.UnreadableError)(nil)
			if last.ID != sid(1) || !errors.As(last.Err, &unreadable) || unreadable.Signer != seal.Writer {
				t.Fatalf("listed as %+v", last)
			}
			latest, _, err := w.maintainer.FindSnapshot(t.Context(), "latest", repo.SnapshotFilter{})
			if err != nil || latest.ID != w.honest[len(w.honest)-1].snap.ID {
				t.Fatalf("latest: %v, %v", latest, err)
			}
			if _, err := w.maintainer.SetTags(t.Context(), []object.SessionID{sid(1), latest.ID}, func([]string) []string { return []string{"t"} }); err != nil {
				t.Error(err)
			}
			if res := w.prune(); len(res.Unreadable) != 1 || !w.maintainer.State().Live(ref.Ref) {
				t.Errorf("%+v; the pack is live: %v", res, w.maintainer.State().Live(ref.Ref))
			}
			w.survive(1)
			found, _, err := w.maintainer.FindSnapshot(t.Context(), sid(1).String()[:8], repo.SnapshotFilter{})
			if err != nil || found.Err == nil {
				t.Fatalf("%+v, %v", found, err)
			}
			if _, err := w.maintainer.Find(t.Context(), found, "/"); !errors.As(err, &unreadable) {
				t.Errorf("its folder: %v", err)
			}
			if ids, err := w.maintainer.Forget(t.Context(), []object.SessionID{found.ID}); err != nil || len(ids) != 1 {
				t.Fatalf("forgot %v, %v", ids, err)
			}
			w.prune()
			if w.maintainer.State().Live(ref.Ref) {
				t.Error("what it had is still there")
			}
			w.survive(1)
		})
	}
}

// TestManifest_OfANewerProgram_HoldsPruneUpUntilForgotten commits a snapshot that looks as if a newer program could read it. What it
// needs is then not known here, so nothing is collected until somebody says that it can go.
func TestManifest_OfANewerProgram_HoldsPruneUpUntilForgotten(t *testing.T) {
	w := newWorld(t)
	manifest := w.seal(seal.Meta, w.zip(map[int]any{-1: 1, 8: make([]byte, 32)}))
	w.enter(&log.Entry{Kind: log.KindSnapshot, Session: sid(1), Manifest: manifest})
	w.wantWhole("after the attack")
	w.refresh()
	before := w.maintainer.State().N
	_, err := gc.Run(t.Context(), w.maintainer, gc.Options{}, gc.Events{})
	if !errors.Is(err, wire.ErrNewer) || !strings.Contains(err.Error(), sid(1).Short()) || w.maintainer.State().N != before {
		t.Fatalf("prune: %v", err)
	}
	if ids, err := w.maintainer.Forget(t.Context(), []object.SessionID{sid(1)}); err != nil || len(ids) != 1 {
		t.Fatalf("forgot %v, %v", ids, err)
	}
	if _, err := gc.Run(t.Context(), w.maintainer, gc.Options{Hold: 1 << 60}, gc.Events{}); err != nil {
		t.Errorf("prune --hold: %v", err)
	}
	w.surviveAll()
}

// TestManifest_WithATreeThatIsNone_HoldsPruneUpUntilForgotten commits snapshots that can be opened, and whose folders
// are not there. They look like damage, so nothing is collected until somebody says that they can go; nor
// does it help to hold what is forgotten.
func TestManifest_WithATreeThatIsNone_HoldsPruneUpUntilForgotten(t *testing.T) {
	w := newWorld(t)
	page := []byte("no page")
	id := w.thief.BlobID(object.TreeBlob, page)
	ref, dir := w.pack(object.TreePack, sid(1), []blob{{id, page}})
	w.enter(&log.Entry{
		Kind: log.KindSnapshot, Session: sid(1), Manifest: w.seal(seal.Meta, w.zip(repo.Manifest{Root: id[:]})),
		Add: []log.PackRef{ref}, Index: w.list(sid(1), w.listed(ref, dir)),
	})
	w.enter(&log.Entry{Kind: log.KindSnapshot, Session: sid(2), Manifest: w.seal(seal.Meta, w.zip(repo.Manifest{Root: bytes.Repeat([]byte{7}, 32)}))})
	w.wantWhole("after the attack")
	w.refresh()
	before := w.maintainer.State().N
	if _, err := gc.Run(t.Context(), w.maintainer, gc.Options{}, gc.Events{}); !errors.As(err, new(*repo.DamageError)) {
		t.Fatalf("prune: %v", err)
	}
	if w.maintainer.State().N != before {
		t.Error("an entry was written")
	}
	if ids, err := w.maintainer.Forget(t.Context(), []object.SessionID{sid(1), sid(2)}); err != nil || len(ids) != 2 {
		t.Fatalf("forgot %v, %v", ids, err)
	}
	if _, err := gc.Run(t.Context(), w.maintainer, gc.Options{Hold: 1 << 60}, gc.Events{}); err != nil {
		t.Errorf("prune --hold: %v", err)
	}
	w.surviveAll()
}

// TestManifest_OfAnother_IsOnlyACopy replays the manifest of somebody's snapshot, and forgets nothing with it.
func TestManifest_OfAnother_IsOnlyACopy(t *testing.T) {
	w := newWorld(t)
	w.enter(&log.Entry{Kind: log.KindSnapshot, Session: sid(1), Manifest: w.manifest()})
	w.refresh()
	if _, err := w.maintainer.Forget(t.Context(), []object.SessionID{sid(1)}); err != nil {
		t.Fatal(err)
	}
	w.prune()
	w.surviveAll()
}
