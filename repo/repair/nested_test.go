package repair_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/repo/repair"
	"github.com/kura-backup/kura/tree"
)

// pages saves pages of trees, and notes them.
type pages struct {
	t    testing.TB
	s    *repo.Session
	seen [][]byte
}

func (p *pages) save(_ context.Context, page []byte) (object.BlobID, error) {
	p.seen = append(p.seen, bytes.Clone(page))
	return testrepo.Save(p.t, p.s, object.TreeBlob, page)[0], nil
}

func (p *pages) folder(nodes ...tree.Node) object.BlobID {
	p.t.Helper()
	id, err := tree.WriteDir(p.t.Context(), nodes, p.save)
	if err != nil {
		p.t.Fatal(err)
	}
	return id
}

// listed are the nodes of a folder, by name, of which every page can be read.
func listed(t testing.TB, r *repo.Repository, id object.BlobID) map[string]*tree.Node {
	t.Helper()
	out := map[string]*tree.Node{}
	for n, err := range tree.ReadDir(t.Context(), id, r.LoadTree) {
		if err != nil {
			t.Fatal(err)
		}
		out[n.Name] = n
	}
	return out
}

// TestSnapshots_LossesAllOverATree_OnlyThoseAreLeftOut loses a chunk, an attribute, a folder, and a page of a large folder, all of them in packs
// of an older snapshot.
func TestSnapshots_LossesAllOverATree_OnlyThoseAreLeftOut(t *testing.T) {
	r, store := testrepo.New(t)
	lostChunk, keptChunk := testrepo.Random(1, 300<<10), testrepo.Random(2, 300<<10)
	file := func(name string, chunks ...[]byte) tree.Node {
		n := tree.Node{Name: name, Type: tree.File, Mode: 0o644}
		for _, c := range chunks {
			n.Content.Append(tree.Extent{Kind: tree.Data, ID: r.BlobID(object.DataBlob, c), Length: int64(len(c))})
			n.Size += int64(len(c))
		}
		return n
	}
	var many []tree.Node
	for i := range 3000 {
		many = append(many, tree.Node{Name: fmt.Sprintf("entry-%04d", i), Type: tree.Symlink, Target: "x"})
	}
	begin := func() *pages {
		s, err := r.NewSession(t.Context(), repo.SessionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return &pages{t: t, s: s}
	}
	// One that is thrown away has the pages of the large folder; those without others below them come first.
	dry := begin()
	dry.folder(many...)
	dry.s.Abort()
	lostPage, err := tree.DecodePage(dry.seen[1])
	if err != nil || len(dry.seen) < 4 || len(lostPage.Nodes) == 0 {
		t.Fatalf("%d pages, the second one %+v, %v", len(dry.seen), lostPage, err)
	}

	old := begin()
	testrepo.Save(t, old.s, object.DataBlob, lostChunk)
	lostValue := testrepo.Save(t, old.s, object.TreeBlob, testrepo.Random(3, 5000), dry.seen[1])[0]
	lostFolder := old.folder(file("f", keptChunk))
	dying, err := old.s.Commit(repo.CommitOptions{Manifest: testrepo.Manifest(t, old.s, keptChunk)})
	if err != nil {
		t.Fatal(err)
	}
	lost := names(t, store, object.DataPrefix, object.TreePrefix)
	for _, name := range lost { // what it shares with the next one is stored anew
		if ref(t, name).Session != dying.ID {
			t.Fatalf("%s is of another snapshot", name)
		}
	}
	if _, err := r.Forget(t.Context(), []object.SessionID{dying.ID}); err != nil {
		t.Fatal(err)
	}

	now := begin()
	keptChunk = testrepo.Random(4, 300<<10)
	testrepo.Save(t, now.s, object.DataBlob, keptChunk)
	keptValue := testrepo.Save(t, now.s, object.TreeBlob, testrepo.Random(5, 5000))[0]
	attrs := file("attrs", keptChunk)
	attrs.XAttrs = []tree.XAttr{{Name: "user.kept", Blob: keptValue}, {Name: "user.lost", Blob: lostValue}, {Name: "user.small", Value: []byte("x")}}
	sub := now.folder(file("whole", keptChunk))
	dir := now.folder(
		file("part", keptChunk, lostChunk), file("whole", keptChunk), attrs,
		tree.Node{Name: "gone", Type: tree.Folder, Mode: 0o700, Subtree: lostFolder}, tree.Node{Name: "sub", Type: tree.Folder, Subtree: sub},
	)
	large := now.folder(many...)
	root := now.folder(
		tree.Node{Name: "dir", Type: tree.Folder, Subtree: dir}, tree.Node{Name: "same", Type: tree.Folder, Subtree: dir},
		tree.Node{Name: "large", Type: tree.Folder, Subtree: large}, tree.Node{Name: "sub", Type: tree.Folder, Subtree: sub},
	)
	snap, err := now.s.Commit(repo.CommitOptions{Manifest: &repo.Manifest{Time: 1, Host: "h", Paths: [][]byte{[]byte("/")}, Root: root[:]}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(6) { // so that not most packs are missing
		testrepo.CommitFile(t, r, testrepo.Random(10+i, 1000))
	}
	for _, name := range lost {
		store.Tamper(name, nil)
	}

	client := testrepo.Open(t, store)
	res, err := repair.Snapshots(t.Context(), client, repair.SnapshotsOptions{Forget: true}, repair.Events{})
	if err != nil || len(res.Snapshots) != 1 || res.Snapshots[0].ID != snap.ID || res.Snapshots[0].Gone != nil || !res.Snapshots[0].Forgotten {
		t.Fatalf("%+v, %v", res, err)
	}
	var paths []string
	for _, l := range res.Snapshots[0].Lost {
		paths = append(paths, l.Path)
	}
	if want := []string{"/dir/attrs", "/dir/gone", "/dir/part", "/large"}; !slices.Equal(paths, want) {
		t.Errorf("lost: %q, want %q", paths, want)
	}
	made, err := client.OpenSnapshot(client.State().Snapshots[res.Snapshots[0].New])
	if err != nil {
		t.Fatal(err)
	}
	top := listed(t, client, object.BlobID(made.Root))
	if len(top) != 4 || top["same"].Subtree != top["dir"].Subtree || top["sub"].Subtree != sub || top["dir"].Error != "" {
		t.Errorf("%+v", top)
	}
	below := listed(t, client, top["dir"].Subtree)
	if n := below["part"]; n.Error == "" || !n.Content.IsZero() {
		t.Errorf("a file that has lost a part: %+v", n)
	}
	if n := below["gone"]; n.Error == "" || !n.Subtree.IsZero() || n.Mode != 0o700 {
		t.Errorf("a folder of which nothing is left: %+v", n)
	}
	var kept []string
	for _, x := range below["attrs"].XAttrs {
		kept = append(kept, x.Name)
	}
	if n := below["attrs"]; n.Error != "" || n.Content.IsZero() || !slices.Equal(kept, []string{"user.kept", "user.small"}) || n.XAttrs[0].Blob != keptValue {
		t.Errorf("a file that has lost an attribute: %+v", n)
	}
	if n := below["whole"]; len(below) != 5 || n.Error != "" || n.Content.IsZero() || below["sub"].Subtree != sub {
		t.Errorf("%d entries, the file that is whole: %+v", len(below), n)
	}
	rest := listed(t, client, top["large"].Subtree)
	if top["large"].Error == "" || len(rest) != len(many)-len(lostPage.Nodes) || rest[lostPage.Nodes[0].Name] != nil {
		t.Errorf("of a folder of %d entries %d are left, without a page of %d: %+v", len(many), len(rest), len(lostPage.Nodes), top["large"])
	}
	if res, err := repair.Snapshots(t.Context(), testrepo.Open(t, store), repair.SnapshotsOptions{}, repair.Events{}); err != nil || len(res.Snapshots) != 0 {
		t.Errorf("a second repair: %+v, %v", res, err)
	}
}

// TestSnapshots_PacksAreCollectedMeanwhile_BeginsAgain has a collector carry what the new snapshot relies on into another pack, before it is committed.
func TestSnapshots_PacksAreCollectedMeanwhile_BeginsAgain(t *testing.T) {
	for range 20 { // what is kept may have got a pack of its own, which nothing is carried from
		if collectMeanwhile(t) > 0 {
			return
		}
	}
	t.Error("nothing was carried: that shows nothing")
}

// collectMeanwhile returns how many packs a collector has carried blobs from while a snapshot was repaired.
func collectMeanwhile(t *testing.T) (dropped int) {
	r, store := testrepo.New(t)
	kept, lost := testrepo.Random(1, 300<<10), testrepo.Random(2, 5<<20)
	old := testrepo.CommitFile(t, r, kept, testrepo.Random(3, 6<<20), testrepo.Random(4, 6<<20), testrepo.Random(5, 6<<20))
	s, err := r.NewSession(t.Context(), repo.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var nodes []tree.Node
	for name, data := range map[string][]byte{"kept": kept, "lost": lost} {
		n := tree.Node{Name: name, Type: tree.File, Mode: 0o644, Size: int64(len(data))}
		n.Content.Append(tree.Extent{Kind: tree.Data, ID: testrepo.Save(t, s, object.DataBlob, data)[0], Length: n.Size})
		nodes = append(nodes, n)
	}
	root := (&pages{t: t, s: s}).folder(nodes...)
	snap, err := s.Commit(repo.CommitOptions{Manifest: &repo.Manifest{Time: 1, Paths: [][]byte{[]byte("/")}, Root: root[:]}})
	if err != nil {
		t.Fatal(err)
	}
	gone := packsOf(t, r, snap)
	for _, pack := range gone {
		store.Tamper(pack.Name(), nil)
	}
	if _, err := repair.Packs(t.Context(), testrepo.Open(t, store), repair.PacksOptions{Packs: gone}, repair.Events{}); err != nil { // or nothing is collected
		t.Fatal(err)
	}

	watched := fault.New(store)
	client := testrepo.Open(t, watched)
	watched.Inject(fault.On(fault.Put).Prefix(object.TreePrefix).Hook(func(ctx context.Context, _ fault.Call) error {
		if _, err := r.Forget(ctx, []object.SessionID{old.ID}); err != nil {
			return err
		}
		res, err := gc.Run(ctx, r, gc.Options{MaxUnused: -1}, gc.Events{})
		if err == nil {
			dropped = res.PacksRepacked
		}
		return err
	}))
	res, err := repair.Snapshots(t.Context(), client, repair.SnapshotsOptions{Forget: true}, repair.Events{})
	if err != nil || len(res.Snapshots) != 1 || len(res.Snapshots[0].Lost) != 1 || res.Snapshots[0].Lost[0].Path != "/lost" || !res.Snapshots[0].Forgotten {
		t.Fatalf("%+v, %v", res, err)
	}
	fresh := testrepo.Open(t, store)
	made, err := fresh.OpenSnapshot(fresh.State().Snapshots[res.Snapshots[0].New])
	if err != nil {
		t.Fatal(err)
	}
	node, err := fresh.Find(t.Context(), made, "/kept")
	if err != nil || node.Error != "" {
		t.Fatalf("%+v, %v", node, err)
	}
	for e := range node.Content.Extents() {
		if got, err := fresh.LoadBlob(t.Context(), object.DataBlob, e.ID); err != nil || !bytes.Equal(got, kept) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
	return dropped
}
