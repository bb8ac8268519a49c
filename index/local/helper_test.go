package local

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kura-backup/kura/delta"
	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/seal"
)

func fill(r *rand.Rand, b []byte) {
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, r.Uint64())
		b = b[8:]
	}
	for i := range b {
		b[i] = byte(r.Uint32())
	}
}

// store is a repository's set of index segments, in memory.
type store struct {
	mu       sync.Mutex
	rand     *rand.Rand
	segments map[object.Ref]*index.Segment
	refs     []object.Ref
	loads    int
	fail     error
	sketch   func(object.BlobID) (delta.Sketch, bool) // may be nil
}

func newStore(r *rand.Rand) *store {
	return &store{rand: r, segments: make(map[object.Ref]*index.Segment)}
}

// session is what one session shares between its packs.
type session struct {
	id     object.SessionID
	sealed []byte
}

func (s *store) session() *session {
	ss := &session{sealed: make([]byte, 1200)}
	fill(s.rand, ss.id[:])
	fill(s.rand, ss.sealed)
	return ss
}

// pack returns a pack with the given blobs: every tenth segment holds several.
func (s *store) pack(ss *session, ids []object.BlobID) (object.Ref, int64, *pack.Directory) {
	o := &seal.Origin{Kind: seal.Data, Epoch: 1, Suite: 1, Sealed: ss.sealed}
	fill(s.rand, o.Salt[:])
	fill(s.rand, o.Commitment[:])
	ref := object.Ref{Class: object.DataPack, Session: ss.id}
	fill(s.rand, ref.Hash[:])
	dir := &pack.Directory{Origins: []*seal.Origin{o}}
	offset := uint32(seal.HeaderSize)
	for i := 0; len(ids) > 0; i++ {
		n := 1
		if i%10 == 0 {
			n = min(len(ids), 1+s.rand.IntN(5))
		}
		seg := pack.Segment{Ordinal: uint64(i), Offset: offset, IDs: ids[:n:n]}
		for range n {
			length := 1 + s.rand.Uint32N(1<<20)
			seg.Lengths = append(seg.Lengths, length)
			seg.Plain += length
		}
		seg.Stored = seg.Plain + seal.Overhead
		if s.rand.IntN(2) == 0 {
			seg.Coding = pack.Zstd
			seg.Stored -= s.rand.Uint32N(seg.Plain)
		}
		if n == 1 && s.rand.IntN(4) == 0 {
			seg.Coding, seg.Bases = pack.Delta, s.ids(1+s.rand.IntN(3))
			seg.Depth, seg.ChainSum = uint8(1+s.rand.IntN(pack.MaxDepth)), uint64(seg.Stored)+s.rand.Uint64N(1<<20)
		}
		if n == 1 && s.sketch != nil {
			seg.Sketch, seg.HasSketch = s.sketch(ids[0])
		}
		offset += seg.Stored
		dir.Segments = append(dir.Segments, seg)
		ids = ids[n:]
	}
	return ref, int64(offset) + 1000, dir
}

func (s *store) ids(n int) []object.BlobID {
	ids := make([]object.BlobID, n)
	for i := range ids {
		fill(s.rand, ids[i][:])
	}
	return ids
}

// add makes an index segment of new packs with the given blobs.
func (s *store) add(ss *session, ids []object.BlobID) object.Ref {
	seg := &index.Segment{}
	for len(ids) > 0 {
		n := min(len(ids), 16)
		ref, size, dir := s.pack(ss, ids[:n])
		if err := seg.AddPack(ref, size, dir); err != nil {
			panic(err)
		}
		ids = ids[n:]
	}
	return s.put(ss, seg)
}

func (s *store) put(ss *session, seg *index.Segment) object.Ref {
	slices.SortStableFunc(seg.Blobs, func(a, b index.Blob) int { return a.ID.Compare(b.ID) })
	ref := object.Ref{Class: object.Index, Session: ss.id}
	fill(s.rand, ref.Hash[:])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.segments[ref] = seg
	s.refs = append(s.refs, ref)
	return ref
}

func (s *store) load(_ context.Context, ref object.Ref) (*index.Segment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loads++
	if s.fail != nil {
		return nil, s.fail
	}
	seg, ok := s.segments[ref]
	if !ok {
		return nil, fmt.Errorf("no index segment %v", ref)
	}
	return seg, nil
}

// fact is a place with everything it refers to, comparable across views.
func fact(p Place, ref index.PackRef, o *seal.Origin) string {
	p.Pack, p.Origin = 0, 0
	bases := make([]object.BlobID, p.Bases.Len())
	for i := range bases {
		bases[i] = p.Bases.At(i)
	}
	p.Bases = ""
	return fmt.Sprintf("%+v %v %v %d %x %x %x %d", p, bases, ref.Ref, ref.Size, o.Sealed[:8], o.Salt, o.Commitment, o.Epoch)
}

// facts is the truth: all places of all blobs in the index segments.
func (s *store) facts(refs []object.Ref) map[object.BlobID][]string {
	out := make(map[object.BlobID][]string)
	for _, ref := range refs {
		seg := s.segments[ref]
		for _, b := range seg.Blobs {
			in := seg.Segments[b.Segment]
			f := fact(Place{
				Ordinal: in.Ordinal, SegOffset: in.Offset, Stored: in.Stored, Plain: in.Plain,
				Offset: b.Offset, Length: b.Length, Coding: in.Coding,
				Depth: in.Depth, ChainSum: in.ChainSum, Bases: JoinBases(in.Bases),
			}, seg.Packs[in.Pack], seg.Origins[in.Origin])
			if !slices.Contains(out[b.ID], f) {
				out[b.ID] = append(out[b.ID], f)
			}
		}
	}
	for _, f := range out {
		slices.Sort(f)
	}
	return out
}

func viewFacts(t testing.TB, v *View, places []Place) []string {
	t.Helper()
	var out []string
	for _, p := range places {
		ref, err := v.Pack(p.Pack)
		if err != nil {
			t.Fatal(err)
		}
		o, err := v.Origin(p.Origin)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fact(p, ref, o))
	}
	slices.Sort(out)
	return out
}

// check compares a view with the truth, by lookups and by iteration.
func (s *store) check(t testing.TB, v *View, refs []object.Ref) {
	t.Helper()
	want := s.facts(refs)
	for id, facts := range want {
		if got := viewFacts(t, v, v.Lookup(id, nil)); !slices.Equal(got, facts) {
			t.Fatalf("%v: places\n%s\nwant\n%s", id, strings.Join(got, "\n"), strings.Join(facts, "\n"))
		}
	}
	n := 0
	var last object.BlobID
	for e, err := range v.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if n > 0 && last.Compare(e.ID) >= 0 {
			t.Fatalf("%v after %v", e.ID, last)
		}
		n, last = n+1, e.ID
		if got := viewFacts(t, v, e.Places); !slices.Equal(got, want[e.ID]) {
			t.Fatalf("%v: places %v, want %v", e.ID, got, want[e.ID])
		}
	}
	if n != len(want) {
		t.Fatalf("%d blobs in all, want %d", n, len(want))
	}
	for range 100 {
		var id object.BlobID
		fill(s.rand, id[:])
		if got := v.Lookup(id, nil); len(got) != 0 {
			t.Fatalf("unknown blob has places %v", got)
		}
	}
	packs := make(map[object.Ref]uint32)
	for n := range uint32(v.NumPacks()) {
		p, err := v.Pack(n)
		if err != nil {
			t.Fatal(err)
		}
		if other, twice := packs[p.Ref]; twice {
			t.Fatalf("%v has the numbers %d and %d", p.Ref, other, n)
		}
		packs[p.Ref] = n
	}
	next := uint32(0)
	for p, err := range v.Packs(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if n, ok := packs[p.Ref]; !ok || n != next {
			t.Fatalf("pack %d is %v, which has the number %d", next, p.Ref, n)
		}
		next++
	}
	if int(next) != v.NumPacks() {
		t.Fatalf("%d packs, want %d", next, v.NumPacks())
	}
	s.checkSources(t, v, refs)
	if err := v.Err(); err != nil {
		t.Fatal(err)
	}
}

// checkSources compares what a view says of index segments with what is in them.
func (s *store) checkSources(t testing.TB, v *View, refs []object.Ref) {
	t.Helper()
	sources, err := v.Sources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[object.Ref]string)
	for _, src := range sources {
		var packs []string
		for _, n := range src.Packs {
			p, err := v.Pack(n)
			if err != nil {
				t.Fatal(err)
			}
			packs = append(packs, p.Ref.String())
		}
		slices.Sort(packs)
		got[src.Ref] = fmt.Sprint(src.Copies, packs)
	}
	for _, ref := range refs {
		var packs []string
		for _, p := range s.segments[ref].Packs {
			packs = append(packs, p.Ref.String())
		}
		slices.Sort(packs)
		if want := fmt.Sprint(len(s.segments[ref].Blobs), packs); got[ref] != want {
			t.Fatalf("%v lists %s, want %s", ref, got[ref], want)
		}
		delete(got, ref)
	}
	if len(got) > 0 {
		t.Fatalf("%d index segments that are not wanted", len(got))
	}
}

func open(t testing.TB, dir string) *DB {
	t.Helper()
	db, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func (s *store) sync(t testing.TB, db *DB, refs []object.Ref) *View {
	t.Helper()
	v, err := db.Sync(t.Context(), refs, s.load)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

// files returns the names of the files in the folder that begin with prefix, the largest first.
func files(t testing.TB, dir, prefix string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, prefix+"*"))
	if err != nil {
		t.Fatal(err)
	}
	size := func(name string) int64 {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(size(b), size(a)) })
	return names
}
