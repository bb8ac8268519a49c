package repo_test

import (
	"errors"
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/pack/parity"
	"github.com/kura-backup/kura/repo"
)

// storePacks saves blobs that do not compress in a session and returns the packs that it stored.
func storePacks(t *testing.T, o repo.SessionOptions, blobs int) map[object.Ref][]byte {
	t.Helper()
	r, store := testrepo.New(t)
	s, err := r.NewSession(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range blobs {
		testrepo.Save(t, s, object.DataBlob, testrepo.Random(uint64(i), 1<<20))
	}
	testrepo.Save(t, s, object.TreeBlob, testrepo.Random(99, 1000))
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	found := map[object.Ref][]byte{}
	for _, prefix := range []string{object.DataPrefix, object.TreePrefix} {
		for _, name := range testrepo.Names(t, store, prefix) {
			ref, err := object.ParseRef(name)
			if err != nil {
				t.Fatal(err)
			}
			found[ref], err = store.Get(t.Context(), name, 0, -1, nil)
			if err != nil {
				t.Fatal(err)
			}
			dir, err := r.LoadDirectory(t.Context(), ref, int64(len(found[ref])))
			if err != nil || len(dir.Segments) == 0 {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	return found
}

func TestNewSession_Parity_PacksHaveThatMuch(t *testing.T) {
	for option, percent := range map[int]uint8{0: pack.DefaultParity, -1: 0, 1: 1, 50: 50} {
		found := storePacks(t, repo.SessionOptions{Packing: repo.Packing{Parity: option}}, 2)
		for ref, obj := range found {
			footer, ok := parity.ParseFooter(obj[len(obj)-parity.FooterSize:])
			if ok != (percent > 0) || footer.Percent != percent || parity.Whole(obj) != ok {
				t.Errorf("parity %d: %v has a footer: %v, %+v", option, ref, ok, footer)
			}
		}
		if len(found) < 2 {
			t.Errorf("parity %d: %d packs", option, len(found))
		}
	}
}

func TestNewSession_PackSize_PacksAreNoLarger(t *testing.T) {
	const size = 5 << 20
	full := 0
	for ref, obj := range storePacks(t, repo.SessionOptions{Packing: repo.Packing{Size: size}}, 20) {
		body, _, _ := parity.Body(obj)
		// Beside header and segments there are directory and padding.
		if len(body) > size+size/8 {
			t.Errorf("%v has %d bytes without its parity", ref, len(body))
		}
		if len(body) > size-2<<20 {
			full++
		}
	}
	if full < 2 { // two are open at a time, of 20 MiB
		t.Errorf("%d packs are as large as they may be", full)
	}
}

func TestNewSession_PacksThatCanNotBe_Refused(t *testing.T) {
	r, _ := testrepo.New(t)
	for name, o := range map[string]repo.Packing{
		"small packs":                     {Size: repo.MinPackSize - 1},
		"negative size":                   {Size: -1},
		"packs without room":              {Size: pack.MaxPackSize},
		"packs without room for parity":   {Size: 120 << 20, Parity: 20},
		"more parity than packs can have": {Parity: parity.MaxPercent + 1},
	} {
		if s, err := r.NewSession(t.Context(), repo.SessionOptions{Packing: o}); err == nil {
			s.Abort()
			t.Errorf("%s: accepted", name)
		}
	}
}

// A file that somebody put among the packs is not taken for one, however short.
func TestLoadDirectory_TooShortForAPack_IsDamage(t *testing.T) {
	r, store := testrepo.New(t)
	for n := range 2 * pack.TailSize {
		ref := object.Ref{Class: object.DataPack, Session: object.SessionID{byte(n)}}
		if err := store.Put(t.Context(), ref.Name(), make([]byte, n+1)); err != nil {
			t.Fatal(err)
		}
		_, err := r.LoadDirectory(t.Context(), ref, int64(n+1))
		if !errors.As(err, new(*repo.DamageError)) || errors.Is(err, backends.ErrNotExist) {
			t.Errorf("%d bytes: %v", n+1, err)
		}
	}
}
