package fuzz

import (
	"errors"
	"testing"

	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/zst"
	"github.com/kura-backup/kura/pack"
)

// The places are given uncompressed, so that the search reaches what is in them.
func FuzzIndexColumns(f *testing.F) {
	plain := packDirectory(f)
	dir, err := pack.DecodeDirectory(plain, 1000)
	if err != nil {
		f.Fatal(err)
	}
	s := &index.Segment{}
	if err := s.AddPack(object.Ref{Class: object.DataPack}, 1000, dir); err != nil {
		f.Fatal(err)
	}
	ids, places, err := index.EncodeColumns(s)
	if err != nil {
		f.Fatal(err)
	}
	if places, err = zst.Decode(nil, places, 1<<20); err != nil {
		f.Fatal(err)
	}
	f.Add(ids, places)
	f.Add(make([]byte, 64), places)
	f.Fuzz(func(t *testing.T, ids, places []byte) {
		s, err := index.DecodeColumns(ids, zst.Encode(nil, places, zst.Fastest))
		if err != nil {
			if !errors.Is(err, index.ErrInvalid) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		for i, b := range s.Blobs {
			in := s.Segments[b.Segment]
			if b.Length == 0 || uint64(b.Offset)+uint64(b.Length) > uint64(in.Plain) {
				t.Fatalf("blob %d: %+v in %+v", i, b, in)
			}
			if ref := s.Packs[in.Pack]; int64(in.Offset)+int64(in.Stored) > ref.Size || s.Origins[in.Origin] == nil {
				t.Fatalf("segment of blob %d: %+v in %+v", i, in, ref)
			}
		}
		ids, again, err := index.EncodeColumns(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := index.DecodeColumns(ids, again); err != nil {
			t.Fatalf("what was decoded does not survive encoding: %v", err)
		}
	})
}
