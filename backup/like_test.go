package backup

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/source/stream"
	"github.com/kura-backup/kura/tree"
)

// nextGeneration changes data at places all over it: bytes replaced, put in and taken out.
func nextGeneration(data []byte) []byte {
	var out []byte
	for i := 0; len(data) > 0; i++ {
		n := min(len(data), 30_000)
		out = append(out, data[:n]...)
		out[len(out)-1]++
		data = data[n:]
		switch {
		case i%3 == 0:
			out = append(out, testrepo.Random(uint64(i), 40)...)
		case i%5 == 0:
			data = data[min(len(data), 70):]
		}
	}
	return out
}

func TestRun_ChangedFile_OnlyTheDifferenceIsStored(t *testing.T) {
	for name, size := range map[string]int{"large": sized(12<<20, 4<<20), "one chunk": 400 << 10, "small": 100 << 10} {
		r, _ := newRepo(t)
		root := memoryDir(t)
		data := testrepo.Random(7, size)
		o := Options{Paths: []string{root}, Host: "h"}
		makeTree(t, root, map[string]string{"f": string(data), "other": string(testrepo.Random(8, 200_000))})
		mustRun(t, r, o)
		for generation := range sized(3, 1) {
			data = nextGeneration(data)
			writeFile(t, filepath.Join(root, "f"), data)
			res := mustRun(t, r, o)
			wantTree(t, r, res.Snapshot, root)
			s := res.Summary
			if s.BytesAdded < uint64(size) || s.BytesStored > uint64(size/sized(8, 2)+40_000) {
				t.Errorf("%s, generation %d: %d bytes added, %d stored", name, generation, s.BytesAdded, s.BytesStored)
			}
		}
	}
}

func TestRunStdin_ChangedStream_OnlyTheDifferenceIsStored(t *testing.T) {
	r, _ := newRepo(t)
	size := uint64(sized(24<<20, 6<<20))
	data := testrepo.Random(7, int(size))
	for generation := range sized(4, 2) {
		res := mustRun(t, r, Options{Host: "h", Source: streams(t, stream.Stream{Reader: bytes.NewReader(data), Name: "dump"})})
		if s := res.Summary; generation > 0 && (s.BytesAdded < size || s.BytesStored > 3<<20) {
			t.Errorf("generation %d: %d bytes added, %d stored", generation, s.BytesAdded, s.BytesStored)
		}
		if got := readBack(t, r, res.Snapshot)["/dump"]; !bytes.Equal(got.data, data) {
			t.Errorf("generation %d: other bytes", generation)
		}
		data = nextGeneration(data)
	}
}

// TestRunStdin_PagesOfTheParentAreLost_IsReportedAndNoMore: what the parent has of the stream is known, but not where its
// blobs lay.
func TestRunStdin_PagesOfTheParentAreLost_IsReportedAndNoMore(t *testing.T) {
	r, _ := newRepo(t)
	s, err := r.NewSession(t.Context(), repo.SessionOptions{Host: "h"})
	must(t, err)
	node := tree.Node{Name: "dump", Type: tree.File, Size: 24 << 20, Pages: []object.BlobID{testID(1)}}
	page, err := tree.EncodePage(&tree.Page{Kind: tree.Leaf, Nodes: []tree.Node{node}})
	must(t, err)
	root, err := s.SaveNow(object.TreeBlob, page)
	must(t, err)
	_, err = s.Commit(repo.CommitOptions{Manifest: &repo.Manifest{
		Time: 1, Host: "h", Paths: [][]byte{[]byte("/dump")}, Root: root.ID[:], Source: stream.Kind,
	}})
	must(t, err)
	o := Options{Host: "h", Source: streams(t, stream.Stream{Reader: bytes.NewReader(testrepo.Random(1, 9<<20)), Name: "dump"})}
	res, rec, err := runWith(t.Context(), r, o, hooks{})
	must(t, err)
	if _, damaged := parentDamage(rec.errors["/dump"]); !damaged || res.Summary.Errors != 0 || res.Parent == nil {
		t.Errorf("errors %v, %+v", rec.errors, res.Summary)
	}
}
