package repair_test

import (
	"context"
	"crypto/rand"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo/check"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/repo/repair"
	"github.com/kura-backup/kura/seal"
)

// TestForgedManifest_BlocksNothing commits, with a writer's key, snapshots whose manifests are not manifests: check
// names each and looks at the others, and a repair can forget them.
func TestForgedManifest_BlocksNothing(t *testing.T) {
	r, store := testrepo.New(t)
	testrepo.CommitFile(t, r, file()...)
	writer := as(t, r, store, seal.Writer)
	maintainer := as(t, r, store, seal.Maintainer)
	forged := map[uint64]string{}
	for what, kind := range map[string]seal.Kind{"a garbled manifest": seal.Meta, "one that is sealed to those who read data": seal.Data} {
		secret, err := writer.Keys().NewSecret(kind)
		if err != nil {
			t.Fatal(err)
		}
		origin, key, err := secret.NewOrigin()
		if err != nil {
			t.Fatal(err)
		}
		e := &log.Entry{Kind: log.KindSnapshot, Manifest: log.SealedManifest{Origin: *origin, Ciphertext: key.Seal(nil, 0, []byte("no manifest"))}}
		rand.Read(e.Session[:])
		st, err := writer.Commit(t.Context(), func(context.Context, *log.State) (*log.Entry, error) { return e, nil })
		if err != nil {
			t.Fatal(err)
		}
		forged[st.N] = what
	}
	last := testrepo.CommitFile(t, testrepo.Open(t, store), []byte("after them"))
	for _, client := range []int{0, 1} {
		r := maintainer
		if client == 1 {
			r = testrepo.Open(t, store)
		}
		rep, err := check.Run(t.Context(), r, check.Options{}, check.Events{})
		if err != nil {
			t.Fatal(err)
		}
		named := map[string]bool{}
		for _, p := range rep.Problems {
			named[p.Object] = true
		}
		for n, what := range forged {
			if !named[object.LogName(n)] {
				t.Errorf("%s is not named: %v", what, rep.Problems)
			}
		}
		if rep.Snapshots != 4 || rep.SnapshotsDamaged != 2 {
			t.Errorf("%+v", rep)
		}
	}
	res, err := repair.Snapshots(t.Context(), maintainer, repair.SnapshotsOptions{Forget: true}, repair.Events{})
	if err != nil || len(res.Snapshots) != 2 {
		t.Fatalf("%+v, %v", res, err)
	}
	all, err := maintainer.Snapshots(t.Context())
	if err != nil || len(all) != 2 || all[1].ID != last.ID {
		t.Errorf("%d snapshots are left, %v", len(all), err)
	}
}
