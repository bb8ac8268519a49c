package repo_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/check"
	"github.com/kura-backup/kura/repo/log"
)

// TestOpen_LogEntryLost_CheckpointBeyondItIsUsed removes each entry in turn, and wrecks it: with a checkpoint at or
// behind it the state is the same as before, and check names the entry; otherwise opening names it.
func TestOpen_LogEntryLost_CheckpointBeyondItIsUsed(t *testing.T) {
	r, store := testrepo.New(t)
	first := testrepo.CommitFile(t, r, []byte("one"))
	testrepo.CommitFile(t, r, []byte("two"))
	if _, err := r.Forget(t.Context(), []object.SessionID{first.ID}); err != nil {
		t.Fatal(err)
	}
	for _, name := range testrepo.Names(t, store, object.CheckpointsPrefix) {
		store.Tamper(name, nil)
	}
	if err := r.Log().WriteCheckpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkpoint := r.State().N
	testrepo.CommitFile(t, r, []byte("three"))
	testrepo.CommitFile(t, r, []byte("four"))
	for _, name := range testrepo.Names(t, store, object.CheckpointsPrefix) {
		if name != object.CheckpointName(checkpoint) {
			store.Tamper(name, nil)
		}
	}
	want, err := log.EncodeState(r.State())
	if err != nil {
		t.Fatal(err)
	}
	for n := uint64(1); n < r.State().N; n++ {
		name := object.LogName(n)
		for _, how := range []string{"missing", "zeros"} {
			damaged := store.Clone()
			var obj []byte
			if how == "zeros" {
				if obj, err = store.Get(t.Context(), name, 0, -1, nil); err != nil {
					t.Fatal(err)
				}
				clear(obj)
			}
			damaged.Tamper(name, obj)
			client, err := repo.Open(t.Context(), damaged, repo.OpenOptions{Credential: testrepo.Credential, CacheDir: testsys.MemoryDir(t)})
			if n > checkpoint {
				if err == nil || !strings.Contains(err.Error(), name) {
					t.Errorf("%s %s, behind the checkpoint: %v", name, how, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s %s: %v", name, how, err)
				continue
			}
			got, err := log.EncodeState(client.State())
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s %s: another state, %v", name, how, err)
			}
			rep, err := check.Run(t.Context(), client, check.Options{}, check.Events{})
			if err != nil {
				t.Fatal(err)
			}
			named := false
			for _, p := range rep.Problems {
				named = named || p.Object == name && !p.Hint
			}
			if !named {
				t.Errorf("check does not name %s: %v", name, rep.Problems)
			}
			// It is not read-only: what is committed now is there for those who open it next.
			testrepo.CommitFile(t, client, []byte("five"))
			testrepo.Open(t, damaged)
			if err := client.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
