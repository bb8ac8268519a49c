package repo_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
)

// TestLoadPack_GroupReplacedSinceItWasListed_IsFound has a collector put another group in the place of one that this
// client knows, which takes no entry.
func TestLoadPack_GroupReplacedSinceItWasListed_IsFound(t *testing.T) {
	r, store := testrepo.New(t)
	s, err := r.NewSession(t.Context(), repo.SessionOptions{Packing: repo.Packing{Groups: true}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(repo.CommitOptions{Manifest: testrepo.Manifest(t, s, testrepo.Random(1, 300<<10))}); err != nil {
		t.Fatal(err)
	}
	name := testrepo.Names(t, store, object.DataPrefix)[0]
	ref, err := object.ParseRef(name)
	if err != nil {
		t.Fatal(err)
	}
	want, err := store.Get(t.Context(), name, 0, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := testrepo.Open(t, store)
	unknown := object.Ref{Class: object.DataPack}
	if _, _, err := client.LoadPack(t.Context(), unknown, 100, nil); !errors.As(err, new(*repo.DamageError)) {
		t.Fatal(err)
	}
	groups, err := r.Groups(t.Context())
	if err != nil || len(groups) != 1 {
		t.Fatalf("%d groups, %v", len(groups), err)
	}
	group, err := r.LoadGroup(t.Context(), groups[0].Ref)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.PutGroup(t.Context(), object.SessionID{1}, group); err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{groups[0].Ref.Name(), name} {
		if err := store.Delete(t.Context(), gone); err != nil {
			t.Fatal(err)
		}
	}
	got, mended, err := client.LoadPack(t.Context(), ref, int64(len(want)), nil)
	if err != nil || !mended || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, mended %v, %v", len(got), mended, err)
	}
}

// TestLoadPack_SizeInTheStateIsALie_IsLoaded has a thief with a writer's key add packs of a session that is at work, with
// another size than they have, before that session does.
func TestLoadPack_SizeInTheStateIsALie_IsLoaded(t *testing.T) {
	for _, by := range []int64{-1000, 1000} {
		r, store := testrepo.New(t)
		like := testrepo.CommitFile(t, r, []byte("other"))
		s, err := r.NewSession(t.Context(), repo.SessionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		manifest := testrepo.Manifest(t, s, testrepo.Random(1, 300<<10))
		lied := false
		if _, err := s.Commit(repo.CommitOptions{Manifest: manifest, Stored: func(repo.Stats) {
			thief := testrepo.Open(t, store)
			e := &log.Entry{Kind: log.KindSnapshot, Session: object.SessionID{1}, Manifest: like.Entry.Manifest}
			for info, err := range store.List(t.Context(), object.DataPrefix+s.ID().String(), "") {
				ref, perr := object.ParseRef(info.Name)
				if err != nil || perr != nil {
					t.Error(err, perr)
				}
				e.Add = append(e.Add, log.PackRef{Ref: ref, Size: info.Size + by})
			}
			lied = len(e.Add) > 0
			if _, err := thief.Commit(t.Context(), func(context.Context, *log.State) (*log.Entry, error) { return e, nil }); err != nil {
				t.Error(err)
			}
		}}); err != nil || !lied {
			t.Fatal(err)
		}
		for ref, p := range r.State().Packs {
			obj, mended, err := r.LoadPack(t.Context(), ref, p.Size, nil)
			if err != nil || mended || object.Sum(obj) != ref.Hash {
				t.Errorf("%v of %d bytes, said to have %d: mended %v, %v", ref, len(obj), p.Size, mended, err)
			}
		}
	}
}
