package gc

import (
	"context"
	"iter"
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
)

// TestRun_MoreRivalsThanARunLooksInto_LaterRunsGoOn has two clients that stored the same twenty blobs at the same time,
// and runs that look into three at most.
func TestRun_MoreRivalsThanARunLooksInto_LaterRunsGoOn(t *testing.T) {
	r, store := testrepo.New(t)
	var chunks [][]byte
	for i := range 20 {
		chunks = append(chunks, testrepo.Random(uint64(i), 300<<10))
	}
	var sessions []*repo.Session
	for range 2 {
		s, err := r.NewSession(t.Context(), repo.SessionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		sessions = append(sessions, s)
	}
	for _, s := range sessions {
		if _, err := s.Commit(repo.CommitOptions{Manifest: testrepo.Manifest(t, s, chunks...)}); err != nil {
			t.Fatal(err)
		}
	}
	copies := func() (n int) {
		fresh := testrepo.Open(t, store)
		ix, err := fresh.Index(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range chunks {
			n += len(ix.Places(r.BlobID(object.DataBlob, c), nil))
		}
		return n
	}
	collect := func(most int) {
		c := newCollector(r, Options{MaxUnused: -1, CommitEvery: sliceBytes}, new(Events))
		c.maxRivals = most
		if err := c.run(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := copies(); n != 40 {
		t.Fatalf("%d copies", n)
	}
	collect(3)
	if n := copies(); n < 37 {
		t.Errorf("%d copies are left by a run that looks into 3 blobs", n)
	}
	for range 3 {
		collect(maxRivals)
	}
	if n := copies(); n != 20 {
		t.Errorf("%d copies are left", n)
	}
	fresh := testrepo.Open(t, store)
	snaps, err := fresh.Snapshots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range snaps {
		if _, err := testrepo.ReadFile(t, fresh, s); err != nil {
			t.Error(err)
		}
	}
}

// listedSize is a store that says of one object that it has another size.
type listedSize struct {
	backends.Store
	name string
	size int64
}

func (s *listedSize) List(ctx context.Context, prefix, after string) iter.Seq2[backends.Info, error] {
	return func(yield func(backends.Info, error) bool) {
		for info, err := range s.Store.List(ctx, prefix, after) {
			if info.Name == s.name && s.size != 0 {
				info.Size = s.size
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

// TestRun_ForgedPackThatIsNone_DoesNotStopTheRun has a thief list the blobs of others in an object that is no pack, more
// of them than a run looks into.
func TestRun_ForgedPackThatIsNone_DoesNotStopTheRun(t *testing.T) {
	for _, c := range []struct {
		name string
		size int64 // that the store lists, if not the true one
	}{{"no directory", 0}, {"too large", pack.MaxPackSize + 1}} {
		t.Run(c.name, func(t *testing.T) {
			_, inner := testrepo.New(t)
			store := &listedSize{Store: inner, size: c.size}
			r := testrepo.Open(t, store)
			kept := testrepo.CommitFile(t, r, testrepo.Random(1, 300<<10))
			unneeded := testrepo.CommitFile(t, r, testrepo.Random(2, 300<<10))

			var sid object.SessionID
			var seg index.Segment
			obj := testrepo.Random(3, 400<<10)
			forged := object.Ref{Class: object.DataPack, Session: sid, Hash: object.Sum(obj)}
			store.name = forged.Name()
			for ref, p := range r.State().Packs {
				if ref.Class != object.DataPack || ref.Session != kept.ID {
					continue
				}
				dir, err := r.LoadDirectory(t.Context(), ref, p.Size)
				if err != nil {
					t.Fatal(err)
				}
				if err := seg.AddPack(forged, int64(len(obj)), dir); err != nil {
					t.Fatal(err)
				}
			}
			listed, err := r.PutIndex(t.Context(), sid, &seg)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.PutNamed(t.Context(), forged.Name(), obj); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Commit(t.Context(), func(context.Context, *log.State) (*log.Entry, error) {
				return &log.Entry{
					Kind: log.KindSnapshot, Session: sid, Manifest: unneeded.Entry.Manifest,
					Add: []log.PackRef{{Ref: forged, Size: int64(len(obj))}}, Index: listed,
				}, nil
			}); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Forget(t.Context(), []object.SessionID{sid, unneeded.ID}); err != nil {
				t.Fatal(err)
			}
			for _, most := range []int{0, maxRivals} {
				col := newCollector(r, Options{MaxUnused: -1, CommitEvery: sliceBytes}, new(Events))
				col.maxRivals = most
				if err := col.run(t.Context()); err != nil {
					t.Fatalf("looking into %d: %v", most, err)
				}
				if n := len(r.State().Snapshots); n != 1 {
					t.Errorf("%d snapshots", n)
				}
				if _, err := testrepo.ReadFile(t, testrepo.Open(t, store), kept); err != nil {
					t.Error(err)
				}
			}
			if r.State().Live(forged) {
				t.Error("the forged pack is still there after a run that looked into it")
			}
		})
	}
}
