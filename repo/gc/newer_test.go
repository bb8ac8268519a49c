package gc_test

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"

	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/internal/zst"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

// Nobody knows what a manifest needs that only a newer program understands. One that no program understands stops nobody.
func TestRun_ManifestOfANewerProgram_NothingIsFreed(t *testing.T) {
	for what, c := range map[string]struct {
		plain []byte
		newer bool
	}{
		"a key that must be understood": {[]byte{0xa1, 0x20, 0x00}, true},
		"no manifest":                   {[]byte{0x00}, false},
	} {
		t.Run(what, func(t *testing.T) {
			r, store := testrepo.New(t)
			snap := testrepo.CommitFile(t, r, testrepo.Random(1, 50_000))
			testrepo.CommitFile(t, r, testrepo.Random(2, 50_000))
			secret, err := r.Keys().NewSecret(seal.Meta)
			if err != nil {
				t.Fatal(err)
			}
			origin, key, err := secret.NewOrigin()
			if err != nil {
				t.Fatal(err)
			}
			e := &log.Entry{Kind: log.KindSnapshot, Manifest: log.SealedManifest{Origin: *origin, Ciphertext: key.Seal(nil, 0, zst.Encode(nil, c.plain, zst.Fastest))}}
			rand.Read(e.Session[:])
			if _, err := r.Commit(t.Context(), func(context.Context, *log.State) (*log.Entry, error) { return e, nil }); err != nil {
				t.Fatal(err)
			}
			forget(t, r, snap)
			before := len(testrepo.Names(t, store, "data/"))
			res, err := gc.Run(t.Context(), testrepo.Open(t, store), gc.Options{}, gc.Events{})
			after := len(testrepo.Names(t, store, "data/"))
			if c.newer && (!errors.Is(err, wire.ErrNewer) || after != before) || !c.newer && (err != nil || after >= before || len(res.Unreadable) != 1) {
				t.Errorf("%d packs, then %d: %+v, %v", before, after, res, err)
			}
		})
	}
}
