package stats_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/records"
	"github.com/kura-backup/kura/repo/stats"
	"github.com/kura-backup/kura/tree"
)

var now = time.Unix(1_800_000_000, 0)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func raw(t testing.TB, r *repo.Repository) stats.Raw {
	t.Helper()
	must(t, r.Refresh(t.Context()))
	got, err := stats.OfRepository(t.Context(), r, now.AddDate(0, 0, -30), now)
	must(t, err)
	return *got
}

// sizes are how many objects there are below a prefix, and how many bytes.
func sizes(t testing.TB, store *mem.Store, prefix string) (n int, size int64) {
	t.Helper()
	for info, err := range store.List(t.Context(), prefix, "") {
		must(t, err)
		n++
		size += info.Size
	}
	return n, size
}

func wantRaw(t *testing.T, store *mem.Store, got stats.Raw, blobs, plain uint64) {
	t.Helper()
	n, stored := sizes(t, store, object.DataPrefix)
	m, more := sizes(t, store, object.TreePrefix)
	groups, bytes := sizes(t, store, object.ParityPrefix)
	if got.Packs != n+m || got.Stored != stored+more || got.Groups != groups || got.GroupBytes != bytes || got.Total() != stored+more+bytes {
		t.Errorf("%+v; the store has %d packs of %d bytes and %d groups of %d", got, n+m, stored+more, groups, bytes)
	}
	if got.Blobs != blobs || got.Plain != plain {
		t.Errorf("%d blobs of %d bytes, want %d of %d", got.Blobs, got.Plain, blobs, plain)
	}
	if want := float64(plain) / float64(got.Total()); got.Total() > 0 && got.Ratio() != want {
		t.Errorf("ratio %v, want %v", got.Ratio(), want)
	}
}

func TestOfRepository_Empty_IsZero(t *testing.T) {
	r, store := testrepo.New(t)
	got := raw(t, r)
	wantRaw(t, store, got, 0, 0)
	if got.Ratio() != 0 {
		t.Errorf("ratio %v", got.Ratio())
	}
}

// TestOfRepository_SharedAndTwiceStoredBlobs_CountOnce has a chunk in two snapshots, and one that two clients have
// stored at the same time.
func TestOfRepository_SharedAndTwiceStoredBlobs_CountOnce(t *testing.T) {
	r, store := testrepo.New(t)
	common, twice := testrepo.Random(1, 5000), testrepo.Random(2, 300_000)
	pages := map[string]int{}
	page := func(s *repo.Snapshot) {
		b, err := r.LoadTree(t.Context(), object.BlobID(s.Root))
		must(t, err)
		pages[string(s.Root)] = len(b)
	}
	page(testrepo.CommitFile(t, r, common))
	page(testrepo.CommitFile(t, r, common, []byte("x")))

	other := testrepo.Open(t, store)
	var sessions []*repo.Session
	for _, client := range []*repo.Repository{r, other} {
		s, err := client.NewSession(t.Context(), repo.SessionOptions{})
		must(t, err)
		sessions = append(sessions, s)
	}
	for _, s := range sessions {
		snap, err := s.Commit(repo.CommitOptions{Manifest: testrepo.Manifest(t, s, twice)})
		must(t, err)
		must(t, r.Refresh(t.Context()))
		page(snap)
	}
	blobs, plain := uint64(3), uint64(len(common)+1+len(twice))
	for _, n := range pages {
		blobs++
		plain += uint64(n)
	}
	got := raw(t, r)
	wantRaw(t, store, got, blobs, plain)
	if got.Packs != 8 {
		t.Errorf("%d packs: the chunk was not stored twice", got.Packs)
	}
}

func TestOfRepository_ParityGroups_AreCounted(t *testing.T) {
	r, store := testrepo.New(t)
	s, err := r.NewSession(t.Context(), repo.SessionOptions{Packing: repo.Packing{Groups: true}})
	must(t, err)
	chunk := testrepo.Random(1, 1000)
	snap, err := s.Commit(repo.CommitOptions{Manifest: testrepo.Manifest(t, s, chunk)})
	must(t, err)
	page, err := r.LoadTree(t.Context(), object.BlobID(snap.Root))
	must(t, err)
	got := raw(t, r)
	wantRaw(t, store, got, 2, uint64(len(chunk)+len(page)))
	if got.Groups == 0 {
		t.Error("there is no group")
	}
}

// TestOfRepository_Verified_CountsLivePacksByTime notes of one pack that it was read lately, of another that it was
// read long ago, and of one that there is not.
func TestOfRepository_Verified_CountsLivePacksByTime(t *testing.T) {
	r, _ := testrepo.New(t)
	testrepo.CommitFile(t, r, testrepo.Random(1, 1000))
	var packs []int64
	v := records.Verified{object.Sum([]byte("gone")): now.Unix()}
	for ref, p := range r.State().Packs {
		v[ref.Hash] = now.AddDate(0, 0, -29-2*len(packs)).Unix()
		packs = append(packs, p.Size)
	}
	if got := raw(t, r); got.Verified != 0 || got.EverVerified != 0 {
		t.Errorf("before: %+v", got)
	}
	must(t, records.Add(t.Context(), r, v, now))
	got := raw(t, r)
	if len(packs) != 2 || got.Verified != packs[0] || got.EverVerified != packs[0]+packs[1] || got.Stored != got.EverVerified {
		t.Errorf("%+v of packs of %d bytes", got, packs)
	}
}

// builder makes snapshots of folders that need no data: files are holes.
type builder struct {
	t *testing.T
	r *repo.Repository
	s *repo.Session
}

func newBuilder(t *testing.T) *builder {
	r, _ := testrepo.New(t)
	return &builder{t: t, r: r}
}

// commit makes a snapshot of what build returns.
func (b *builder) commit(build func() []tree.Node) *repo.Snapshot {
	b.t.Helper()
	var err error
	b.s, err = b.r.NewSession(b.t.Context(), repo.SessionOptions{})
	must(b.t, err)
	root := b.write(build())
	snap, err := b.s.Commit(repo.CommitOptions{Manifest: &repo.Manifest{Time: 1, Paths: [][]byte{[]byte("/")}, Root: root[:]}})
	must(b.t, err)
	return snap
}

func (b *builder) write(nodes []tree.Node) object.BlobID {
	b.t.Helper()
	id, err := tree.WriteDir(b.t.Context(), nodes, func(_ context.Context, page []byte) (object.BlobID, error) {
		saved, err := b.s.SaveNow(object.TreeBlob, page)
		return saved.ID, err
	})
	must(b.t, err)
	return id
}

func (b *builder) dir(name string, nodes ...tree.Node) tree.Node {
	return tree.Node{Name: name, Type: tree.Folder, Subtree: b.write(nodes)}
}

func file(name string, size int64) tree.Node {
	n := tree.Node{Name: name, Type: tree.File, Size: size}
	if size > 0 {
		n.Content.Append(tree.Extent{Kind: tree.Hole, Length: size})
	}
	return n
}

// linked is a file that has another name.
func linked(name string, size int64, inode uint64) tree.Node {
	n := file(name, size)
	n.Inode, n.Links = inode, 2
	return n
}

func wantRestored(t *testing.T, b *builder, want stats.Restored, list ...*repo.Snapshot) {
	t.Helper()
	var steps []uint64
	got, err := stats.OfSnapshots(t.Context(), b.r, list, func(done, total uint64) { steps = append(steps, done, total) })
	must(t, err)
	if *got != want {
		t.Errorf("%+v, want %+v", *got, want)
	}
	if n := len(steps); n != 2*want.Snapshots || n > 0 && (steps[n-2] != uint64(len(list)) || steps[n-1] != uint64(len(list))) {
		t.Errorf("steps %v", steps)
	}
}

func TestOfSnapshots_Table(t *testing.T) {
	for _, c := range []struct {
		name  string
		build func(b *builder) []tree.Node
		want  stats.Restored
	}{
		{"nothing", func(*builder) []tree.Node { return nil }, stats.Restored{Snapshots: 1}},
		{"every type", func(b *builder) []tree.Node {
			return []tree.Node{
				file("a", 10), file("empty", 0),
				{Name: "l", Type: tree.Symlink, Target: "a"},
				{Name: "p", Type: tree.FIFO},
				b.dir("d", file("b", 7)),
				{Name: "unread", Type: tree.Folder, Error: "denied"},
				{Name: "f", Type: tree.File, Error: "denied"},
			}
		}, stats.Restored{Snapshots: 1, Files: 4, Entries: 8, Bytes: 17}},
		{"a hard link counts once", func(b *builder) []tree.Node {
			return []tree.Node{linked("a", 10, 1), b.dir("d", linked("b", 10, 1)), linked("c", 10, 2)}
		}, stats.Restored{Snapshots: 1, Files: 2, Entries: 4, Bytes: 20}},
		{"inodes of other file systems are others", func(b *builder) []tree.Node {
			m, n := b.dir("m", linked("a", 10, 1), linked("b", 10, 1)), b.dir("n", linked("a", 10, 1))
			m.Mount, n.Mount = true, true
			return []tree.Node{linked("a", 10, 1), m, n, b.dir("o", linked("z", 10, 1))}
		}, stats.Restored{Snapshots: 1, Files: 3, Entries: 8, Bytes: 30}},
		{"equal folders count as often as they are there", func(b *builder) []tree.Node {
			one := b.dir("x", file("f", 5), b.dir("y", file("g", 6)))
			two := one
			two.Name = "z"
			return []tree.Node{one, two}
		}, stats.Restored{Snapshots: 1, Files: 4, Entries: 8, Bytes: 22}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBuilder(t)
			snap := b.commit(func() []tree.Node { return c.build(b) })
			wantRestored(t, b, c.want, snap)
			// A second snapshot takes as much again, hard links included.
			twice := stats.Restored{Snapshots: 2, Files: 2 * c.want.Files, Entries: 2 * c.want.Entries, Bytes: 2 * c.want.Bytes}
			wantRestored(t, b, twice, snap, snap)
		})
	}
}

func TestOfSnapshots_UnreadableSnapshot_IsPassedOver(t *testing.T) {
	b := newBuilder(t)
	snap := b.commit(func() []tree.Node { return []tree.Node{file("f", 3)} })
	bad := &repo.Snapshot{Err: errors.New("unreadable")}
	wantRestored(t, b, stats.Restored{Snapshots: 1, Files: 1, Entries: 1, Bytes: 3}, bad, snap)
}

func TestOfSnapshots_MissingFolder_IsDamage(t *testing.T) {
	b := newBuilder(t)
	snap := b.commit(func() []tree.Node {
		return []tree.Node{{Name: "d", Type: tree.Folder, Subtree: object.BlobID{1}}}
	})
	_, err := stats.OfSnapshots(t.Context(), b.r, []*repo.Snapshot{snap}, func(uint64, uint64) {})
	if !errors.As(err, new(*repo.DamageError)) {
		t.Error(err)
	}
}

// TestOfSnapshots_RandomFolders_CountsWhatIsInThem compares with counts that were kept while the folders were made.
func TestOfSnapshots_RandomFolders_CountsWhatIsInThem(t *testing.T) {
	rng := testrand.New(t)
	b := newBuilder(t)
	for range 30 {
		want := stats.Restored{Snapshots: 1}
		seen := map[uint64]bool{}
		var folder func(depth int) []tree.Node
		folder = func(depth int) (nodes []tree.Node) {
			for i := range rng.IntN(6) {
				want.Entries++
				nodes = append(nodes, b.random(rng, fmt.Sprint(i), depth, &want, seen, folder))
			}
			return nodes
		}
		snap := b.commit(func() []tree.Node { return folder(0) })
		wantRestored(t, b, want, snap)
	}
}

// random returns an entry, and counts it unless it is another name of a file that was seen.
func (b *builder) random(rng *rand.Rand, name string, depth int, want *stats.Restored, seen map[uint64]bool, folder func(int) []tree.Node) tree.Node {
	size := rng.Int64N(100)
	switch kind := rng.IntN(4); {
	case kind == 0 && depth < 5:
		return b.dir(name, folder(depth+1)...)
	case kind == 1:
		inode := rng.Uint64N(5) + 1
		size = int64(inode) * 10
		if !seen[inode] {
			want.Files++
			want.Bytes += uint64(size)
		}
		seen[inode] = true
		return linked(name, size, inode)
	case kind == 2:
		return tree.Node{Name: name, Type: tree.Symlink, Target: "x"}
	}
	want.Files++
	want.Bytes += uint64(size)
	return file(name, size)
}

// TestOfRepository_Deltas_AreCountedWithWhatTheyTake stores generations of something.
func TestOfRepository_Deltas_AreCountedWithWhatTheyTake(t *testing.T) {
	r, _ := testrepo.New(t)
	testrepo.CommitGenerations(t, r, testrepo.Generations(1, 300<<10, 4))
	got := raw(t, r)
	if got.Deltas != 3 || got.DeltaPlain != 3*300<<10 || got.DeltaStored == 0 || got.DeltaStored > 30<<10 {
		t.Errorf("%+v", got)
	}
}
