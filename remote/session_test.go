package remote

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/backup"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/treecmp"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/remote/frames"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/check"
	"github.com/kura-backup/kura/restore"
)

var treeSize = flag.Int64("size", 40<<20, "bytes of the tree that is backed up twice")

// site is a tree of files that can be changed.
type site struct {
	t     testing.TB
	root  string
	rng   *rand.Rand
	noise *rand.ChaCha8
	made  int64 // bytes written since reset
	n     int
}

var smallPacks = repo.Packing{Size: repo.MinPackSize}

func newSite(t testing.TB) *site {
	rng := testrand.New(t)
	var seed [32]byte
	for i := range seed {
		seed[i] = byte(rng.Uint32())
	}
	return &site{t: t, root: t.TempDir(), rng: rng, noise: rand.NewChaCha8(seed)}
}

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) bytes(n int64) []byte {
	b := make([]byte, n)
	s.noise.Read(b) // never fails
	s.made += n
	return b
}

// file makes a file in one of some folders.
func (s *site) file(size int64) string {
	s.n++
	path := filepath.Join(s.root, fmt.Sprintf("d%d/e%d/f%d", s.n%7, s.n%23, s.n))
	s.must(os.MkdirAll(filepath.Dir(path), 0o755))
	s.must(os.WriteFile(path, s.bytes(size), 0o644))
	return path
}

// fill makes files of all sizes: half of the bytes in large ones.
func (s *site) fill(size int64) {
	for s.made = 0; s.made < size; {
		switch left := size - s.made; {
		case left > size/2:
			s.file(min(left-size/2, 8<<20+s.rng.Int64N(24<<20)))
		case left > size/8:
			s.file(100<<10 + s.rng.Int64N(900<<10))
		default:
			s.file(min(left, 1+s.rng.Int64N(40<<10)))
		}
	}
}

// change changes so many bytes: a third of them in new files, a third at the ends of files, a third within others. These are
// files of one chunk: of a large one the whole chunk would be sent, which has up to 8 MiB. A piece is appended to at most three,
// so that no more than twice as much is sent, and seven pieces.
func (s *site) change(size int64) {
	piece := size / 20
	var paths []string
	s.must(filepath.Walk(s.root, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			paths = append(paths, path)
		}
		return err
	}))
	s.rng.Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
	for s.made = 0; s.made < size/3; {
		s.file(min(size/3-s.made, 1+s.rng.Int64N(2*piece)))
	}
	for _, path := range paths {
		if s.made >= size {
			break
		}
		info, err := os.Stat(path)
		s.must(err)
		if info.Size() > 3*piece {
			continue
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		s.must(err)
		if s.made < 2*size/3 {
			_, err = f.WriteAt(s.bytes(min(size-s.made, piece)), info.Size())
		} else {
			_, err = f.WriteAt(s.bytes(min(size-s.made, info.Size())), 0)
		}
		s.must(errors.Join(err, f.Close()))
	}
}

// backUp backs up a folder by way of a Peer, into small packs: of those there are many also where there is not much.
func (s *serving) backUp(t testing.TB, path string) (*backup.Result, error) {
	t.Helper()
	r, err := s.peer.Open(t.Context(), "")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	return backup.Run(s.peer.Context(), r, backup.Options{Paths: []string{path}, Host: "there", Packing: smallPacks}, backup.Events{
		Error: func(path string, err error) {
			if s.peer.Cut() == nil {
				t.Errorf("%s: %v", path, err)
			}
		},
	})
}

func (s *serving) mustBackUp(t testing.TB, path string) *backup.Result {
	t.Helper()
	res, err := s.backUp(t, path)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// mustRestore restores a snapshot of a folder and compares.
func mustRestore(t testing.TB, r *repo.Repository, name, path string) {
	t.Helper()
	snap, _, err := r.FindSnapshot(t.Context(), name, repo.SnapshotFilter{})
	if err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(t.TempDir(), "target")
	res, err := restore.Run(t.Context(), r, snap, restore.Options{Target: target, Path: path}, restore.Events{})
	if err != nil {
		t.Fatal(err)
	}
	if n := treecmp.MustEqual(t, path, target, treecmp.Options{}); n < 2 {
		t.Fatalf("%d entries, %+v", n, res)
	}
}

func TestBackup_ThereAndRestoredThere_ComesBack(t *testing.T) {
	r, store := testrepo.New(t)
	at := newSite(t)
	const size = 8 << 20
	at.fill(size)
	s := serve(t, t.Context(), newPipe(), ServeOptions{Repository: r, Purpose: Backup})
	snap := s.mustBackUp(t, at.root).Snapshot
	if res := s.finish(t); len(res.Snapshots) != 1 || res.Snapshots[0] != snap.ID {
		t.Errorf("Serve knows of %v, the snapshot is %v", res.Snapshots, snap.ID)
	}
	if err := r.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustRestore(t, r, "latest", at.root)
	if cp := testrepo.Names(t, store, object.CheckpointsPrefix); len(cp) == 0 || cp[len(cp)-1] != object.CheckpointName(r.State().N) {
		t.Errorf("checkpoints %v after entry %d", cp, r.State().N)
	}

	s = serve(t, t.Context(), newPipe(), ServeOptions{Repository: r, Purpose: Restore})
	mustRestore(t, s.open(t), snap.ID.String(), at.root)
	res := s.finish(t)
	t.Logf("restoring %d bytes: %d came to the other side, %d from there", size, res.Sent, res.Received)
	if res.Sent > size+size/8 {
		t.Error("too many")
	}
}

func TestBackup_OnePercentChanged_SendsLessThanThree(t *testing.T) {
	size := *treeSize
	if testing.Short() {
		size = min(size, 16<<20)
	}
	onePercent(t, Backup, size)
}

func TestUpdate_OnePercentChanged_SendsLessThanThree(t *testing.T) {
	onePercent(t, Update, min(*treeSize, 16<<20))
}

func onePercent(t *testing.T, purpose Purpose, size int64) {
	r, _ := testrepo.New(t)
	at := newSite(t)
	at.fill(size)
	run := func() Result {
		s := serve(t, t.Context(), newPipe(), ServeOptions{Repository: r, Purpose: purpose})
		s.mustBackUp(t, at.root)
		return s.finish(t)
	}
	first := run()
	none := run()
	at.change(size / 100)
	second := run()
	bytes := func(r Result) uint64 { return r.Received + r.Sent }
	t.Logf("%d bytes in %d files: first %d + %d, unchanged %d + %d, 1 %% changed %d + %d bytes up and down: %.2f %% of the first",
		size, at.n, first.Received, first.Sent, none.Received, none.Sent, second.Received, second.Sent,
		100*float64(bytes(second))/float64(bytes(first)))
	if bytes(second)*100 > 3*bytes(first) {
		t.Error("more than 3 %")
	}
	if bytes(none)*1000 > 8*bytes(first) {
		t.Error("an unchanged tree took more than 0.8 %")
	}
}

// sizeOf sums up the packs in a store.
func sizeOf(t testing.TB, s *mem.Store) (n uint64) {
	t.Helper()
	for _, prefix := range []string{object.DataPrefix, object.TreePrefix} {
		for info, err := range s.List(t.Context(), prefix, "") {
			if err != nil {
				t.Fatal(err)
			}
			n += uint64(info.Size)
		}
	}
	return n
}

// TestBackup_CutInTheMiddle_SendsNothingTwice cuts the connection while the fourth pack is stored: the first three are whole.
func TestBackup_CutInTheMiddle_SendsNothingTwice(t *testing.T) {
	at := newSite(t)
	at.fill(28 << 20)
	r, whole := testrepo.New(t)
	s := serve(t, t.Context(), newPipe(), ServeOptions{Repository: r, Purpose: Backup})
	s.mustBackUp(t, at.root)
	uncut := s.finish(t)

	store := mem.New()
	faulty := fault.New(store)
	r = testrepo.Init(t, faulty)
	p := newPipe()
	faulty.Inject(fault.On(fault.Put).Prefix(object.DataPrefix).Nth(4).Hook(func(context.Context, fault.Call) error {
		for len(testrepo.Names(t, store, object.DataPrefix)) < 3 {
			time.Sleep(time.Millisecond)
		}
		p.up.onCut()
		return backends.ErrDenied
	}))
	s = serve(t, t.Context(), p, ServeOptions{Repository: r, Purpose: Backup})
	_, err := s.backUp(t, at.root)
	<-s.done
	if err == nil || !errors.Is(s.peer.Cut(), ErrCut) || !errors.Is(s.err, ErrCut) || s.result.Exit != -1 || len(s.result.Snapshots) > 0 {
		t.Fatalf("there %v, here %v, %+v", err, s.err, s.result)
	}
	arrived := sizeOf(t, store)
	s = serve(t, t.Context(), newPipe(), ServeOptions{Repository: r, Purpose: Backup})
	s.mustBackUp(t, at.root)
	rest := s.finish(t)
	t.Logf("uncut %d bytes up; when it was cut %d had arrived, then came %d; packs of %d and %d bytes",
		uncut.Received, arrived, rest.Received, sizeOf(t, whole), sizeOf(t, store))
	// Packs that are not full are padded, by 3 % at most, and there are some more of them.
	const slack = 1 << 20
	if rest.Received+arrived > uncut.Received+slack {
		t.Error("something came twice")
	}
	if sizeOf(t, store) > sizeOf(t, whole)+slack {
		t.Error("something is stored twice")
	}
	if err := r.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustRestore(t, r, "latest", at.root)
}

// TestPut_CutBehindIt_IsFinished cuts the connection when a pack has come as a whole and the store is still at it.
func TestPut_CutBehindIt_IsFinished(t *testing.T) {
	inner := fault.New(mem.New())
	p := newPipe()
	began, cut := make(chan struct{}), make(chan struct{})
	inner.Inject(fault.On(fault.Put).Hook(func(ctx context.Context, _ fault.Call) error {
		close(began)
		<-cut
		time.Sleep(10 * time.Millisecond)
		return context.Cause(ctx)
	}))
	s := newServer(p.here, inner, anything{inner}, nil)
	served := make(chan error)
	go func() { served <- s.serve(context.Background()) }()
	head, err := wire.Marshal(&request{Op: opPut, Name: "data/x", Body: 4})
	if err != nil {
		t.Fatal(err)
	}
	b := append(frames.Header{Type: requestFrame, ID: 1, Length: len(head)}.Append(nil), head...)
	b = append(frames.Header{Type: frames.Data, ID: 1, Length: 4}.Append(b), "pack"...)
	if _, err := p.there.Write(b); err != nil {
		t.Fatal(err)
	}
	<-began
	p.there.Close()
	close(cut)
	if err := <-served; !errors.Is(err, ErrCut) {
		t.Error(err)
	}
	if got, err := inner.Get(t.Context(), "data/x", 0, -1, nil); string(got) != "pack" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// TestBackup_PartialSnapshots_GiveWayToTheLast runs again until there was time for one in a run.
func TestBackup_PartialSnapshots_GiveWayToTheLast(t *testing.T) {
	r, _ := testrepo.New(t)
	at := newSite(t)
	for runs := 1; ; runs++ {
		at.fill(8 << 20)
		s := serve(t, t.Context(), newPipe(), ServeOptions{Repository: r, Purpose: Backup})
		there := s.open(t)
		res, err := backup.Run(s.peer.Context(), there, backup.Options{Paths: []string{at.root}, Host: "there", PartialEvery: time.Millisecond}, backup.Events{})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.finish(t).Snapshots; len(got) != 1 || got[0] != res.Snapshot.ID {
			t.Errorf("Serve knows of %v", got)
		}
		if err := r.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		live, partial := 0, 0
		for _, s := range r.State().Snapshots {
			if s.Partial {
				partial++
			}
			if s.Live() {
				live++
			}
		}
		t.Logf("%d partial snapshots", partial)
		if live != runs {
			t.Errorf("%d snapshots are live after %d runs", live, runs)
		}
		if partial > 0 {
			break
		}
		if runs == 20 {
			t.Fatal("none is partial")
		}
	}
	mustRestore(t, r, "latest", at.root)
}

// TestBackup_CutAnywhere_LeavesWholeObjects cuts the connection after any number of bytes in either direction.
func TestBackup_CutAnywhere_LeavesWholeObjects(t *testing.T) {
	at := newSite(t)
	at.fill(3 << 20)
	r, store := testrepo.New(t)
	var p *pipe // of a backup of little that has changed, as those are that are cut
	var s *serving
	for range 2 {
		at.change(30 << 10)
		p = newPipe()
		s = serve(t, t.Context(), p, ServeOptions{Repository: r, Purpose: Backup})
		s.mustBackUp(t, at.root)
		s.finish(t)
	}
	rounds := 40
	if testing.Short() {
		rounds = 12
	}
	cuts := 0
	for i := range rounds {
		p, like := newPipe(), p
		if i%2 == 0 {
			p.up.cutAt = 1 + at.rng.Int64N(like.up.moved.Load())
		} else {
			p.down.cutAt = 1 + at.rng.Int64N(like.down.moved.Load())
		}
		at.change(30 << 10) // so that there is something to send
		s := serve(t, t.Context(), p, ServeOptions{Repository: r, Purpose: Backup})
		if s.peer != nil {
			_, err := s.backUp(t, at.root)
			if cut := s.peer.Cut(); (err != nil || cut != nil) && !errors.Is(cut, ErrCut) {
				t.Fatalf("cut after %d, %d bytes: %v; %v", p.up.cutAt, p.down.cutAt, err, cut)
			} else if err != nil {
				cuts++
				<-s.peer.Context().Done()
				if cause := context.Cause(s.peer.Context()); !errors.Is(cause, ErrCut) {
					t.Errorf("the command ended with %v", cause)
				}
			}
			s.peer.Close()
		}
		<-s.done
		if !errors.Is(s.err, ErrCut) {
			t.Errorf("Serve: %v", s.err)
		}
		wholeObjects(t, store)
	}
	t.Logf("%d of %d backups were cut off", cuts, rounds)
	if cuts < rounds/4 {
		t.Error("too few: that shows nothing")
	}
	s = serve(t, t.Context(), newPipe(), ServeOptions{Repository: r, Purpose: Backup})
	s.mustBackUp(t, at.root)
	s.finish(t)
	if err := r.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustRestore(t, r, "latest", at.root)
	if void := r.Log().Void(); len(void) > 0 {
		t.Errorf("%d entries are void", len(void))
	}
	checked(t, r)
}

// checked wants a repository without problems, and reads all of it.
func checked(t testing.TB, r *repo.Repository) {
	t.Helper()
	_, err := check.Run(t.Context(), r, check.Options{Read: check.Choice{Percent: 100}}, check.Events{
		Problem: func(p check.Problem) { t.Errorf("check: %+v", p) },
	})
	if err != nil {
		t.Fatal(err)
	}
}

// wholeObjects wants every object to be what its name says.
func wholeObjects(t testing.TB, store *mem.Store) {
	t.Helper()
	for info, err := range store.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		ref, err := object.ParseRef(info.Name)
		if err != nil {
			continue
		}
		obj, err := store.Get(t.Context(), info.Name, 0, -1, nil)
		if err != nil || object.Sum(obj) != ref.Hash {
			t.Fatalf("%s is not whole: %v", info.Name, err)
		}
	}
}
