package backup

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/tree"
)

// pageStore keeps content pages for tests.
type pageStore struct {
	pages map[object.BlobID][]byte
	loads int
}

func (p *pageStore) save(_ context.Context, page []byte) (object.BlobID, error) {
	id := testID(uint64(len(p.pages)) + 1<<40)
	p.pages[id] = page
	return id, nil
}

func (p *pageStore) load(_ context.Context, id object.BlobID) ([]byte, error) {
	p.loads++
	if b, ok := p.pages[id]; ok {
		return b, nil
	}
	return nil, &repo.DamageError{Blob: id, Err: repo.ErrNotFound}
}

func testID(n uint64) (id object.BlobID) {
	binary.BigEndian.PutUint64(id[:], n*0x9E3779B97F4A7C15|1)
	binary.BigEndian.PutUint64(id[8:], n)
	return id
}

// contentNode makes the node of a file with the given extents.
func contentNode(t testing.TB, store *pageStore, extents ...tree.Extent) *tree.Node {
	t.Helper()
	w := tree.NewContentWriter(store.save)
	for _, e := range extents {
		must(t, w.Add(t.Context(), e))
	}
	n := &tree.Node{Name: "f", Type: tree.File}
	must(t, w.Finish(t.Context(), n))
	return n
}

func newPageStore() *pageStore { return &pageStore{pages: map[object.BlobID][]byte{}} }

// row is a piece of a made-up file: whoever has the same row has the same bytes.
type row struct {
	id   uint64
	size int64
}

type edited struct {
	rng  *rand.Rand
	rows []row
	size int64 // of a usual row
	next uint64
}

func (f *edited) row() row {
	f.next++
	return row{f.next, f.size/2 + f.rng.Int64N(f.size)}
}

// burst is how many rows may come or go together.
func (f *edited) burst() int { return max(1, min(50, int(400<<10/f.size))) }

// edit returns the next generation: rows replaced, put in and taken out, alone and many in a row.
func (f *edited) edit(replace, insert, remove float64) {
	var out []row
	for i := 0; i < len(f.rows); i++ {
		switch p := f.rng.Float64(); {
		case p < replace:
			r := f.rows[i]
			f.next++
			r.id = f.next
			out = append(out, r)
		case p < replace+insert:
			n := 1
			if f.rng.IntN(50) == 0 {
				n += f.rng.IntN(f.burst())
			}
			for range n {
				out = append(out, f.row())
			}
			out = append(out, f.rows[i])
		case p < replace+insert+remove:
			if f.rng.IntN(50) == 0 {
				i += f.rng.IntN(f.burst())
			}
		default:
			out = append(out, f.rows[i])
		}
	}
	f.rows = out
}

// piece is a chunk of a made-up file.
type piece struct {
	id           object.BlobID
	start, from  int64 // offset, and number of the first row
	length, rows int64
}

// cut cuts a file as chunks are cut: where the content says so, within limits.
func (f *edited) cut() (out []piece) {
	var p piece
	var sum uint64 // of the rows in p
	for i, r := range f.rows {
		sum = (sum ^ r.id) * 0x100000001B3
		sum ^= sum >> 29
		p.length += r.size
		p.rows++
		boundary := (r.id*0xBF58476D1CE4E5B9>>40)%uint64(1<<20/f.size) == 0
		if boundary && p.length >= 512<<10 || p.length >= 8<<20 || i == len(f.rows)-1 {
			p.id = testID(sum)
			out = append(out, p)
			p, sum = piece{start: p.start + p.length, from: p.from + p.rows}, 0
		}
	}
	return out
}

// TestPredecessor_Edits_RightBaseIsNear: the earlier chunk that has most in common with a changed one is among the answers,
// though what lies where is only known of chunks some way before.
func TestPredecessor_Edits_RightBaseIsNear(t *testing.T) {
	if testing.Short() {
		t.Skip("a simulation in one goroutine")
	}
	rng := rand.New(rand.NewPCG(1, 1)) // of other numbers a few in a hundred might be missed
	for _, c := range []struct {
		name                    string
		row, size               int64
		replace, insert, remove float64
	}{
		{"dump", 1 << 10, 100 << 20, 0.01, 0.01, 0},
		{"log of changes", 4 << 10, 400 << 20, 0.002, 0.002, 0.002},
		{"few changes", 1 << 10, 200 << 20, 0.0001, 0.0001, 0.0001},
		{"content pages", 64 << 10, 12 << 30, 0.01, 0.02, 0.02},
		{"image", 16 << 10, 500 << 20, 0.05, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &edited{rng: rng, size: c.row}
			for n := int64(0); n < c.size; n += c.row {
				f.rows = append(f.rows, f.row())
			}
			asked, right, named := 0, 0, 0
			for range 3 {
				old := *f
				f.edit(c.replace, c.insert, c.remove)
				a, r, n := askAll(t, &old, f, rng.IntN(12))
				asked, right, named = asked+a, right+r, named+n
			}
			t.Logf("%d of %d right, %.2f bases named for each", right, asked, float64(named)/float64(asked))
			if asked < 20 || right*100 < asked*95 {
				t.Errorf("%d of %d answers have the right base", right, asked)
			}
		})
	}
}

// askAll asks for the bases of all changed chunks, and tells what became of each only late chunks later.
func askAll(t *testing.T, old, f *edited, late int) (asked, right, named int) {
	t.Helper()
	store := newPageStore()
	chunks := old.cut()
	var extents []tree.Extent
	type place struct {
		chunk int
		start int64
	}
	has := map[object.BlobID]bool{}
	where := map[uint64]place{} // of rows
	for i, ch := range chunks {
		extents = append(extents, tree.Extent{ID: ch.id, Length: ch.length})
		has[ch.id] = true
		at := ch.start
		for _, r := range old.rows[ch.from : ch.from+ch.rows] {
			where[r.id] = place{i, at}
			at += r.size
		}
	}
	p := newPredecessor(t.Context(), contentNode(t, store, extents...), store.load)
	var moves []func()
	for _, ch := range f.cut() {
		if len(moves) > late {
			moves[0]()
			moves = moves[1:]
		}
		if has[ch.id] {
			moves = append(moves, func() { p.Known(ch.start, ch.id) })
			continue
		}
		common, at := map[int]int64{}, ch.start
		now, was := int64(-1), int64(0)
		for _, r := range f.rows[ch.from : ch.from+ch.rows] {
			at += r.size
			if o, ok := where[r.id]; ok {
				common[o.chunk] += r.size
				now, was = at, o.start+r.size
			}
		}
		base := -1
		for i, n := range common {
			if base < 0 || n > common[base] {
				base = i
			}
		}
		if base < 0 {
			continue // all new
		}
		answers := p.Near(ch.start, ch.length)
		asked, named = asked+1, named+len(answers)
		if slices.ContainsFunc(answers, func(n repo.Near) bool { return n.ID == chunks[base].id }) {
			right++
			moves = append(moves, func() { p.Moved(now, was) })
		} else {
			moves = append(moves, func() {})
		}
		if len(answers) > repo.MaxNear {
			t.Fatalf("%d answers", len(answers))
		}
	}
	must(t, p.failure())
	return asked, right, named
}

func TestPredecessor_NoMarks_LargestOverlapFirstAndDataOnly(t *testing.T) {
	n := contentNode(
		t, newPageStore(),
		tree.Extent{ID: testID(1), Length: 1 << 20},
		tree.Extent{Kind: tree.Hole, Length: 4 << 20},
		tree.Extent{ID: testID(2), Length: 600 << 10},
		tree.Extent{ID: testID(3), Length: 1 << 20},
		tree.Extent{Kind: tree.Zeros, Length: 64 << 10},
		tree.Extent{ID: testID(1), Length: 1 << 20},
	)
	near := func(id object.BlobID, offset, length, overlap int64) repo.Near {
		return repo.Near{ID: id, Offset: offset, Length: length, Overlap: overlap}
	}
	p := newPredecessor(t.Context(), n, nil)
	const behindHole, second = 5 << 20, 5<<20 + 600<<10
	const slack, slack2 = 4 << 20 / slackShare, (behindHole + 300<<10) / slackShare
	for _, c := range []struct {
		offset, length int64
		want           []repo.Near
	}{
		{0, 1 << 20, []repo.Near{near(testID(1), 0, 1<<20, 1<<20)}},
		{2 << 20, 1 << 20, nil},
		{4 << 20, 2 << 20, []repo.Near{near(testID(2), behindHole, 600<<10, 600<<10), near(testID(3), second, 1<<20, 424<<10+slack/2)}},
		{behindHole + 300<<10, 1 << 20, []repo.Near{near(testID(3), second, 1<<20, 724<<10+slack2/2), near(testID(2), behindHole, 600<<10, 300<<10+slack2/2)}},
		{1 << 30, 1 << 20, nil},
	} {
		if got := p.Near(c.offset, c.length); !slices.Equal(got, c.want) {
			t.Errorf("near %d: %v, want %v", c.offset, got, c.want)
		}
	}
}

func TestPredecessor_Marks_MoveWhatFollows(t *testing.T) {
	var extents []tree.Extent
	for i := range uint64(100) {
		extents = append(extents, tree.Extent{ID: testID(i), Length: 1 << 20})
	}
	const mib = 1 << 20
	p := newPredecessor(t.Context(), contentNode(t, newPageStore(), extents...), nil)
	first := func(offset int64) uint64 {
		got := p.Near(offset, mib)
		if len(got) == 0 {
			return 0
		}
		return uint64(got[0].Offset / mib)
	}
	p.Known(10*mib, testID(30)) // 20 MiB were taken out
	p.Moved(50*mib+1, 40*mib+1) // 30 MiB were put in before
	for offset, want := range map[int64]uint64{5: 5, 10: 30, 20: 40, 49: 69, 51: 41, 60: 50} {
		if got := first(offset * mib); got != want {
			t.Errorf("at %d MiB: %d, want %d", offset, got, want)
		}
	}
	p.Known(55*mib, testID(1000)) // of something else
	if got := first(60 * mib); got != 50 {
		t.Errorf("an unknown blob moved it to %d", got)
	}
	for i := range int64(1000) { // in any order, and more than are remembered
		p.Moved((1000-i)*mib, (1000-i)*mib+7*mib)
		p.Moved((1000+i)*mib, (1000+i)*mib-1920*mib)
	}
	if got := first(1990 * mib); got != 70 || len(p.marks) > maxMarks {
		t.Errorf("%d, %d marks", got, len(p.marks))
	}
}

func TestPredecessor_SameBlobTwice_NearestIsMeant(t *testing.T) {
	var extents []tree.Extent
	for i := range uint64(100) {
		extents = append(extents, tree.Extent{ID: testID(i % 10), Length: 1 << 20})
	}
	p := newPredecessor(t.Context(), contentNode(t, newPageStore(), extents...), nil)
	p.Known(41<<20, testID(3))
	if got := p.Near(41<<20, 1<<20); len(got) == 0 || got[0].Offset != 43<<20 {
		t.Errorf("%v", got)
	}
}

func TestPredecessor_ManyPages_FewInMemoryAndEachReadOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("in one goroutine")
	}
	store := newPageStore()
	var extents []tree.Extent
	for i := range uint64(60_000) {
		extents = append(extents, tree.Extent{ID: testID(i), Length: 1 << 20})
	}
	n := contentNode(t, store, extents...)
	if len(n.Pages) <= cachedPages {
		t.Fatalf("%d pages", len(n.Pages))
	}
	p := newPredecessor(t.Context(), n, store.load)
	for i := range int64(60_000) {
		if got := p.Near(i<<20, 1<<20); len(got) != 1 || got[0].ID != testID(uint64(i)) {
			t.Fatalf("at %d: %v", i, got)
		}
	}
	if store.loads != len(n.Pages) {
		t.Errorf("%d pages were read %d times", len(n.Pages), store.loads)
	}
	if got := p.Near(99<<20, 1<<20); len(got) != 1 || got[0].ID != testID(99) || store.loads != len(n.Pages)+1 {
		t.Errorf("back at the start: %v, %d reads", got, store.loads)
	}
}

func TestPredecessor_PageIsLost_KnowsNothingAndSaysWhy(t *testing.T) {
	store := newPageStore()
	var extents []tree.Extent
	for i := range uint64(20_000) {
		extents = append(extents, tree.Extent{ID: testID(i), Length: 1 << 20})
	}
	n := contentNode(t, store, extents...)
	folder, err := tree.EncodePage(&tree.Page{Kind: tree.Leaf})
	must(t, err)
	lost := errors.New("lost")
	for name, c := range map[string]struct {
		load   tree.LoadFunc
		damage bool
	}{
		"missing":      {newPageStore().load, true},
		"garbage":      {func(context.Context, object.BlobID) ([]byte, error) { return []byte("garbage"), nil }, true},
		"a folder":     {func(context.Context, object.BlobID) ([]byte, error) { return folder, nil }, true},
		"store failed": {func(context.Context, object.BlobID) ([]byte, error) { return nil, lost }, false},
	} {
		p := newPredecessor(t.Context(), n, c.load)
		if got := p.Near(5<<20, 1<<20); got != nil {
			t.Errorf("%s: %v", name, got)
		}
		p.Known(6<<20, testID(6))
		p.Moved(7<<20, 7<<20)
		if _, damaged := parentDamage(p.failure()); p.failure() == nil || damaged != c.damage {
			t.Errorf("%s: %v", name, p.failure())
		}
	}
}

func TestPredecessor_ManyUsers_AreServed(t *testing.T) {
	store := newPageStore()
	var extents []tree.Extent
	for i := range uint64(10_000) {
		extents = append(extents, tree.Extent{ID: testID(i), Length: 1 << 20})
	}
	p := newPredecessor(t.Context(), contentNode(t, store, extents...), store.load)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range int64(sized(10_000, 2000)) {
				switch i % 3 {
				case 0:
					p.Known(i<<20, testID(uint64(i)))
				case 1:
					p.Moved(i<<20+1, i<<20+1)
				}
				if got := p.Near(i<<20, 1<<20); len(got) == 0 || got[0].ID != testID(uint64(i)) {
					t.Errorf("at %d: %v", i, got)
				}
			}
		})
	}
	wg.Wait()
}

func TestPredecessor_WhatIsNotWorthIt_HasNone(t *testing.T) {
	store := newPageStore()
	large := contentNode(t, store, tree.Extent{ID: testID(1), Length: 1 << 20})
	small := contentNode(t, store, tree.Extent{ID: testID(1), Length: minLike - 1})
	unread, folder := *large, *large
	unread.Error, folder.Type = "permission denied", tree.Folder
	for name, n := range map[string]*tree.Node{"nothing": nil, "small": small, "unread": &unread, "folder": &folder} {
		if p := newPredecessor(t.Context(), n, store.load); p != nil {
			t.Errorf("%s has one", name)
		}
	}
	if got := testing.AllocsPerRun(10, func() { newPredecessor(t.Context(), large, store.load) }); got > 6 {
		t.Errorf("%v allocations", got)
	}
}
