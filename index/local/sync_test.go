package local

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrand"
)

func TestSync_NothingWanted_EmptyView(t *testing.T) {
	s := newStore(testrand.New(t))
	v := s.sync(t, open(t, t.TempDir()), nil)
	s.check(t, v, nil)
	if v.NumPacks() != 0 || v.NumOrigins() != 0 {
		t.Errorf("%d packs, %d origins", v.NumPacks(), v.NumOrigins())
	}
}

func TestSync_GrowingRepository_EveryPlaceFoundAndFewLevels(t *testing.T) {
	s := newStore(testrand.New(t))
	dir := t.TempDir()
	db := open(t, dir)
	var shared []object.BlobID
	for i := range 30 {
		ids := s.ids(1 + s.rand.IntN(300))
		ids = append(ids, shared[:min(len(shared), s.rand.IntN(40))]...) // more copies of known blobs
		shared = append(shared, ids[:1]...)
		s.add(s.session(), ids)
		v := s.sync(t, db, s.refs)
		if i%5 == 4 {
			s.check(t, v, s.refs)
			if err := v.Verify(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(files(t, dir, levelPrefix)); n > maxLevels || n != len(v.levels) {
			t.Fatalf("%d level files, %d in the view", n, len(v.levels))
		}
	}
	if s.loads != len(s.refs) {
		t.Errorf("%d loads of %d index segments", s.loads, len(s.refs))
	}
	if left := append(files(t, dir, buildPrefix), files(t, dir, spillPrefix)...); len(left) != 0 {
		t.Errorf("temporary files left: %v", left)
	}
}

func TestSync_NoChange_LoadsAndWritesNothing(t *testing.T) {
	s := newStore(testrand.New(t))
	dir := t.TempDir()
	for range 5 {
		s.add(s.session(), s.ids(50))
	}
	s.sync(t, open(t, dir), s.refs)
	before, err := os.Stat(filepath.Join(dir, manifestName))
	if err != nil {
		t.Fatal(err)
	}
	loads := s.loads
	s.check(t, s.sync(t, open(t, dir), s.refs), s.refs)
	after, err := os.Stat(filepath.Join(dir, manifestName))
	if err != nil {
		t.Fatal(err)
	}
	if s.loads != loads || !os.SameFile(before, after) {
		t.Errorf("%d more loads, same manifest: %v", s.loads-loads, os.SameFile(before, after))
	}
}

func TestSync_DroppedIndexSegments_PlacesGoneAtOnceAndSpaceLater(t *testing.T) {
	s := newStore(testrand.New(t))
	db := open(t, t.TempDir())
	for range 10 {
		s.add(s.session(), s.ids(200))
	}
	old := s.sync(t, db, s.refs)
	for len(s.refs) > 1 {
		want := s.refs[1:]
		v := s.sync(t, db, want)
		s.refs = want
		s.check(t, v, want)
		alive := uint64(0)
		for _, l := range v.levels {
			alive += l.places()
		}
		if limit := uint64(len(want) * 200 * deadShare / (deadShare - 1)); alive > limit+1 {
			t.Errorf("%d places kept for %d blobs", alive, len(want)*200)
		}
	}
	if s.loads != 10 {
		t.Errorf("%d loads", s.loads)
	}
	_ = old.Lookup(object.BlobID{}, nil) // the old view still has its files
	if err := errors.Join(old.Err(), old.Verify(t.Context())); err != nil {
		t.Error(err)
	}
}

func TestSync_ReplacedIndexSegments_SamePlacesOnce(t *testing.T) {
	s := newStore(testrand.New(t))
	db := open(t, t.TempDir())
	ss := s.session()
	one, two := s.add(ss, s.ids(100)), s.add(ss, s.ids(100))
	s.sync(t, db, s.refs)
	merged := *s.segments[one] // one again, under another name, as a collector would rewrite it
	again := s.put(ss, &merged)
	s.check(t, s.sync(t, db, s.refs), s.refs)
	want := []object.Ref{two, again}
	v := s.sync(t, db, want)
	s.check(t, v, want)
	v = s.sync(t, db, []object.Ref{one, two, again})
	s.check(t, v, s.refs)
}

func TestSync_SharedSecret_StoredOnce(t *testing.T) {
	s := newStore(testrand.New(t))
	ss := s.session()
	for range 4 {
		s.add(ss, s.ids(64))
	}
	v := s.sync(t, open(t, t.TempDir()), s.refs)
	last := v.levels[len(v.levels)-1]
	if last.Secrets.end() != 1 || v.NumOrigins() != 16 {
		t.Errorf("%d secrets, %d origins", last.Secrets.end(), v.NumOrigins())
	}
}

func TestSync_LoadFails_ErrorAndNothingLost(t *testing.T) {
	s := newStore(testrand.New(t))
	db := open(t, t.TempDir())
	first := s.add(s.session(), s.ids(20))
	s.check(t, s.sync(t, db, s.refs), s.refs)
	s.add(s.session(), s.ids(20))
	s.fail = os.ErrNotExist // not to be taken for a missing file of ours
	if _, err := db.Sync(t.Context(), s.refs, s.load); !errors.Is(err, s.fail) {
		t.Fatalf("error %v", err)
	}
	if s.loads != 2 {
		t.Errorf("%d loads", s.loads)
	}
	s.check(t, s.sync(t, db, []object.Ref{first}), []object.Ref{first})
}

func TestSync_Canceled_ErrorAndNoLitter(t *testing.T) {
	s := newStore(testrand.New(t))
	dir := t.TempDir()
	s.add(s.session(), s.ids(20))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := open(t, dir).Sync(ctx, s.refs, s.load); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	if left := append(files(t, dir, buildPrefix), files(t, dir, levelPrefix)...); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestSync_ManyAtOnce_AllRight(t *testing.T) {
	s := newStore(testrand.New(t))
	dir := t.TempDir()
	for range 12 {
		s.add(s.session(), s.ids(100))
	}
	facts := make([]map[object.BlobID][]string, len(s.refs)+1)
	for i := range facts {
		facts[i] = s.facts(s.refs[:i])
	}
	var g errgroup.Group
	for i := range 4 {
		g.Go(func() error {
			for j := range 6 {
				n := (i*5 + j*3) % len(facts)
				db, err := Open(dir)
				if err != nil {
					return err
				}
				v, err := db.Sync(t.Context(), s.refs[:n], s.load)
				if err != nil {
					return err
				}
				got := 0
				for e, err := range v.All(t.Context()) {
					if err != nil {
						return err
					}
					if len(facts[n][e.ID]) == len(e.Places) {
						got++
					}
				}
				if got != len(facts[n]) {
					t.Errorf("%d of %d blobs", got, len(facts[n]))
				}
				if err := v.Close(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

func TestSync_FolderRemovedInUse_BuiltAnew(t *testing.T) {
	s := newStore(testrand.New(t))
	dir := filepath.Join(t.TempDir(), "cache")
	db := open(t, dir)
	s.add(s.session(), s.ids(100))
	v := s.sync(t, db, s.refs)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	s.check(t, v, s.refs) // what is open stays
	s.add(s.session(), s.ids(100))
	s.check(t, s.sync(t, db, s.refs), s.refs)
}

func TestSync_AnotherProcessBuilds_ReaderWithAllItNeedsDoesNotWait(t *testing.T) {
	s := newStore(testrand.New(t))
	dir := t.TempDir()
	db := open(t, dir)
	for range 4 {
		s.add(s.session(), s.ids(100))
	}
	s.sync(t, db, s.refs)
	flock, err := exec.LookPath("flock")
	if err != nil {
		t.Skip("needs flock(1) to hold the lock in another process")
	}
	cmd := exec.Command(flock, filepath.Join(dir, lockName), "sh", "-c", "echo held; cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		_ = cmd.Wait()
	}()
	if _, err := out.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	s.check(t, s.sync(t, db, s.refs), s.refs)
	want := s.refs[2:] // half is dead: levels would be rewritten, but for the lock
	v := s.sync(t, db, want)
	s.check(t, v, want)
	if v.allLive {
		t.Error("the levels were rewritten beside another builder")
	}
}

// TestSync_BlobInVeryManyPlaces_EachIsFoundOnce lists one blob as a forger would: in many index segments, in thousands of places, each of them
// in two segments. None of them may hide another, nor cost more than itself.
func TestSync_BlobInVeryManyPlaces_EachIsFoundOnce(t *testing.T) {
	s := newStore(testrand.New(t))
	ss := s.session()
	id := s.ids(1)[0]
	s.add(ss, []object.BlobID{id})
	for range 4 {
		s.add(ss, slices.Repeat([]object.BlobID{id}, index.MaxPlaces))
		again := *s.segments[s.refs[len(s.refs)-1]]
		s.put(ss, &again)
	}
	v := s.sync(t, open(t, t.TempDir()), s.refs)
	s.check(t, v, s.refs)
	if places := v.Lookup(id, nil); len(places) != 1+4*index.MaxPlaces {
		t.Errorf("%d places", len(places))
	}
}
