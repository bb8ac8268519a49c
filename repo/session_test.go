package repo_test

import (
	"bytes"
	"testing"

	"github.com/kura-backup/kura/internal/testrepo"
)

func TestSession_CommittedBlobs_ReadBackByAnotherClient(t *testing.T) {
	r, store := testrepo.New(t)
	chunks := [][]byte{[]byte("small"), testrepo.Random(1, 300<<10), testrepo.Random(2, 8<<20), bytes.Repeat([]byte("text "), 100_000), testrepo.Random(3, 1)}
	snap := testrepo.CommitFile(t, r, chunks...)

	other := testrepo.Open(t, store)
	snaps, err := other.Snapshots(t.Context())
	if err != nil || len(snaps) != 1 || snaps[0].ID != snap.ID {
		t.Fatalf("snapshots: %v, %v", snaps, err)
	}
	got, err := testrepo.ReadFile(t, other, snaps[0])
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, bytes.Join(chunks, nil)) {
		t.Fatal("other bytes came back")
	}
}

func TestSession_SameBlobsAgain_StoreOnlyALogEntry(t *testing.T) {
	r, store := testrepo.New(t)
	chunks := [][]byte{testrepo.Random(1, 300<<10), []byte("small")}
	testrepo.CommitFile(t, r, chunks...)
	before := testrepo.Names(t, store, "")
	testrepo.CommitFile(t, r, chunks...)
	after := testrepo.Names(t, store, "")
	if len(after) != len(before)+1 {
		t.Fatalf("objects before: %q\nafter: %q", before, after)
	}
}
