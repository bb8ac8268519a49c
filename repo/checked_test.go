package repo_test

import (
	"bytes"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
)

// TestSaveChecked_BlobsOfAnotherRepository_KeepOrChangeTheirIDs stores small and large blobs of one repository in
// two others: one that names blobs alike, and one that does not.
func TestSaveChecked_BlobsOfAnotherRepository_KeepOrChangeTheirIDs(t *testing.T) {
	from, _ := testrepo.New(t)
	chunks := [][]byte{[]byte("small"), testrepo.Random(1, 300_000)}
	snap := testrepo.CommitFile(t, from, chunks...)
	node, err := from.Find(t.Context(), snap, "/f")
	if err != nil {
		t.Fatal(err)
	}
	alike, _ := testrepo.InitFrom(t, from)
	different, _ := testrepo.New(t)
	for _, to := range []*repo.Repository{alike, different} {
		same := to == alike
		if from.Keys().SharesIDs(to.Keys()) != same || to.Keys().SharesIDs(from.Keys()) != same {
			t.Error("whether ids are shared is wrong")
		}
		if (to.Keys().Polynomial() == from.Keys().Polynomial()) != same {
			t.Error("whether cuts are shared is wrong")
		}
		if from.Config().ID == to.Config().ID {
			t.Error("two repositories with one id")
		}
		s, err := to.NewSession(t.Context(), repo.SessionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var ids []object.BlobID
		for i, id := range node.Content.IDs {
			b, err := from.LoadChecked(t.Context(), object.DataBlob, id)
			if err != nil {
				t.Fatal(err)
			}
			for _, isNew := range []bool{true, false} {
				saved, err := s.SaveChecked(b)
				if err != nil || saved.New != isNew || (saved.ID == id) != same || saved.ID != to.BlobID(object.DataBlob, chunks[i]) {
					t.Errorf("%+v, %v", saved, err)
				}
				ids = append(ids, saved.ID)
			}
		}
		if got := s.Stats().Added; got != uint64(len(chunks[0])+len(chunks[1])) {
			t.Errorf("%d bytes were added", got)
		}
		m := testrepo.Manifest(t, s, chunks...) // relies on them
		if _, err := s.Commit(repo.CommitOptions{Manifest: m}); err != nil {
			t.Fatal(err)
		}
		for i, id := range ids {
			if got, err := to.LoadBlob(t.Context(), object.DataBlob, id); err != nil || !bytes.Equal(got, chunks[i/2]) {
				t.Errorf("blob %d: %d bytes, %v", i, len(got), err)
			}
		}
	}
}

func TestSaveChecked_AfterTheEnd_Fails(t *testing.T) {
	from, _ := testrepo.New(t)
	snap := testrepo.CommitFile(t, from, []byte("small"), testrepo.Random(1, 300_000))
	node, err := from.Find(t.Context(), snap, "/f")
	if err != nil {
		t.Fatal(err)
	}
	to, _ := testrepo.InitFrom(t, from)
	s, err := to.NewSession(t.Context(), repo.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.Abort()
	for _, id := range node.Content.IDs {
		b, err := from.LoadChecked(t.Context(), object.DataBlob, id)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.SaveChecked(b); err == nil {
			t.Error("a session that was aborted stores blobs")
		}
	}
}
